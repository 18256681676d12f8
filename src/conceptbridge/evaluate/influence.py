"""How far each person moves a metric: first derivatives, from which its variance between persons follows."""

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate.delong import Clusters, Components
from conceptbridge.evaluate.metrics import cut_cells


def of_metrics(
    label: NDArray[np.generic], probability: NDArray[np.float64], clusters: Clusters, auroc: Components
) -> NDArray[np.float64]:
    """Return the influences on AUROC, AUPRC, Brier and scaled Brier: (metrics, persons), each sums to 0."""
    event = label == 1
    rows, prevalence = len(label), event.mean()
    squared = (probability - event) ** 2
    brier = squared.mean()
    spread = prevalence * (1 - prevalence)
    on_brier = (squared - brier) / rows
    on_spread = (1 - 2 * prevalence) * (event - prevalence) / rows
    on_scaled = -on_brier / spread + brier / spread**2 * on_spread
    by_row = np.stack([_on_auprc(event, probability), on_brier, on_scaled])
    summed = [np.bincount(clusters.person, weights=of_row, minlength=clusters.persons) for of_row in by_row]
    return np.stack([auroc.influence, *summed])


def of_cuts(
    label: NDArray[np.generic], probability: NDArray[np.float64], cut: NDArray[np.float64], clusters: Clusters
) -> NDArray[np.float64]:
    """Return the influences on the metrics at each cut: (cuts, metrics, persons), each sums to 0."""
    cells = cut_cells(label, probability, cut, clusters.person, clusters.persons)
    hits, alarms, (events, non_events) = cells[:-1, 0], cells[:-1, 1], cells[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.where(cut < 1, cut / (1 - cut), np.nan)[:, None]
        return np.stack(
            [
                _ratio(hits, events),
                -_ratio(alarms, non_events),
                _ratio(hits, hits + alarms),
                _ratio(hits + alarms, events + non_events),
                _ratio(hits - alarms * odds, events + non_events),
            ],
            axis=1,
        )


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    total = below.sum(axis=-1, keepdims=True)
    influence: NDArray[np.float64] = (above - above.sum(axis=-1, keepdims=True) / total * below) / total
    return influence


def _on_auprc(event: NDArray[np.bool_], probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the derivative of the average precision by each row's weight (rows,)."""
    order = np.argsort(-probability, kind="stable")
    score, hit = probability[order], event[order].astype(np.float64)
    tie = np.concatenate([[0], np.cumsum(np.diff(score) != 0)])
    hits = np.bincount(tie, weights=hit).astype(np.float64)
    flagged = np.cumsum(np.bincount(tie))
    precision = np.cumsum(hits) / flagged
    # a row at rank k moves the precision of its own group and of every later one
    later_event = np.cumsum((hits * (1 - precision) / flagged)[::-1])[::-1]
    later_non_event = np.cumsum((hits * -precision / flagged)[::-1])[::-1]
    value = (hits * precision).sum() / hit.sum()
    change = np.where(hit > 0, precision[tie] - value + later_event[tie], later_non_event[tie]) / hit.sum()
    influence: NDArray[np.float64] = np.empty(len(order))
    influence[order] = change
    return influence
