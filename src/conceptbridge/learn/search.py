"""The runs of an arm: which rows a model is trained on, with which seed and settings, and which settings are kept.

Every arm tries the same candidate settings once, with the first seed. Where the one with the lowest validation loss has
the first or last value that was tried of a setting, one further value is tried. The best is then trained with all
seeds. How long a run trains is no setting that is searched: validation loss ends it, and a cap far above that, which is
doubled once for a run that reaches it. No test row plays a part.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from conceptbridge.learn.arm_job import Budget

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
    on. No number of it may tell of fewer persons than ``min_cell_count``, with or without the event."""

    seed: int
    settings: Mapping[str, Any]
    part: Part
    min_cell_count: int = 0


#: what a run used of its cap (on passes, trees, penalties): validation loss ended it within; it went on after the cap
#: was doubled; even the doubled cap ended it
WITHIN, EXTENDED, AT_CAP = 0, 1, 2


def cap_use(now: int, cap: int, end: int, over: bool) -> int:
    """What a run that is at ``now`` has used of its ``cap``; it may go on until ``end``, the doubled cap, and ``over``
    says whether validation loss has ended it. Where ``end`` is the cap itself, that is a fixed number and no limit."""
    if now <= cap:
        return WITHIN
    return EXTENDED if over or now < end else AT_CAP


class Model(Protocol):
    """What every learner's models are: one member per run, with the loss of each on the rows that checked it."""

    @property
    def losses(self) -> list[float]: ...

    @property
    def kept(self) -> list[int]: ...

    @property
    def steps(self) -> int: ...

    def take(self, members: Sequence[int]) -> Any: ...

    def join(self, others: Sequence[Any]) -> Any: ...


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
    """What an arm was given and took: models trained, their steps (or trees, or iterations), and what was chosen.

    ``extended``: the settings of which a value beyond the tried ones was tried too, as an edge had been chosen, and the
    cap, if it had to be doubled for a seed. ``at_edge``: those of them whose new edge, or doubled cap, was chosen.
    """

    trials: int
    steps: int
    kept: list[int]
    chosen: dict[str, Any]
    extended: list[str]
    at_edge: list[str]


class Limits(Protocol):
    """What a learner declares of its settings' limits (``study.learners.LearnerSpec``)."""

    @property
    def cap(self) -> str | None:
        """The setting that caps the length of a run."""

    def beyond(self, setting: str, tried: Sequence[Any], chosen: Any) -> Any:
        """The next value of a setting if ``chosen`` is at an edge of the ``tried`` ones; else None."""


M = TypeVar("M", bound=Model)
Train = Callable[[Sequence[Run], Sequence[float]], tuple[M, list[M]]]


def search(
    train: Train[M],
    parts: Sequence[Part],
    budget: "Budget",
    limits: Limits,
) -> tuple[M, list[M], list[Spent]]:
    """Train all seeds of every part with the candidate of the searched settings that does best on its validation rows.

    ``train(runs, depths)`` returns a model of one member per run, and those after each of the ``depths``. Returns the
    model of parts x seeds members, in that order, those at the budget's depths, and what each part spent. Without
    validation rows the first candidate is taken.
    """
    tried = candidates(budget.searched, budget.max_trials)
    trials = _Trials(train, parts, budget)
    if len(tried) > 1:
        trials.run([(p, candidate) for p in range(len(parts)) for candidate in tried])
        first = [trials.best(p, tried[0]) for p in range(len(parts))]
        further = [[*_further(limits, tried, chosen)] for chosen in first]
        trials.run([(p, {**first[p], name: value}) for p, each in enumerate(further) for name, value in each])
    else:
        further = [[] for _ in parts]
    chosen = [trials.best(p, tried[0]) for p in range(len(parts))]
    model, along, steps = trials.all_seeds(chosen, budget.seeds, budget.depths)
    kept = np.reshape(model.kept, (len(parts), budget.seeds)).tolist()
    # a learner of another package may have no cap
    capped = np.reshape(getattr(model, "capped", [WITHIN] * len(model.kept)), (len(parts), budget.seeds)).max(axis=1)
    spent = []
    for p, of_part in enumerate(chosen):
        extended = [name for name, _ in further[p]]
        at_edge = [name for name, value in further[p] if of_part[name] == value]
        if limits.cap is not None and capped[p] > WITHIN:
            extended.append(limits.cap)
            at_edge += [limits.cap] * bool(capped[p] == AT_CAP)
        trained = max(len(tried) + len(further[p]), 1)
        spent.append(Spent(trained, steps // len(parts), kept[p], of_part, extended, at_edge))
    return model, along, spent


def _further(
    limits: Limits, tried: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The settings of which the first or last tried value was ``chosen``, and the next value beyond it."""
    for name, value in chosen.items():
        beyond = limits.beyond(name, [candidate[name] for candidate in tried], value)
        if beyond is not None:
            yield name, beyond


class _Trials(Generic[M]):
    """The candidates that were tried on each part, with the first seed, and their models."""

    def __init__(self, train: Train[M], parts: Sequence[Part], budget: "Budget") -> None:
        self.train, self.parts, self.budget = train, parts, budget
        self.steps = 0
        #: of each part: each candidate, its loss, and its model
        self.tried: list[list[tuple[dict[str, Any], float, M]]] = [[] for _ in parts]

    def run(self, wanted: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Try candidates, each on one of the parts, all together."""
        if not wanted:
            return
        runs = [self._run(1, candidate, self.parts[p]) for p, candidate in wanted]
        model, _ = self.train(runs, ())
        self.steps += model.steps
        for member, (p, candidate) in enumerate(wanted):
            loss = model.losses[member]  # no number where training diverged
            self.tried[p].append((candidate, loss if loss == loss else float("inf"), model.take([member])))

    def _run(self, seed: int, candidate: Mapping[str, Any], part: Part) -> Run:
        return Run(seed, {**self.budget.settings, **candidate}, part, self.budget.min_cell_count)

    def best(self, part: int, default: dict[str, Any]) -> dict[str, Any]:
        """The candidate with the lowest loss, the first of these; ``default`` where none was tried."""
        return min(self.tried[part], key=lambda one: one[1])[0] if self.tried[part] else default

    def all_seeds(
        self, chosen: Sequence[Mapping[str, Any]], seeds: int, depths: Sequence[float]
    ) -> tuple[M, list[M], int]:
        """The model of all seeds of each part with its ``chosen`` settings, those at the depths, and all steps so far.

        The first seed is there since its trial, unless depths are asked for.
        """
        there = all(self.tried) and not depths
        runs = [
            self._run(seed, of_part, part)
            for part, of_part in zip(self.parts, chosen, strict=True)
            for seed in range(1 + there, seeds + 1)
        ]
        if not there:
            model, along = self.train(runs, depths)
            return model, along, self.steps + model.steps
        firsts = [next(m for c, _, m in self.tried[p] if c == of_part) for p, of_part in enumerate(chosen)]
        if not runs:
            return firsts[0].join(firsts[1:]), [], self.steps
        model, _ = self.train(runs, ())
        per = seeds - 1
        each = [one for p, first in enumerate(firsts) for one in (first, model.take(range(p * per, (p + 1) * per)))]
        return each[0].join(each[1:]), [], self.steps + model.steps


def cross_entropy(labels: NDArray[np.int8], probability: NDArray[np.float64]) -> float:
    """Mean cross-entropy in nats; infinite where there is no row to look at."""
    if not len(labels):
        return float("inf")
    given = np.clip(np.where(labels == 1, probability, 1 - probability), 1e-15, 1)
    return float(-np.log(given).mean())
