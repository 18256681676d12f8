"""Learning curves, and from how many local events on a local model is as good as a borrowed one."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate.bootstrap import COVERAGE


class Curve(NamedTuple):
    """AUROC on test rows by labelled events given: sizes rise.

    ``estimate`` (sizes,) is the mean over replicates (nested orders of persons) and seeds; ``by_replicate``
    (sizes, replicates), NaN where a replicate has no such size; ``resampled`` (sizes, replicates, resamples): how far
    each resample of test persons moves it.
    """

    size: NDArray[np.float64]
    by_replicate: NDArray[np.float64]
    resampled: NDArray[np.float32]

    @property
    def estimate(self) -> NDArray[np.float64]:
        """Mean over replicates (sizes,)."""
        mean: NDArray[np.float64] = np.nanmean(self.by_replicate, axis=1)
        return mean

    def redrawn(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return the curve (sizes, resamples) on resampled test persons, and with replicates drawn anew as well.

        At each size the replicates that it has are drawn with replacement. So the limits cover the test rows and the
        draw of the training persons.
        """
        sizes, replicates, resamples = self.resampled.shape
        drawn = generator.integers(replicates, size=(replicates, resamples))
        redrawn = np.empty((sizes, resamples))
        for place in range(sizes):
            there = np.flatnonzero(~np.isnan(self.by_replicate[place]))
            chosen = there[drawn % len(there)]
            moved = self.by_replicate[place][:, None] + self.resampled[place]
            redrawn[place] = np.take_along_axis(moved, chosen, axis=0).mean(axis=0)
        return redrawn


class BreakEven(NamedTuple):
    """Local events at which local training is as good as a borrowed model.

    ``events`` is None where that is not reached within the study's sizes (``reached`` says "not reached within the
    largest size"), or is so at the smallest already. Limits are None where they are beyond the sizes.
    """

    events: float | None
    lower: float | None
    upper: float | None
    reached: str


WITHIN, BELOW, NEVER = "within the sizes", "at the smallest size already", "not reached within the largest size"


def crossing(size: NDArray[np.float64], advantage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the local model's advantage becomes 0, for each column of ``advantage`` (sizes, curves).

    The advantage (local minus borrowed) is smoothed to never fall (isotonic regression), and read on the logarithm of
    events between two sizes: 0 where the smallest size has an advantage already, infinite where none has.
    """
    smooth = isotonic(advantage)
    above = smooth >= 0
    first = np.where(above.any(axis=0), above.argmax(axis=0), len(size))
    events = np.full(advantage.shape[1], np.inf)
    events[first == 0] = 0
    inside = np.flatnonzero((first > 0) & (first < len(size)))
    if len(inside):
        high = first[inside]
        before, after = smooth[high - 1, inside], smooth[high, inside]
        share = -before / (after - before)
        low_size, high_size = np.log(size[high - 1]), np.log(size[high])
        events[inside] = np.exp(low_size + share * (high_size - low_size))
    return events


def isotonic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest curves (least squares) that never fall, of each column of ``values`` (places, curves).

    By the max-min formula (Robertson, Wright and Dykstra, Order Restricted Statistical Inference, section 1.4).
    """
    places = len(values)
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    smooth = np.full_like(values, -np.inf)
    for first in range(places):
        # least mean of what begins at `first` and ends at or after each place
        lengths = np.arange(1, places - first + 1)[:, None]
        means = (total[first + 1 :] - total[first]) / lengths
        least = np.minimum.accumulate(means[::-1], axis=0)[::-1]
        smooth[first:] = np.maximum(smooth[first:], least)
    return smooth


def break_even(
    local: Curve,
    borrowed: Curve | None,
    constant: tuple[float, NDArray[np.float64]],
    generator: np.random.Generator,
) -> BreakEven:
    """Find the events from which ``local`` is as good as the borrowed model, with 95 % percentile limits.

    A borrowed model that is tuned on the same local events is compared at the same sizes (``borrowed``); one that sees
    none is a ``constant``: its AUROC, and that AUROC on the same resamples (resamples,).
    """
    estimate, value = local.estimate, np.full(len(local.size), constant[0])
    size, again = local.size, local.redrawn(generator)
    others = np.broadcast_to(constant[1], again.shape)
    if borrowed is not None:
        size, at_local, at_borrowed = np.intersect1d(local.size, borrowed.size, return_indices=True)
        estimate, value = estimate[at_local], borrowed.estimate[at_borrowed]
        again, others = again[at_local], borrowed.redrawn(generator)[at_borrowed]
    events = float(crossing(size, (estimate - value)[:, None])[0])
    tail = (1 - COVERAGE) / 2
    found = np.sort(crossing(size, again - others))
    # a limit is one of the crossings: between a number and infinity nothing can be interpolated
    lower = float(found[int(np.floor(tail * (len(found) - 1)))])
    upper = float(found[int(np.ceil((1 - tail) * (len(found) - 1)))])
    reached = NEVER if np.isinf(events) else BELOW if events == 0 else WITHIN
    events_, lower_, upper_ = (at if 0 < at < np.inf else None for at in (events, lower, upper))
    return BreakEven(events_, lower_, upper_, reached)
