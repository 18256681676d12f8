"""The values of a forest's leaves, from all training rows, and none from few persons with or without the event.

The value of a leaf tells the share of its rows with the event, and a small count can be read off it. So leaves that
hold few persons of either class have a value together with those of the nearest values, by which predictions change
least. The trees are those that were grown; their values are made here, tree after tree, so that each corrects what the
joined leaves before it have left. They are Newton's steps (Friedman 2001, Greedy function approximation, section 4.5)
on all training rows, also where a tree was grown on some that were drawn for it: few of these would be few again.
"""

from collections.abc import Sequence

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
    _, person = np.unique(persons, return_inverse=True)
    classes = [_Class(np.flatnonzero(labels == label), person) for label in (1, 0)]
    start = float(logit(np.clip(labels.mean(), _SMALLEST, 1 - _SMALLEST)))
    logits, remade = np.full(len(labels), start), []
    for number, tree in enumerate(trees):
        leaf, count = leaves[:, number].astype(np.intp), len(numbers(tree, "leaf_value"))
        probability = 1 / (1 + np.exp(-logits))  # SciPy's takes six times as long
        slope = np.bincount(leaf, labels - probability, count).astype(np.float64)
        weight = np.bincount(leaf, probability * (1 - probability), count).astype(np.float64)
        of_class = [of.persons(leaf, count) for of in classes]
        values = rate * joined_steps(slope, weight, of_class, min_cell_count)
        logits += values[leaf]
        # the first tree holds the log odds of all rows too
        remade.append(with_leaf_values(tree, values if number else values + start))
    return head + "".join(remade)


def joined_steps(slope: Values, weight: Values, counts: Sequence[Counts], min_cell_count: int) -> Values:
    """Return Newton's step of each leaf (leaves,), that of several together where it must be.

    ``slope`` and ``weight`` are sums over each leaf's rows, ``counts`` its persons of each class.
    """

    def step(of: Sequence[int]) -> float:
        return float(slope[of].sum() / (weight[of].sum() + _SMALLEST))

    groups = sorted(([leaf] for leaf in range(len(slope))), key=step)
    while len(groups) > 1:
        small = [n for n, of in enumerate(groups) if not all(is_enough(c[of].sum(), min_cell_count) for c in counts)]
        if not small:
            break
        steps = [step(of) for of in groups]
        beside = [n for n in (small[0] - 1, small[0]) if 0 <= n < len(groups) - 1]
        first = min(beside, key=lambda n: steps[n + 1] - steps[n])
        groups[first : first + 2] = [groups[first] + groups[first + 1]]
    result = np.empty(len(slope))
    for of in groups:
        result[of] = step(of)
    return result


class _Class:
    """The rows of a class: those of persons who have one of them, and the others."""

    def __init__(self, rows: NDArray[np.intp], person: NDArray[np.intp]) -> None:
        alone = np.bincount(person[rows])[person[rows]] == 1
        self.single, self.others = rows[alone], rows[~alone]
        self.person = person[self.others]

    def persons(self, leaf: NDArray[np.intp], leaves: int) -> Counts:
        """Count the persons of each leaf (leaves,), from the leaf of each row."""
        # asked for counts as well, NumPy sorts, which is faster than its hashing
        once, _ = np.unique(leaf[self.others] + leaves * self.person, return_counts=True)
        return np.bincount(leaf[self.single], minlength=leaves) + np.bincount(once % leaves, minlength=leaves)
