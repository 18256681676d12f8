"""A fixed number of features from each row's set of tokens, for learners that are no networks over sets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from conceptbridge.learn.feature_blocks import SIDE_BY_SIDE, Block, Blocks
from conceptbridge.learn.places import NUMBERED
from conceptbridge.learn.rows import Examples, OneHot, PlacedVectors, offsets_of

#: dense, sparse or in blocks: shape (rows, features)
Features = Any


def pool(examples: Examples, counts: bool) -> Features:
    """What a learner of a fixed number of features sees of each row, with ``counts`` also how many tokens it has.

    Of one-hot vectors the weight of each token that is there, sparse and uncentred: shape (rows, width). What
    ``OneHot.added`` tokens add comes last, and the features before are as if a row did not have them, so that a model
    of the source sees what it knows. Of other vectors, times their weights, mean and maximum over the row's tokens
    (zeros where it has none): shape (rows, 2 * width); in windows over those of a window, and of values the sum, in
    blocks, one a place. Of a row that is one token its vector: shape (rows, width).
    """
    return examples.cached(("pooled", counts), lambda: _pool(examples, counts))


def scale_groups(examples: Examples) -> NDArray[np.int64] | None:
    """Which features of ``pool``, without counts, have a scale in common: the number of each one's group (features,).

    Those are the components of one place and one statistic, mean or maximum. The numbers that share a place
    (``places.NUMBERS``) have nothing to do with each other: each is a group. None: there are no groups, of one-hot.
    """
    vectors = examples.vectors
    if isinstance(vectors, OneHot):
        return None
    width = vectors.shape[1]
    if examples.whole:
        return np.zeros(width, np.int64)
    if not isinstance(vectors, PlacedVectors):
        return np.arange(2 * width) // (examples.place_width or max(width, 1))
    size = vectors.vectors.shape[1]
    groups = np.arange(2 * width) // max(size, 1)
    of_numbers = np.tile(np.repeat(vectors.bags == NUMBERED, size), 2)
    return np.where(of_numbers, len(groups) + np.arange(len(groups)), groups)


def _pool(examples: Examples, counts: bool) -> Features:
    if isinstance(examples.vectors, OneHot):
        return _pool_onehot(examples, counts)
    width = examples.vectors.shape[1]
    if isinstance(examples.vectors, PlacedVectors):
        return _pool_places(examples, examples.vectors, counts)
    if examples.whole:
        made = np.ones((len(examples), width + counts), np.float32)
        made[:, :width] = examples.vectors[examples.tokens]
        return made
    made = np.empty((len(examples), 2 * width + counts), np.float32)
    _pool_dense(examples, examples.vectors, made)
    if counts:
        made[:, -1] = examples.lengths
    return made


def _pool_dense(examples: Examples, vectors: NDArray[np.float32], made: NDArray[np.float32]) -> None:
    lengths, width = examples.lengths, vectors.shape[1]
    # longest rows first: those that have an n-th token are then the first ones, and are added in one go
    longest = np.argsort(-lengths, kind="stable")
    together = max(SIDE_BY_SIDE // max(width, 1), 1)
    for first in range(0, len(longest), together):
        order = longest[first : first + together]
        sums = np.zeros((len(order), width), np.float32)
        highest = np.full((len(order), width), -np.inf, np.float32)
        for n in range(int(lengths[order[0]])):
            rows = order[: np.searchsorted(-lengths[order], -n, side="left")]
            at = examples.offsets[rows] + n
            nth = vectors[examples.tokens[at]]
            if examples.weights is not None:
                nth *= examples.weights[at, None]
            sums[: len(rows)] += nth
            np.maximum(highest[: len(rows)], nth, out=highest[: len(rows)])
        made[order, :width] = sums / np.maximum(lengths[order], 1)[:, None]
        made[order, width : 2 * width] = np.where(lengths[order, None] > 0, highest, 0)


def _pool_places(examples: Examples, vectors: PlacedVectors, counts: bool) -> Blocks:
    """Place by place: what stands elsewhere in the same bag is zero there."""
    rows, width, size = len(examples), vectors.shape[1], vectors.vectors.shape[1]
    at_place, row_of = vectors.places[examples.tokens].astype(np.int16), examples.row_of.astype(np.int32)
    made = []
    for bag in np.unique(vectors.bags):
        together = np.flatnonzero(vectors.bags == bag)
        in_bag = np.bincount(row_of[np.isin(at_place, together)], minlength=rows)
        for place in together:
            events = np.flatnonzero(at_place == place)
            counted = np.bincount(row_of[events], minlength=rows)
            filled = np.flatnonzero(counted)
            weights = np.ones(len(events), np.float32) if examples.weights is None else examples.weights[events]
            tokens, lengths, at = examples.tokens[events], counted[filled], np.full(rows, -1, np.int32)
            # of numbers all but a few components are zeros
            own = np.flatnonzero(vectors.vectors[np.unique(tokens)].any(axis=0))
            table, few = np.ascontiguousarray(vectors.vectors[:, own]), len(own)
            values, at[filled] = np.empty((len(filled), 2 * few), np.float32), np.arange(len(filled))
            held = sparse.csr_matrix((weights, tokens, offsets_of(lengths)), shape=(len(filled), len(table)))
            values[:, :few] = held @ table
            values[:, :few] /= np.maximum(in_bag[filled], 1)[:, None] if bag >= 0 else 1
            highest = values[:, few:]
            _highest(table, tokens, weights, lengths, highest)
            if bag >= 0:
                elsewhere = in_bag[filled] > lengths
                highest[elsewhere] = np.maximum(highest[elsewhere], 0)
            columns = place * size + own
            made.append(Block(np.concatenate([columns, width + columns]), values, at))
    if counts:
        number = examples.lengths.astype(np.float32)[:, None]
        made.append(Block(np.array([2 * width]), number, np.arange(rows, dtype=np.int32)))
    return Blocks(made, (rows, 2 * width + counts))


def _highest(
    vectors: NDArray[np.float32],
    tokens: NDArray[np.int64],
    weights: NDArray[np.float32],
    lengths: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """The maximum over the weighted vectors of each row's tokens, 0 where it has none: shape (rows, components)."""
    starts, longest = np.cumsum(lengths) - lengths, np.argsort(-lengths, kind="stable")
    together = max(SIDE_BY_SIDE // max(vectors.shape[1], 1), 1)
    for first in range(0, len(longest), together):
        order = longest[first : first + together]
        highest = np.zeros((len(order), vectors.shape[1]), np.float32)
        for n in range(int(lengths[order[0]])):
            at = starts[order[: np.searchsorted(-lengths[order], -n, side="left")]] + n
            nth = vectors[tokens[at]]
            nth *= weights[at, None]
            highest[: len(at)] = np.maximum(highest[: len(at)], nth) if n else nth
        out[order] = highest


def _pool_onehot(examples: Examples, counts: bool) -> sparse.csr_matrix:
    assert isinstance(examples.vectors, OneHot)
    first = examples.vectors.width - examples.vectors.added
    held = presence(examples)
    lengths = np.bincount(examples.row_of[examples.tokens < first], minlength=len(examples))
    counted = [sparse.csr_matrix(lengths[:, None].astype(np.float32))] if counts else []
    return sparse.csr_matrix(sparse.hstack([held[:, :first], *counted, held[:, first:]], format="csr"))


def presence(examples: Examples) -> sparse.csr_matrix:
    """The weight of each token that a row has, 1 without weights: shape (rows, tokens), sparse. A token that a row has
    twice has the mean of its weights."""
    shape = (len(examples), examples.vectors.shape[0])
    ones = np.ones(len(examples.tokens), np.float32)
    made = sparse.csr_matrix((ones, examples.tokens, examples.offsets), shape=shape)
    made.sum_duplicates()
    if examples.weights is None:
        made.data[:] = 1
        return made
    summed = sparse.csr_matrix((examples.weights.copy(), examples.tokens, examples.offsets), shape=shape)
    summed.sum_duplicates()
    summed.data /= made.data
    return summed
