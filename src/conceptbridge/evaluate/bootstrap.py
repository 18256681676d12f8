"""The person-cluster bootstrap, which draws whole persons with all their rows, and the limits that follow from it."""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

COVERAGE = 0.95
LARGEST_UNDEFINED_SHARE = 0.05
"""A metric that is undefined (a single class) in a larger share of resamples has no limits."""


class Resamples(NamedTuple):
    """How often each person was drawn, ``weight`` (persons, replicates), and the ``person`` of each row (rows,)."""

    weight: NDArray[np.uint8]
    person: NDArray[np.intp]


def draw(person_id: ArrayLike, replicates: int, *seed: int | str) -> Resamples:
    """Draw as many persons as there are, with replacement, ``replicates`` times.

    ``person_id`` (rows,) names the person of each row. ``seed`` names this draw in words, such as the study's seed, the
    task and the target: the same words give the same resamples in every process.
    """
    persons, person = np.unique(np.asarray(person_id), return_inverse=True)
    generator = random(*seed)
    count = len(persons)
    # one byte per cell: the chance that one of n persons is drawn more than 255 times in n draws is below 1e-500
    weight = np.zeros((count, replicates), dtype=np.uint8)
    for replicate in range(replicates if count else 0):
        weight[:, replicate] = np.bincount(generator.integers(count, size=count), minlength=count)
    return Resamples(weight, person)


def random(*seed: int | str) -> np.random.Generator:
    """Return the generator that these words name: the same in every process."""
    digest = hashlib.sha256("/".join(map(str, seed)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def limits(
    values: ArrayLike, estimate: ArrayLike | None = None, acceleration: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % limits of each row of ``values`` (quantities, replicates), lower and upper.

    They are percentiles (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13). With ``estimate`` and
    ``acceleration`` (quantities,) they are corrected for bias and acceleration (BCa, chapter 14). Undefined (NaN)
    replicates are skipped. A quantity that is undefined in more than 5 % of them, or has no replicates, has NaN limits.
    """
    values = np.asarray(values, dtype=np.float64)
    bounds = np.full((2, len(values)), np.nan)
    if not values.size:
        return bounds[0], bounds[1]
    undefined = np.isnan(values)
    some = undefined.any(axis=1)
    enough = undefined.sum(axis=1) <= LARGEST_UNDEFINED_SHARE * values.shape[1]
    tail = (1 - COVERAGE) / 2
    if estimate is None or acceleration is None:
        if (whole := ~some).any():
            bounds[:, whole] = np.quantile(values[whole], [tail, 1 - tail], axis=1)
        if (few := some & enough).any():
            bounds[:, few] = np.nanquantile(values[few], [tail, 1 - tail], axis=1)
        return bounds[0], bounds[1]
    for index, (at, speed) in enumerate(zip(np.asarray(estimate), np.asarray(acceleration), strict=True)):
        defined = values[index][~undefined[index]]
        if enough[index] and np.isfinite(at) and np.isfinite(speed):
            bounds[:, index] = np.quantile(defined, _bca_shares(defined, float(at), float(speed), tail))
    return bounds[0], bounds[1]


def acceleration(influence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the acceleration of each quantity from its influences (quantities, persons): (quantities,)."""
    squares = (influence**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        speed: NDArray[np.float64] = np.where(squares > 0, (influence**3).sum(axis=1) / (6 * squares**1.5), 0.0)
    return speed


def widen(
    lower: NDArray[np.float64],
    estimate: NDArray[np.float64],
    upper: NDArray[np.float64],
    variance: NDArray[np.float64],
    seed_variance: NDArray[np.float64],
    freedom: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Widen limits that hold the trained models fixed, so that they cover the draw of seeds as well.

    ``variance`` is that of the mean over seeds between persons; ``seed_variance`` that of the mean between seeds
    (variance over seeds / seeds); ``freedom`` the degrees of freedom of their sum (:func:`degrees`). Distances from the
    estimate grow by sqrt(1 + seed_variance / variance) and by the ratio of the t to the normal quantile. An interval
    keeps its shape, and gets the width that belongs to the standard error of the tests.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(seed_variance > 0, np.sqrt(1 + seed_variance / variance), 1.0)
    factor = ratio * np.where(seed_variance > 0, quantile(freedom) / ndtri(1 - (1 - COVERAGE) / 2), 1.0)
    plain = ~np.isfinite(factor)  # no person moves the estimate: nothing to scale
    factor = np.where(plain, 1.0, factor)
    spare = np.where(plain & (seed_variance > 0), quantile(freedom) * np.sqrt(seed_variance), 0.0)
    return estimate - (estimate - lower) * factor - spare, estimate + (upper - estimate) * factor + spare


def degrees(parts: NDArray[np.float64], freedom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Welch and Satterthwaite's degrees of freedom of a sum of variances; both are (parts, quantities).

    A part without variance, or with infinite degrees of freedom, takes none away.
    """
    doubt = np.where(parts > 0, parts**2 / np.maximum(freedom, 1e-300), 0.0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total: NDArray[np.float64] = np.where(doubt > 0, parts.sum(axis=0) ** 2 / doubt, np.inf)
    return total


def quantile(freedom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the t quantile of two-sided 95 % limits; the normal one for infinite freedom."""
    share = 1 - (1 - COVERAGE) / 2
    endless = np.isinf(freedom)
    reach: NDArray[np.float64] = np.where(endless, ndtri(share), stdtrit(np.where(endless, 1.0, freedom), share))
    return reach


def p_value(
    difference: NDArray[np.float64], variance: NDArray[np.float64], freedom: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the two-sided p of ``difference`` / sqrt(``variance``) by the t distribution.

    It is 1 where nothing differs, and NaN where something differs without any variance: no test is possible.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = -np.abs(difference) / np.sqrt(variance)
        endless = np.isinf(freedom)
        tested = 2 * np.where(endless, ndtr(t), stdtr(np.where(endless, 1.0, freedom), t))
    p: NDArray[np.float64] = np.where(variance > 0, tested, np.where(difference == 0, 1.0, np.nan))
    return p


def _bca_shares(values: NDArray[np.float64], estimate: float, speed: float, tail: float) -> NDArray[np.float64]:
    """Return the quantiles of the replicates that are the BCa limits."""
    below = ((values < estimate).sum() + 0.5 * (values == estimate).sum()) / len(values)
    bias = ndtri(np.clip(below, 0.5 / len(values), 1 - 0.5 / len(values)))
    z = bias + ndtri(np.array([tail, 1 - tail]))
    shares: NDArray[np.float64] = ndtr(bias + z / (1 - speed * z))
    return shares
