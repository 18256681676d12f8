"""Confidence limits of one arm's numbers: what varies between persons, and what varies between seeds."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate.bootstrap import acceleration, degrees, limits, quantile, widen
from conceptbridge.evaluate.delong import Clusters
from conceptbridge.evaluate.metric_columns import BIASED, CUTS, RANKED, REGRESSED, Settings

NO_LIMITS = "no limits: more than 5 % of the resamples hold a single class"
NO_STANDARD_LIMITS = "no limits: resamples are biased away from 0"


class Limits(NamedTuple):
    """95 % limits of every column, NaN where there are none, and why there are none."""

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    reason: list[str | None]


def column_limits(
    settings: Settings,
    values: NDArray[np.float64],
    replicates: NDArray[np.float64],
    influence: NDArray[np.float64],
    clusters: Clusters,
) -> Limits:
    """Return the limits of one arm's columns on test rows.

    ``values`` is (seeds, columns). The mean over seeds has ``replicates`` (bootstrapped columns, resamples) on
    resampled persons, and each person moves it by ``influence`` (columns, persons). The bootstrapped columns are those
    of :data:`RANKED` and :data:`CUTS`.
    """
    count = values.shape[1]
    bootstrapped = np.r_[np.arange(count)[RANKED], np.arange(count)[CUTS]]
    estimate = values.mean(axis=0)
    lower, upper = np.full((2, count), np.nan)
    if settings.interval == "bca":
        person_limits = limits(replicates, estimate[bootstrapped], acceleration(influence[bootstrapped]))
    else:
        person_limits = limits(replicates)
    persons, seed = clusters.persons, seed_variance(values)
    with np.errstate(invalid="ignore"):
        person = np.full(count, np.nan)
        person[bootstrapped] = [np.nanvar(row) if np.isfinite(row).any() else np.nan for row in replicates]
        person[REGRESSED] = (influence[REGRESSED] ** 2).sum(axis=1) * persons / max(persons - 1, 1)
    freedom = freedom_of(person, seed, clusters, len(values))
    lower[bootstrapped], upper[bootstrapped] = widen(
        person_limits[0],
        estimate[bootstrapped],
        person_limits[1],
        person[bootstrapped],
        seed[bootstrapped],
        freedom[bootstrapped],
    )
    reach = quantile(freedom[REGRESSED]) * np.sqrt(person[REGRESSED] + seed[REGRESSED])
    lower[REGRESSED], upper[REGRESSED] = estimate[REGRESSED] - reach, estimate[REGRESSED] + reach
    why = np.full(count, NO_LIMITS, dtype=object)
    why[BIASED] = NO_STANDARD_LIMITS
    why[np.isnan(estimate) | np.isfinite(lower)] = None
    return Limits(lower, upper, why.tolist())


def analytic_limits(
    estimate: float, person: float, by_seed: NDArray[np.float64], clusters: Clusters
) -> tuple[float | None, float | None]:
    """Return limits from a variance between persons and the values of each seed; None where the first is NaN."""
    if np.isnan(person):
        return None, None
    seed = float(by_seed.var(ddof=1)) / len(by_seed) if len(by_seed) > 1 else 0.0
    freedom = freedom_of(np.array([person]), np.array([seed]), clusters, len(by_seed))
    reach = float(quantile(freedom)[0]) * float(np.sqrt(person + seed))
    return estimate - reach, estimate + reach


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
