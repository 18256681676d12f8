"""Confidence limits of one arm's numbers: what varies between persons, and what varies between seeds."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate.delong import Clusters, Components, variance
from conceptbridge.evaluate.metric_columns import AUROC, BIASED, Settings
from conceptbridge.evaluate.scales import LOGIT, Scale, degrees, exact_limits, limits_on

NO_LIMITS = "no limits: one person alone has all rows with, or all rows without, the event"
NO_STANDARD_LIMITS = "no limits: resamples are biased away from 0"
AT_THE_END = "no limits: the estimate is at the end of its range"
ONE_PERSON = ("brier", "calibration_in_the_large", "calibration_slope")
"""The metrics that have limits even where one person alone has all rows of a class."""


class Limits(NamedTuple):
    """95 % limits of every column, NaN where there are none, and why there are none."""

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    reason: list[str | None]


def column_limits(
    settings: Settings,
    values: NDArray[np.float64],
    auroc: Components,
    influence: NDArray[np.float64],
    clusters: Clusters,
) -> Limits:
    """Return the limits of one arm's columns on test rows.

    ``values`` is (seeds, columns). Each person moves the mean over seeds by ``influence`` (columns, persons), NaN for
    columns without limits; of the mean AUROC by ``auroc``.
    """
    estimate, seed = values.mean(axis=0), seed_variance(values)
    person = sandwich(influence, clusters)
    person[AUROC] = variance(auroc.events, auroc.non_events, clusters)
    one_person = min(clusters.with_event, clusters.with_non_event) < 2
    if one_person:
        person[np.array([column.metric not in ONE_PERSON for column in settings.columns])] = np.nan
    freedom = freedom_of(person, seed, clusters, len(values))
    lower, upper = np.full((2, len(estimate)), np.nan)
    scales = settings.scales
    for scale in dict.fromkeys(scales):
        of_scale = np.array([one == scale for one in scales])
        numbers = (column[of_scale] for column in (estimate, person + seed, freedom))
        lower[of_scale], upper[of_scale] = limits_on(scale, *numbers)
    if not one_person and estimate[AUROC] in (0, 1):
        lower[AUROC], upper[AUROC] = auroc_at_the_end(estimate[AUROC], clusters)
    why = np.full(len(estimate), NO_LIMITS if one_person else AT_THE_END, dtype=object)
    why[BIASED] = NO_STANDARD_LIMITS
    why[np.isnan(estimate) | np.isfinite(lower)] = None
    return Limits(lower, upper, why.tolist())


def auroc_at_the_end(auroc: float, clusters: Clusters) -> tuple[float, float]:
    """Return the limits of an AUROC of 0 or 1, where DeLong's variance is 0."""
    lower, upper = exact_limits(int(min(clusters.with_event, clusters.with_non_event)))
    return (lower, upper) if auroc == 1 else (1 - upper, 1 - lower)


def auroc_limits(
    auroc: Components, by_seed: NDArray[np.float64], clusters: Clusters
) -> tuple[float | None, float | None]:
    """Return the limits of the mean AUROC over seeds, None where one person alone has a class."""
    person = float(variance(auroc.events, auroc.non_events, clusters))
    if not np.isnan(person) and auroc.auroc in (0, 1):
        return auroc_at_the_end(auroc.auroc, clusters)
    return mean_limits(LOGIT, auroc.auroc, person, by_seed, clusters)


def mean_limits(
    scale: Scale, estimate: float, person: float, by_seed: NDArray[np.float64], clusters: Clusters
) -> tuple[float | None, float | None]:
    """Return limits of a mean over seeds from its variance between persons and the values of each seed (seeds,).

    They are None where that variance is NaN, or the estimate is at the end of its range.
    """
    of_person, seed = np.array([person]), seed_variance(by_seed[:, None])
    freedom = freedom_of(of_person, seed, clusters, len(by_seed))
    bounds = limits_on(scale, np.array([estimate]), of_person + seed, freedom)
    lower, upper = (None if np.isnan(bound[0]) else float(bound[0]) for bound in bounds)
    return lower, upper


def sandwich(influence: NDArray[np.float64], clusters: Clusters) -> NDArray[np.float64]:
    """Return the variance between persons of numbers (quantities,) that each person moves by ``influence``.

    ``influence`` is (quantities, persons). This is the infinitesimal jackknife (Efron, The Jackknife, the Bootstrap and
    Other Resampling Plans, chapter 6).
    """
    persons = clusters.persons
    squares: NDArray[np.float64] = (influence.astype(np.float64) ** 2).sum(axis=-1)
    return squares * persons / max(persons - 1, 1)


def freedom_of(
    person: NDArray[np.float64], seed: NDArray[np.float64], clusters: Clusters, seeds: int
) -> NDArray[np.float64]:
    """Return the degrees of freedom of variance between persons plus variance between seeds.

    The first has as many as persons with a row of the rarer class, less one.
    """
    parts = np.stack([np.nan_to_num(person), np.nan_to_num(seed)])
    return degrees(parts, np.array([[clusters.freedom], [max(seeds - 1, 1)]]))


def seed_variance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance between seeds of the mean of ``values`` (seeds, columns); 0 with one seed."""
    if len(values) < 2:
        return np.zeros(values.shape[1])
    variance: NDArray[np.float64] = values.var(axis=0, ddof=1) / len(values)
    return variance


def seed_sd(values: NDArray[np.float64]) -> float | None:
    """Return the standard deviation of one number over seeds (seeds,); None with one seed."""
    return float(values.std(ddof=1)) if len(values) > 1 else None
