"""The values of a forest's leaves, from all training rows, and none from few persons with or without the event.

The value of a leaf tells the share of its rows with the event, and a small count can be read off it. So leaves that
hold few persons of either class have a value together with those of the nearest values, by which predictions change
least. The trees are those that were grown; their values are made here, tree after tree, so that each corrects what the
joined leaves before it have left. They are Newton's steps (Friedman 2001, Greedy function approximation, section 4.5)
on all training rows, also where a tree was grown on some that were drawn for it: few of these would be few again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.learn.leaf_digits import numbers, split_trees, with_leaf_values

Values = NDArray[np.float64]
Counts = NDArray[np.int64]
#: a share of rows with the event is kept this far from 0 and 1
_SMALLEST = 1e-15


def remake_leaves(
    text: str,
    leaves: NDArray[np.integer],
    labels: NDArray[np.int8],
    persons: NDArray[np.int64],
    rate: float,
    min_cell_count: int,
) -> str:
    """Give the leaves in LightGBM's text new values, each from ``min_cell_count`` persons with the event and without.

    ``leaves`` (rows, trees): at which leaf of each tree a training row ends; ``labels`` and ``persons`` (rows,);
    ``rate`` shrinks the steps. A tree whose leaves are all joined moves every row alike.
    """
    head, trees = split_trees(text)
    start = float(logit(np.clip(labels.mean(), _SMALLEST, 1 - _SMALLEST)))
    order = np.argsort(labels, kind="stable")  # class by class
    leaves, events, without = leaves[order], labels[order].astype(np.float64), int((labels == 0).sum())
    of_classes = (slice(without), slice(without, None))
    classes = [(rows, np.unique(persons[order[rows]], return_inverse=True)) for rows in of_classes]
    logits, remade = np.full(len(labels), start), []
    for number, tree in enumerate(trees):
        leaf, count = leaves[:, number].astype(np.intp), len(numbers(tree, "leaf_value"))
        probability = 1 / (1 + np.exp(-logits))  # SciPy's takes six times as long
        slope = np.bincount(leaf, events - probability, count).astype(np.float64, copy=False)
        weight = np.bincount(leaf, probability * (1 - probability), count).astype(np.float64, copy=False)
        of_class = [persons_of_leaves(leaf[rows], count, person, len(known)) for rows, (known, person) in classes]
        values = rate * joined_steps(slope, weight, of_class, min_cell_count)
        logits += values[leaf]
        # the first tree holds the log odds of all rows too
        remade.append(with_leaf_values(tree, values if number else values + start))
    return head + "".join(remade)


def joined_steps(slope: Values, weight: Values, counts: Sequence[Counts], min_cell_count: int) -> Values:
    """Return Newton's step of each leaf (leaves,), that of several together where it must be.

    ``slope`` and ``weight`` are sums over each leaf's rows, ``counts`` its persons of each class.
    """
    each = zip(slope.tolist(), weight.tolist(), zip(*(of.tolist() for of in counts), strict=True), strict=True)
    groups = sorted((_Group(*sums, [leaf]) for leaf, sums in enumerate(each)), key=_Group.step)
    steps, enough = [of.step() for of in groups], [of.is_enough(min_cell_count) for of in groups]
    while len(groups) > 1 and not all(enough):
        small = enough.index(False)
        beside = [n for n in (small - 1, small) if 0 <= n < len(groups) - 1]
        first = min(beside, key=lambda n: steps[n + 1] - steps[n])
        both = groups[first].join(groups[first + 1])
        groups[first : first + 2], steps[first : first + 2] = [both], [both.step()]
        enough[first : first + 2] = [both.is_enough(min_cell_count)]
    result = np.empty(len(slope))
    for of, step in zip(groups, steps, strict=True):
        result[of.leaves] = step
    return result


class _Group(NamedTuple):
    """Leaves that have a value together: sums over their rows, and their persons of each class."""

    slope: float
    weight: float
    counts: tuple[int, ...]
    leaves: list[int]

    def step(self) -> float:
        return self.slope / (self.weight + _SMALLEST)

    def is_enough(self, min_cell_count: int) -> bool:
        return all(is_enough(count, min_cell_count) for count in self.counts)

    def join(self, other: "_Group") -> "_Group":
        counts = tuple(one + more for one, more in zip(self.counts, other.counts, strict=True))
        return _Group(self.slope + other.slope, self.weight + other.weight, counts, self.leaves + other.leaves)


def persons_of_leaves(leaf: NDArray[np.intp], leaves: int, person: NDArray[np.intp], persons: int) -> Counts:
    """Count the persons of each leaf (leaves,), from the leaf of each row and whose it is, of so many persons."""
    there = np.zeros((leaves, persons), np.bool_)
    there[leaf, person] = True
    counts: Counts = np.count_nonzero(there, axis=1)
    return counts
