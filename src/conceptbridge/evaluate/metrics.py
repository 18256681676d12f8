"""Discrimination, overall error and decisions at a cut, for one set of predictions under many row weights at once.

Every metric here is a function of a few weighted sums over rows. The predictions alone say which rows each sum adds up.
So the sums are written once as a matrix (one row per sum), and one product with the weights gives them for all
resamples: rows are sorted once, whatever the number of resamples.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

METRICS = ("auroc", "auprc", "brier", "scaled_brier")
"""The metrics that :func:`measure` returns, in order."""

AT_CUT = ("sensitivity", "specificity", "ppv", "alerted", "net_benefit")
"""The metrics that :func:`measure_cuts` returns, in order."""

_RUN = 32

BLOCK_CELLS = 2**19
"""Cells in a block of weights: a few MiB fit a cache, and memory does not grow."""

Weights = ArrayLike | list[NDArray[np.float32]]
"""Weights (units, resamples), or blocks of their columns from :func:`blocks`."""


def measure(
    label: ArrayLike, probability: ArrayLike, weight: Weights, unit: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Measure one set of predictions under each column of ``weight``.

    ``label`` (rows,) is 0 or 1. ``probability`` (rows,) is any finite score; the Brier scores take it as a probability.
    ``weight`` (units, resamples) is not negative. ``unit`` (rows,) says which row of ``weight`` a row takes, for
    persons with several rows; without it every row has its own.

    Returns (metrics, resamples) in the order of :data:`METRICS`. AUROC counts ties half. AUPRC is the average
    precision: the sum over thresholds of (recall - previous recall) x precision. Both are NaN where a class has no
    weight. Brier is the weighted mean squared distance of the probability from the label, NaN without weight. Scaled
    Brier is 1 - Brier / (prevalence x (1 - prevalence)): 1 at best, 0 where the prevalence would do as well (Steyerberg
    et al., Epidemiology 2010;21:128). They equal scikit-learn's ``roc_auc_score``, ``average_precision_score`` and
    ``brier_score_loss`` to rounding. Sums are as precise as ``weight``: float64, or float32 (enough for a bootstrap,
    and twice as fast).
    """
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    parts = blocks(weight)
    unit = np.arange(len(label)) if unit is None else np.asarray(unit)
    return sums_of(label, probability, unit, len(parts[0])).measure(parts)


class Sums(NamedTuple):
    """Which weights are added up for which sum: all that :func:`measure` needs of the predictions."""

    matrix: csr_array
    groups: int
    mixed: NDArray[np.intp]

    def measure(self, parts: list[NDArray[np.floating]]) -> NDArray[np.float64]:
        """Return the metrics (metrics, resamples) under blocks of weights."""
        matrix = self.matrix.astype(parts[0].dtype)
        return np.concatenate([_from_sums(matrix @ part, self.groups, self.mixed) for part in parts], axis=1)


def measure_cuts(
    label: ArrayLike,
    probability: ArrayLike,
    cut: ArrayLike,
    weight: Weights,
    unit: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Measure the decisions where every row with a probability of at least the cut raises an alert.

    ``cut`` (cuts,) are probabilities; the rest is as in :func:`measure`. Returns (cuts, metrics, resamples) in the
    order of :data:`AT_CUT`. Sensitivity and specificity are NaN where the class has no weight, PPV where nothing is
    alerted. "alerted" is the share of rows with an alert. Net benefit is (true positives - false positives x cut /
    (1 - cut)) / rows (Vickers and Elkin, Medical Decision Making 2006;26:565), NaN for a cut of 1 or more.
    """
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    cut, parts = np.asarray(cut, dtype=np.float64), blocks(weight)
    units = len(parts[0])
    unit = np.arange(len(label)) if unit is None else np.asarray(unit)
    cells = cut_cells(label, probability, cut, unit, units).reshape(-1, units).astype(parts[0].dtype)
    sums = np.concatenate([cells @ part for part in parts], axis=1)
    return _from_cells(sums.reshape(len(cut) + 1, 2, -1).astype(np.float64), cut)


def blocks(weight: Weights) -> list[NDArray[np.floating]]:
    """Divide the columns of ``weight`` into contiguous blocks of at most :data:`BLOCK_CELLS` cells, at least one.

    Do this once where many predictions are measured. The numbers become float64 unless they are float32.
    """
    if isinstance(weight, list) and weight and isinstance(weight[0], np.ndarray):
        return list(weight)
    weight = np.asarray(weight)
    precision = np.float32 if weight.dtype == np.float32 else np.float64
    step = max(1, BLOCK_CELLS // max(1, len(weight)))
    starts = range(0, max(1, weight.shape[1]), step)
    return [np.ascontiguousarray(weight[:, start : start + step], dtype=precision) for start in starts]


def cut_cells(
    label: NDArray[np.generic],
    probability: NDArray[np.float64],
    cut: NDArray[np.float64],
    unit: NDArray[np.generic],
    units: int,
) -> NDArray[np.float64]:
    """Count each unit's events and non-events at or above each cut, and last in all: (cuts + 1, 2, units)."""
    event = label == 1
    above = [probability >= at for at in cut] + [np.ones(len(event), bool)]
    counts = [[np.bincount(unit[over & of], minlength=units) for of in (event, ~event)] for over in above]
    return np.array(counts, dtype=np.float64)


def _from_cells(sums: NDArray[np.float64], cut: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn sums of :func:`cut_cells` (cuts + 1, 2, resamples) into metrics (cuts, metrics, resamples)."""
    hits, alarms = sums[:-1, 0], sums[:-1, 1]
    events, non_events = sums[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.where(cut < 1, cut / (1 - cut), np.nan)[:, None]
        return np.stack(
            [
                hits / events,
                1 - alarms / non_events,
                hits / (hits + alarms),
                (hits + alarms) / (events + non_events),
                (hits - alarms * odds) / (events + non_events),
            ],
            axis=1,
        )


def sums_of(
    label: NDArray[np.generic],
    probability: NDArray[np.float64],
    unit: NDArray[np.generic],
    units: int,
    order: NDArray[np.intp] | None = None,
) -> Sums:
    """Return which weights are added up for which sum.

    The thresholds that matter are the distinct probabilities that some event has, from the highest down: K groups. The
    matrix has one row per sum: K sums of each group's events; K + 1 sums of the non-events from below the previous
    group through this one (the last: below all events); for each group where events and non-events tie, its
    non-events; last the squared distances. The result holds the matrix, K, and the indices of the groups with ties.
    ``order`` is the rows from the highest probability down, if known.
    """
    if order is None:
        order = np.argsort(-probability, kind="stable")
    event, score = label[order] == 1, probability[order]
    # the number of the tie group that each sorted row is in, and whether that group has an event
    tie = np.concatenate([[0], np.cumsum(np.diff(score) != 0)]) if len(score) else np.zeros(0, dtype=np.intp)
    holds_event = np.bincount(tie, weights=event) > 0
    groups = int(holds_event.sum())
    # event groups strictly above each row: also the number of an event's own group
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
    return Sums(csr_array((value, (row, column)), shape=(last + 1, units)), groups, mixed)


def _running(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the running totals of ``sums`` (sums, resamples), as np.cumsum does, by small products of matrices."""
    count, resamples = sums.shape
    whole = count // _RUN * _RUN
    if not whole:
        return np.cumsum(sums, axis=0)
    triangle = np.tri(_RUN, dtype=sums.dtype)
    running = np.empty_like(sums)
    runs = np.matmul(
        triangle, sums[:whole].reshape(-1, _RUN, resamples), out=running[:whole].reshape(-1, _RUN, resamples)
    )
    runs[1:] += np.cumsum(runs[:-1, -1], axis=0)[:, None]
    running[whole:] = running[whole - 1] + np.cumsum(sums[whole:], axis=0)
    return running


def _from_sums(sums: NDArray[np.floating], groups: int, mixed: NDArray[np.intp]) -> NDArray[np.float64]:
    """Turn the sums of :func:`sums_of` (sums, resamples) into the metrics (metrics, resamples)."""
    hits = sums[:groups]
    through = _running(sums[groups : 2 * groups + 1])
    non_events, events = through[-1].astype(np.float64), hits.sum(axis=0, dtype=np.float64)
    total = events + non_events
    with np.errstate(divide="ignore", invalid="ignore"):
        # an event beats every non-event below its group, and half of those in it
        wins = np.einsum("gr,gr->r", hits, through[-1] - through[:groups]).astype(np.float64)
        wins += 0.5 * np.einsum("gr,gr->r", hits[mixed], sums[2 * groups + 1 : -1])
        recalled = _running(hits)
        flagged = through[:groups]
        flagged += recalled
        precision = np.divide(recalled, flagged, out=np.zeros_like(recalled), where=flagged > 0)
        auroc = wins / (events * non_events)
        auprc = np.einsum("gr,gr->r", hits, precision) / events
        brier = sums[-1] / total
        prevalence = events / total
        scaled = 1 - brier / (prevalence * (1 - prevalence))
    one_class = (events == 0) | (non_events == 0)
    for values in (auroc, auprc, scaled):
        values[one_class] = np.nan
    brier[total == 0] = np.nan
    return np.stack([auroc, auprc, brier, scaled])
