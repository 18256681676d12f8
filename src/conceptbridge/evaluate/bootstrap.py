"""The person-cluster bootstrap: whole persons are drawn, with all their rows."""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

COVERAGE = 0.95
LARGEST_UNDEFINED_SHARE = 0.05
"""Where a metric is undefined in more resamples than this (a single class), there are no limits."""


class Resamples(NamedTuple):
    """How often each person was drawn: ``weight`` (persons, replicates); whose each row is: ``person``."""

    weight: NDArray[np.uint8]
    person: NDArray[np.intp]


def draw(person_id: ArrayLike, replicates: int, *seed: int | str) -> Resamples:
    """Draw as many persons as there are, with replacement, ``replicates`` times.

    ``person_id`` (rows,) names the person of each row. ``seed`` are the words that name this draw, such as
    the study's seed, the task and the target: the same words give the same resamples, in every process.
    """
    persons, person = np.unique(np.asarray(person_id), return_inverse=True)
    digest = hashlib.sha256("/".join(map(str, seed)).encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:16], "big"))
    count = len(persons)
    # one byte a cell: that one of n persons is drawn more than 255 times in n draws has a chance below 1e-500
    weight = np.zeros((count, replicates), dtype=np.uint8)
    for replicate in range(replicates if count else 0):
        weight[:, replicate] = np.bincount(generator.integers(count, size=count), minlength=count)
    return Resamples(weight, person)


def limits(values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % percentile limits of each row of ``values`` (quantities, replicates), lower and upper.

    Undefined (NaN) replicates are skipped; a quantity that is undefined in more than 5 % of them, or has no
    replicates at all, has NaN limits. (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.)
    """
    values = np.asarray(values, dtype=np.float64)
    undefined = np.isnan(values).sum(axis=1)
    enough = undefined <= LARGEST_UNDEFINED_SHARE * values.shape[1] if values.size else np.zeros(len(values), bool)
    bounds = np.full((2, len(values)), np.nan)
    if enough.any():
        tail = (1 - COVERAGE) / 2
        bounds[:, enough] = np.nanquantile(values[enough], [tail, 1 - tail], axis=1)
    return bounds[0], bounds[1]
