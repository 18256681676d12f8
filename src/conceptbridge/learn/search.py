"""The runs of an arm: which rows a model is trained on, with which seed and settings, and which settings are kept.

Every arm tries the same candidate settings once, with the first seed. The candidate with the lowest validation loss is
then trained with all seeds. No test row plays a part.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

#: of the labelled rows of a target size, one in so many persons is left for validation
CARVED = 5


@dataclass(frozen=True)
class Part:
    """Labelled rows that a model may learn from: positions of those that train it and of those that check it.

    ``size`` is the number of events among them, None for all there are; ``replicate`` the order of persons it is from.
    """

    train: Rows
    check: Rows
    size: int | None = None
    replicate: int | None = None


@dataclass(frozen=True)
class Run:
    """One model of an arm: its seed (the n-th of the study's), its settings and the rows it is trained and checked
    on."""

    seed: int
    settings: Mapping[str, Any]
    part: Part


class Model(Protocol):
    """What every learner's models are: one member per run, with the loss of each on the rows that checked it."""

    @property
    def losses(self) -> list[float]: ...

    @property
    def kept(self) -> list[int]: ...

    @property
    def steps(self) -> int: ...


def sized_parts(
    labels: NDArray[np.int8], person_ids: NDArray[np.int64], rows: Rows, sizes: Sequence[int], replicates: int
) -> Iterator[Part]:
    """Nested subsets of ``rows``: of each size in events, and for each replicate an order of the persons of its own.

    A subset is the shortest beginning of the order that holds ``size`` events, whole persons with all their rows; every
    fifth of its persons with an event, and every fifth of those without, are kept for validation, so that a size counts
    all the labelled rows that a hospital would need. A size that the rows cannot fill is left out.
    """
    persons, person = np.unique(person_ids[rows], return_inverse=True)
    events = np.bincount(person, weights=labels[rows], minlength=len(persons))
    for replicate in range(1, replicates + 1):
        order = np.random.default_rng(replicate).permutation(len(persons))
        turn = np.empty(len(persons), np.int64)
        for of_class in (events[order] > 0, events[order] == 0):
            turn[order[of_class]] = np.arange(int(of_class.sum()))
        reached = np.cumsum(events[order])
        for size in sizes:
            if not len(reached) or reached[-1] < size:
                continue
            inside = np.zeros(len(persons), np.bool_)
            inside[order[: 1 + int(np.searchsorted(reached, size))]] = True
            carved = turn % CARVED == CARVED - 1
            yield Part(rows[(inside & ~carved)[person]], rows[(inside & carved)[person]], size, replicate)


def candidates(searched: Mapping[str, Sequence[Any]], trials: int) -> list[dict[str, Any]]:
    """At most ``trials`` combinations of the searched settings, spread over all of them; the same for every arm."""
    combinations = [dict(zip(searched, values, strict=True)) for values in product(*searched.values())]
    order = np.random.default_rng(0).permutation(len(combinations))[:trials]
    return [combinations[i] for i in sorted(order)]


@dataclass(frozen=True)
class Spent:
    """What an arm was given and took: models trained, their steps (or trees, or iterations), and what was chosen."""

    trials: int
    steps: int
    kept: list[int]
    chosen: dict[str, Any]


M = TypeVar("M", bound=Model)


def search(
    train: Callable[[Sequence[Run], Sequence[float]], tuple[M, list[M]]],
    parts: Sequence[Part],
    settings: Mapping[str, Any],
    searched: Mapping[str, Sequence[Any]],
    trials: int,
    seeds: int,
    depths: Sequence[float] = (),
) -> tuple[M, list[M], list[Spent]]:
    """Train all seeds of every part with the candidate of the ``searched`` settings that does best on its validation
    rows.

    ``train(runs, depths)`` returns a model of one member per run, and those after each of the ``depths``. Returns the
    model of parts x seeds members, in that order, those at the depths, and what each part spent. Without validation
    rows the first candidate is taken.
    """
    tried = candidates(searched, trials)
    best, steps = [0] * len(parts), 0
    if len(tried) > 1:
        trials_of_parts = [Run(1, {**settings, **candidate}, part) for part in parts for candidate in tried]
        model, _ = train(trials_of_parts, ())
        losses = np.reshape(model.losses, (len(parts), len(tried)))
        best, steps = [int(i) for i in losses.argmin(axis=1)], model.steps // len(parts)
    chosen = [tried[b] for b in best]
    runs = [
        Run(seed, {**settings, **of_part}, part)
        for part, of_part in zip(parts, chosen, strict=True)
        for seed in range(1, seeds + 1)
    ]
    model, along = train(runs, depths)
    steps += model.steps // len(parts)
    kept = np.reshape(model.kept, (len(parts), seeds)).tolist()
    spent = [
        Spent(len(tried), steps, of_part, settings_of_part)
        for of_part, settings_of_part in zip(kept, chosen, strict=True)
    ]
    return model, along, spent


def cross_entropy(labels: NDArray[np.int8], probability: NDArray[np.float64]) -> float:
    """Mean cross-entropy in nats; infinite where there is no row to look at."""
    if not len(labels):
        return float("inf")
    given = np.clip(np.where(labels == 1, probability, 1 - probability), 1e-15, 1)
    return float(-np.log(given).mean())
