"""The digits of a forest's leaf values: as few as keep every prediction within a ten-thousandth.

Where a leaf has many persons (``leaf_counts``) they are a further veil. The value of a leaf of the first tree is a
Newton step from the share p of all rows with the event: log odds of p + rate x (share in the leaf - p) / (p (1 - p)).
Rounded to a step of s, it is that of an interval of shares, s p (1 - p) / rate wide.
"""

import re
from collections.abc import Iterable

#: the largest change of a probability by the first tree, and by all others together
TOLERANCE = 5e-5
_TREE = re.compile(r"^(?=Tree=\d+$)", re.MULTILINE)


def round_leaves(text: str) -> str:
    """Round the leaf values in LightGBM's text, so that no probability changes by more than twice the tolerance.

    A rounding moves the log odds by at most half a step in each tree, and a probability by a quarter of that, which is
    the steepest place of the logistic curve.
    """
    head, trees = split_trees(text)
    first, others = 8 * TOLERANCE, 8 * TOLERANCE / max(len(trees) - 1, 1)
    steps = [others if number else first for number in range(len(trees))]
    return head + "".join(
        with_leaf_values(tree, (round(value / step) * step for value in numbers(tree, "leaf_value")))
        for tree, step in zip(trees, steps, strict=True)
    )


def split_trees(text: str) -> tuple[str, list[str]]:
    """Return what stands before the trees in LightGBM's text, and each tree; what follows the trees is the last one's.

    The sizes of the trees in bytes are left out, as they would be wrong: LightGBM then reads tree after tree.
    """
    head, *trees = _TREE.split(re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE))
    return head, trees


def numbers(tree: str, name: str) -> list[float]:
    """Return the numbers of a line of a tree."""
    match = re.search(rf"^{name}=(.*)$", tree, re.MULTILINE)
    return [float(number) for number in match[1].split()] if match else []


def with_leaf_values(tree: str, values: Iterable[float]) -> str:
    """Return a tree with other leaf values."""
    written = " ".join(f"{value:.12g}" for value in values)
    return re.sub(r"^leaf_value=.*$", f"leaf_value={written}", tree, count=1, flags=re.MULTILINE)
