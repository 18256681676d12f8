"""AUROC, AUPRC and Brier score of one set of predictions under many sets of row weights at once.

Every metric here is a function of a few weighted sums over rows. The sums are fixed by the predictions
alone, so they are written once as a sparse matrix (one row a sum), and one product with the weights gives
them for all resamples: the rows are sorted once, however many resamples there are.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

METRICS = ("auroc", "auprc", "brier")
"""The order of the metrics in what :func:`measure` returns."""

BLOCK_CELLS = 2**19
"""Weights are taken in blocks of so many cells (4 MiB as float64: fits a cache; memory does not grow)."""


def measure(
    label: ArrayLike, probability: ArrayLike, weight: ArrayLike, unit: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Measure one set of predictions under each column of ``weight``.

    ``label`` (rows,) is 0 or 1, ``probability`` (rows,) any finite score (the Brier score takes it as a
    probability), ``weight`` (units, resamples) is not negative. ``unit`` (rows,) says which row of
    ``weight`` a row takes, for persons with several rows; without it every row has its own.

    Returns (metrics, resamples) in the order of :data:`METRICS`. AUROC counts ties half; AUPRC is the
    average precision, the sum over thresholds of (recall - previous recall) x precision; both are NaN where
    a class has no weight. Brier is the weighted mean squared distance of the probability from the label,
    NaN without weight. They equal scikit-learn's ``roc_auc_score``, ``average_precision_score`` and
    ``brier_score_loss``.
    """
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    weight = np.asarray(weight)
    unit = np.arange(len(label)) if unit is None else np.asarray(unit)
    matrix, groups, mixed = _sums(label, probability, unit, len(weight))
    values = np.empty((len(METRICS), weight.shape[1]))
    step = max(1, BLOCK_CELLS // max(1, len(weight)))
    for start in range(0, weight.shape[1], step):
        block = slice(start, start + step)
        sums = matrix @ np.ascontiguousarray(weight[:, block], dtype=np.float64)
        values[:, block] = _from_sums(sums, groups, mixed)
    return values


def _sums(
    label: NDArray[np.generic], probability: NDArray[np.float64], unit: NDArray[np.generic], units: int
) -> tuple[csr_array, int, NDArray[np.intp]]:
    """Write down which weights are added up for which sum.

    The thresholds that matter are the distinct probabilities that some event has, from the highest down: K
    groups. Rows of the matrix: K sums of each group's events; K + 1 sums of the non-events from below the
    previous group through this one (the last: below all events); then, for the groups where events and
    non-events tie, their non-events; last the squared distances. Returns the matrix, K, and the positions of
    the groups with ties.
    """
    order = np.argsort(-probability, kind="stable")
    event, score = label[order] == 1, probability[order]
    # the number of the tie group that each sorted row is in, and whether that group has an event
    tie = np.concatenate([[0], np.cumsum(np.diff(score) != 0)]) if len(score) else np.zeros(0, dtype=np.intp)
    holds_event = np.bincount(tie, weights=event) > 0
    groups = int(holds_event.sum())
    # event groups strictly above each row: an event's own group has just this number
    above: NDArray[np.intp] = (np.cumsum(holds_event) - holds_event)[tie]
    tied = ~event & holds_event[tie]
    mixed: NDArray[np.intp]
    mixed, mixed_row = np.unique(above[tied], return_inverse=True)

    sorted_unit = unit[order]
    through_start, tied_start = groups, 2 * groups + 1
    last = tied_start + len(mixed)
    row = np.concatenate(
        [above[event], through_start + above[~event], tied_start + mixed_row, np.full(len(order), last)]
    )
    column = np.concatenate([sorted_unit[event], sorted_unit[~event], sorted_unit[tied], sorted_unit])
    value = np.concatenate([np.ones(len(row) - len(order)), (score - event) ** 2])
    return csr_array((value, (row, column)), shape=(last + 1, units)), groups, mixed


def _from_sums(sums: NDArray[np.float64], groups: int, mixed: NDArray[np.intp]) -> NDArray[np.float64]:
    """Turn the sums of :func:`_sums` (sums, resamples) into the metrics (metrics, resamples)."""
    hits = sums[:groups]
    through = np.cumsum(sums[groups : 2 * groups + 1], axis=0)
    non_events, events = through[-1], hits.sum(axis=0)
    total = events + non_events
    with np.errstate(divide="ignore", invalid="ignore"):
        # an event beats every non-event below its group, and half of those in it
        wins = np.einsum("gr,gr->r", hits, non_events - through[:groups])
        wins += 0.5 * np.einsum("gr,gr->r", hits[mixed], sums[2 * groups + 1 : -1])
        found = np.cumsum(hits, axis=0)
        flagged = found + through[:groups]
        precision = np.divide(found, flagged, out=np.zeros_like(found), where=flagged > 0)
        auroc = wins / (events * non_events)
        auprc = np.einsum("gr,gr->r", hits, precision) / events
        brier = sums[-1] / total
    one_class = (events == 0) | (non_events == 0)
    auroc[one_class] = np.nan
    auprc[one_class] = np.nan
    brier[total == 0] = np.nan
    return np.stack([auroc, auprc, brier])
