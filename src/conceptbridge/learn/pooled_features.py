"""A fixed number of features from each row's set of tokens, for learners that are no networks over sets."""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from conceptbridge.learn.rows import Examples, OneHot

#: dense or sparse: shape (rows, features)
Features = Any
#: numbers that are added at once: few enough for a processor's own memory
SIDE_BY_SIDE = 200_000


def pool(examples: Examples, counts: bool) -> Features:
    """Mean and maximum over the vectors of each row's tokens (zeros where it has none), with ``counts`` also how many
    tokens it has: shape (rows, 2 * width, and one more with counts). Of one-hot vectors both are sparse, uncentred:
    the share of a token among the row's, and whether it is there. What ``OneHot.added`` tokens add comes last, and the
    features before are as if a row did not have them, so that a model of the source sees what it knows."""
    return examples.cached(("pooled", counts), lambda: _pool(examples, counts))


def _pool(examples: Examples, counts: bool) -> Features:
    lengths = examples.lengths
    if isinstance(examples.vectors, OneHot) and examples.vectors.added:
        return _pool_added(examples, counts)
    if isinstance(examples.vectors, OneHot):
        shares = presence(examples, repeated=True)
        shares.data /= np.repeat(np.maximum(lengths, 1), np.diff(shares.indptr)).astype(np.float32)
        blocks = [shares, presence(examples)] + (
            [sparse.csr_matrix(lengths[:, None].astype(np.float32))] if counts else []
        )
        return sparse.csr_matrix(sparse.hstack(blocks, format="csr"))
    width = examples.vectors.shape[1]
    made = np.empty((len(examples), 2 * width + counts), np.float32)
    # longest rows first: those that have an n-th token are then the first ones, and are added in one go
    longest = np.argsort(-lengths, kind="stable")
    together = max(SIDE_BY_SIDE // max(width, 1), 1)
    for first in range(0, len(longest), together):
        order = longest[first : first + together]
        sums = np.zeros((len(order), width), np.float32)
        highest = np.full((len(order), width), -np.inf, np.float32)
        for n in range(int(lengths[order[0]])):
            rows = order[: np.searchsorted(-lengths[order], -n, side="left")]
            nth = examples.vectors[examples.tokens[examples.offsets[rows] + n]]
            sums[: len(rows)] += nth
            np.maximum(highest[: len(rows)], nth, out=highest[: len(rows)])
        made[order, :width] = sums / np.maximum(lengths[order], 1)[:, None]
        made[order, width : 2 * width] = np.where(lengths[order, None] > 0, highest, 0)
    if counts:
        made[:, -1] = lengths
    return made


def _pool_added(examples: Examples, counts: bool) -> sparse.csr_matrix:
    assert isinstance(examples.vectors, OneHot)
    first = examples.vectors.width - examples.vectors.added
    known = examples.tokens < first
    lengths = np.bincount(examples.row_of[known], minlength=len(examples))
    own = replace(examples.vectors, width=first, added=0)
    begin = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    old = _pool(Examples(own, examples.tokens[known], begin, examples.labels), counts)
    new = _pool(replace(examples, vectors=replace(examples.vectors, added=0)), counts=False).tocsc()
    width = examples.vectors.width
    blocks = [old, new[:, first:width], new[:, width + first :]]
    return sparse.csr_matrix(sparse.hstack(blocks, format="csr"))


def presence(examples: Examples, repeated: bool = False) -> sparse.csr_matrix:
    """Which tokens each row has, or with ``repeated`` how often: shape (rows, tokens), sparse."""
    shape = (len(examples), examples.vectors.shape[0])
    ones = np.ones(len(examples.tokens), np.float32)
    made = sparse.csr_matrix((ones, examples.tokens, examples.offsets), shape=shape)
    made.sum_duplicates()
    if not repeated:
        made.data[:] = 1
    return made
