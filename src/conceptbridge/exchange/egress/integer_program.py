"""Whole numbers that are bound by linear constraints: which sums of them can have one value only."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

Key = tuple[Any, ...]


class System:
    """Unknown whole numbers from 0 to ``most``, each with a key, and what binds them."""

    def __init__(self, most: int) -> None:
        """Begin without any unknown."""
        self.most = most
        self.keys: dict[Key, int] = {}
        self._shown: set[int] = set()
        self._low: list[float] = []
        self._high: list[float] = []
        self._terms: list[dict[int, float]] = []
        self._between: list[tuple[float, float]] = []

    def add(self, terms: Mapping[Key, float], low: float = -np.inf, high: float = np.inf) -> None:
        """Bind a sum of unknowns, each times its factor."""
        self._terms.append({self._at(key): factor for key, factor in terms.items()})
        self._between.append((low, high))

    def fix(self, key: Key, value: int) -> None:
        """Say what an unknown is: it is shown."""
        self.bound(key, value, value)
        self._shown.add(self._at(key))

    def bound(self, key: Key, low: int, high: int) -> None:
        """Say between which values an unknown is."""
        at = self._at(key)
        self._low[at], self._high[at] = max(self._low[at], low), min(self._high[at], high)

    def determined(self, targets: Iterable[tuple[str, Mapping[Key, float]]]) -> Iterator[tuple[str, int]]:
        """Yield the targets (name, factors) that can have one value only, with it.

        A target that is shown as such, an unknown that was fixed, is not asked for. Where nothing fits all constraints,
        nothing is determined.
        """
        asked = [(name, self._objective(terms)) for name, terms in targets if not self._is_shown(terms)]
        if not asked:
            return
        rows = np.repeat(np.arange(len(self._terms)), [len(terms) for terms in self._terms])
        columns = np.array([at for terms in self._terms for at in terms])
        factors = np.array([factor for terms in self._terms for factor in terms.values()])
        matrix = csr_array((factors, (rows, columns)), shape=(len(self._terms), len(self.keys)))
        bound = LinearConstraint(matrix, *np.array(self._between, dtype=np.float64).T)
        # what one solution says of a target says that of all others too
        objectives = np.array([objective for _, objective in asked])
        seen: list[set[int]] = [set() for _ in asked]
        for objective in (np.ones(len(self.keys)), -np.ones(len(self.keys))):
            if (solution := self._solve(objective, bound)) is None:
                return
            _note(seen, objectives @ solution)
        for number, (name, objective) in enumerate(asked):
            for sign in (1, -1):
                if len(seen[number]) < 2 and (solution := self._solve(sign * objective, bound)) is not None:
                    _note(seen, objectives @ solution)
            if len(seen[number]) == 1:
                yield name, next(iter(seen[number]))

    def _solve(self, objective: NDArray[np.float64], bound: LinearConstraint) -> NDArray[np.float64] | None:
        solved = milp(objective, integrality=1, bounds=Bounds(self._low, self._high), constraints=bound)
        return None if solved.x is None else np.asarray(np.round(solved.x))

    def _objective(self, terms: Mapping[Key, float]) -> NDArray[np.float64]:
        objective = np.zeros(len(self.keys))
        for key, factor in terms.items():
            objective[self.keys[key]] = factor
        return objective

    def _is_shown(self, terms: Mapping[Key, float]) -> bool:
        return len(terms) == 1 and self.keys[next(iter(terms))] in self._shown

    def _at(self, key: Key) -> int:
        if key not in self.keys:
            self.keys[key] = len(self.keys)
            self._low.append(0)
            self._high.append(self.most)
        return self.keys[key]


def _note(seen: list[set[int]], values: NDArray[np.float64]) -> None:
    for values_of, value in zip(seen, values, strict=True):
        values_of.add(int(value))
