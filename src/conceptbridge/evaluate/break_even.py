"""Learning curves, and the number of local events from which a local model is as good as a transferred one."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate.scales import LOGIT, TAIL, limits_on
from conceptbridge.evaluate.schemas import BELOW, NEVER, WITHIN


class Curve(NamedTuple):
    """AUROC on test rows by the number of labelled events given; sizes rise.

    ``by_replicate`` (sizes, replicates) is the mean over seeds, NaN where a replicate (a nested order of persons) has
    no such size. ``shifts`` (sizes, replicates, resamples) is how far each resample of test persons shifts it.
    """

    size: NDArray[np.float64]
    by_replicate: NDArray[np.float64]
    shifts: NDArray[np.float32]

    @property
    def estimate(self) -> NDArray[np.float64]:
        """Mean over replicates (sizes,)."""
        mean: NDArray[np.float64] = np.nanmean(self.by_replicate, axis=1)
        return mean

    def redrawn(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return the curve (sizes, resamples) on resampled test persons, with replicates drawn anew as well.

        At each size the replicates that it has are drawn with replacement. So the limits cover the test rows and the
        draw of training persons.
        """
        sizes, replicates, resamples = self.shifts.shape
        drawn = generator.integers(replicates, size=(replicates, resamples))
        redrawn = np.empty((sizes, resamples))
        for index in range(sizes):
            known = np.flatnonzero(~np.isnan(self.by_replicate[index]))
            chosen = known[drawn % len(known)]
            shifted = self.by_replicate[index][:, None] + self.shifts[index]
            redrawn[index] = np.take_along_axis(shifted, chosen, axis=0).mean(axis=0)
        return redrawn

    def limits(self, generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the 95 % limits of the estimate, lower and upper (sizes,), on the scale of logits."""
        redrawn = self.redrawn(generator)
        return limits_on(LOGIT, self.estimate, redrawn.var(axis=1), np.full(len(self.size), np.inf))


class BreakEven(NamedTuple):
    """The number of local events from which local training is as good as a transferred model.

    ``events`` is None where that is so at the smallest size already or not reached within the largest one: ``status``
    says which. A limit is None where it is beyond the sizes.
    """

    events: float | None
    lower: float | None
    upper: float | None
    status: str


def crossing(size: NDArray[np.float64], advantage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the local model's advantage becomes 0, for each column of ``advantage`` (sizes, curves).

    The advantage (local minus transferred) is smoothed so that it never falls (isotonic regression), and read between
    two sizes on the logarithm of events. It is 0 where the smallest size already has an advantage, and infinite where
    none has.
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
    """Return the nearest curves (least squares) that never fall, of each column of ``values`` (points, curves).

    By the max-min formula (Robertson, Wright and Dykstra, Order Restricted Statistical Inference, section 1.4).
    """
    points = len(values)
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    smooth = np.full_like(values, -np.inf)
    for first in range(points):
        # the least mean of a run that begins at `first` and ends at or after each point
        lengths = np.arange(1, points - first + 1)[:, None]
        means = (total[first + 1 :] - total[first]) / lengths
        least = np.minimum.accumulate(means[::-1], axis=0)[::-1]
        smooth[first:] = np.maximum(smooth[first:], least)
    return smooth


def break_even(
    local: Curve,
    transferred: Curve | None,
    constant: tuple[float, NDArray[np.float64]],
    generator: np.random.Generator,
) -> BreakEven:
    """Find the events from which ``local`` is as good as the transferred model, with 95 % percentile limits.

    A transferred model that is tuned on the same local events is compared at the same sizes (``transferred``). One that
    sees none is a ``constant``: its AUROC, and that AUROC on the same resamples (resamples,).
    """
    size, estimate, other = local.size, local.estimate, np.full(len(local.size), constant[0])
    resampled = local.redrawn(generator)
    other_resampled = np.broadcast_to(constant[1], resampled.shape)
    if transferred is not None:
        size, at_local, at_transferred = np.intersect1d(local.size, transferred.size, return_indices=True)
        estimate, other = estimate[at_local], transferred.estimate[at_transferred]
        resampled, other_resampled = resampled[at_local], transferred.redrawn(generator)[at_transferred]
    events = float(crossing(size, (estimate - other)[:, None])[0])
    crossings = np.sort(crossing(size, resampled - other_resampled))
    # a limit is one of the crossings: between a number and infinity nothing can be interpolated
    lower = float(crossings[int(np.floor(TAIL * (len(crossings) - 1)))])
    upper = float(crossings[int(np.ceil((1 - TAIL) * (len(crossings) - 1)))])
    status = NEVER if np.isinf(events) else BELOW if events == 0 else WITHIN

    def within(at: float) -> float | None:
        return at if 0 < at < np.inf else None

    return BreakEven(within(events), within(lower), within(upper), status)
