"""The digits of a forest's thresholds. LightGBM sets one half way between the values of two rows, in full: of a mean of
vectors that says which tokens a row can have. As few digits as part the training rows as before are as good."""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from conceptbridge.learn.feature_blocks import Blocks
from conceptbridge.learn.leaf_digits import numbers, split_trees
from conceptbridge.learn.pooled_features import Features

Values = NDArray[np.float64]


def shorten_thresholds(text: str, values_of: Callable[[int], Values]) -> str:
    """Shorten the thresholds in LightGBM's text; ``values_of`` returns the values of a feature in the training rows,
    each once, in order."""
    head, trees = split_trees(text)
    shortened = []
    for tree in trees:
        splits = zip(numbers(tree, "split_feature"), numbers(tree, "threshold"), strict=True)
        line = " ".join(repr(shortest(threshold, values_of(int(feature)))) for feature, threshold in splits)
        shortened.append(re.sub(r"^threshold=.*$", f"threshold={line}", tree, count=1, flags=re.MULTILINE))
    return head + "".join(shortened)


def shortest(threshold: float, values: Values) -> float:
    """Return the number of the fewest significant digits that has the same ``values`` at most as large."""
    at = int(np.searchsorted(values, threshold, side="right"))
    low, high = values[at - 1] if at else -np.inf, values[at] if at < len(values) else np.inf
    tried = (float(f"{threshold:.{digits}g}") for digits in range(1, 18))
    return next(number for number in tried if low <= number < high)


def values_of_feature(features: Features, feature: int) -> Values:
    """Return the values of a feature (rows, features; dense, in blocks, or sparse by column), each once, in order."""
    if isinstance(features, Blocks):
        return np.unique(features.column(feature)).astype(np.float64)
    if not sparse.issparse(features):
        return np.unique(features[:, feature]).astype(np.float64)
    stored = features.data[features.indptr[feature] : features.indptr[feature + 1]]
    missing = np.zeros(int(len(stored) < features.shape[0]), stored.dtype)
    return np.unique(np.concatenate([missing, stored])).astype(np.float64)
