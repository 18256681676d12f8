"""The digits of a forest's leaf values: few enough that they do not tell how many training rows with the event are
where, and enough that predictions stay what they are.

The value of a leaf of the first tree is a Newton step from the share p of all rows with the event:
log odds of p + rate x (share in the leaf - p) / (p (1 - p)). Whoever knows p can solve it for the share, which is a
fraction k / n of small numbers, and so for the leaf's rows and events. Rounded to a step of rate / (N p (1 - p)), N
being the rows of the tree, the value is that of a whole interval of shares, 1 / N wide. In it lies one with denominator
N, so that any number of rows up to all of them could be there.

Later trees step from what earlier ones predict, which is then known no better than that. They are rounded as finely as
their number demands.
"""

import re

#: the largest change of a probability by the trees after the first
TOLERANCE = 5e-5
_TREE = re.compile(r"^Tree=(\d+)$", re.MULTILINE)


def round_leaves(text: str) -> str:
    """Round the leaf values in LightGBM's text, which still has the weight (sum of p (1 - p)) of each leaf.

    The sizes of the trees in bytes would then be wrong, so they are left out, and LightGBM reads tree after tree.

    The first tree moves a probability q by at most rate / (2 N) x q (1 - q) / (p (1 - p)).
    """
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    starts = [match.start() for match in _TREE.finditer(text)]
    if not starts:
        return text
    ends = [*starts[1:], len(text)]
    # a rounding by half a step in each tree, at the steepest place of the logistic curve
    fine = 8 * TOLERANCE / max(len(starts) - 1, 1)
    trees = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    # of the first tree, which has the log odds of p added, LightGBM says that it is not shrunk
    said = re.search(r"^\[learning_rate: (.*)\]$", text, re.MULTILINE)
    [rate, *_] = [float(said[1])] if said else _numbers(trees[0], "shrinkage")
    weight = sum(_numbers(trees[0], "leaf_weight"))
    coarse = max(fine, rate / weight) if weight > 0 else fine
    return text[: starts[0]] + "".join(_rounded(tree, coarse if not n else fine) for n, tree in enumerate(trees))


def _rounded(tree: str, step: float) -> str:
    values = _numbers(tree, "leaf_value")
    rounded = " ".join(f"{round(value / step) * step:.12g}" for value in values)
    return re.sub(r"^leaf_value=.*$", f"leaf_value={rounded}", tree, count=1, flags=re.MULTILINE)


def _numbers(tree: str, name: str) -> list[float]:
    match = re.search(rf"^{name}=(.*)$", tree, re.MULTILINE)
    return [float(number) for number in match[1].split()] if match else []
