"""Resamples of persons: whole persons are drawn, with all their rows, for the limits of learning curves."""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
