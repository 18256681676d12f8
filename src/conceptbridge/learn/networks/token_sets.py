"""Rows as sets of tokens."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.networks.compiled_steps import compiled
from conceptbridge.learn.rows import Examples, OneHot, PlacedVectors, Vectors
from conceptbridge.learn.search import Rows


class TokenSets(NamedTuple):
    """The tokens of row i in window w, each once, are ``tokens[begin[k]:begin[k + 1]]``, with k = i * windows + w, and
    by what each one's vector is multiplied there ``weights[begin[k]:begin[k + 1]]``."""

    tokens: NDArray[np.int32]
    begin: NDArray[np.int64]
    labels: NDArray[np.int8]
    weights: NDArray[np.float32]
    windows: int

    def of(self, rows: Rows) -> tuple[NDArray[np.int64], "TokenSets"]:
        """The tokens of these rows, in order, and the rows alone, their tokens as positions among those."""
        sets = (rows[:, None] * self.windows + np.arange(self.windows)).ravel()
        lengths = np.diff(self.begin)[sets]
        begin = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(begin[-1]) + np.repeat(self.begin[sets] - begin[:-1], lengths)
        listed, tokens = _renumber(self.tokens[at])
        return listed, TokenSets(tokens, begin, self.labels[rows], self.weights[at], self.windows)


def token_sets(examples: Examples) -> tuple[Vectors, TokenSets]:
    """The vectors and the rows as sets, a token that a row has twice with the mean of its weights; dense vectors that
    no row has are left out."""
    vectors, known = examples.vectors, max(examples.vectors.shape[0], 1)
    set_of = examples.row_of * examples.windows
    if examples.in_window is not None:
        set_of += examples.in_window
    held = set_of * known + examples.tokens
    if examples.weights is None:
        # asked for counts as well, NumPy sorts, 20 times as fast as it hashes
        held = np.unique(held, return_counts=True)[0]
        weights = np.ones(len(held), np.float32)
    else:
        order = np.argsort(held, kind="stable")
        held, starts, counts = np.unique(held[order], return_index=True, return_counts=True)
        summed = np.add.reduceat(examples.weights[order].astype(np.float64), starts) if len(starts) else starts
        weights = (summed / counts).astype(np.float32)
    set_of, tokens = np.divmod(held, known)
    if not isinstance(vectors, OneHot):
        listed, tokens = _renumber(tokens)
        vectors = vectors.take(listed).over_windows() if isinstance(vectors, PlacedVectors) else vectors[listed]
    begin = np.concatenate([[0], np.cumsum(np.bincount(set_of, minlength=len(examples) * examples.windows))])
    return vectors, TokenSets(tokens.astype(np.int32), begin, examples.labels, weights, examples.windows)


def _renumber(tokens: NDArray[np.signedinteger]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The distinct tokens, in order, and each token's position among them."""
    held = np.bincount(tokens) > 0
    return np.flatnonzero(held), (np.cumsum(held) - 1).astype(np.int32)[tokens]


@compiled
def list_tokens(rows: Rows, sets: TokenSets, listed: NDArray[np.int64], position: NDArray[np.int32]) -> int:
    """Write the distinct tokens of a batch's rows to ``listed``, in order, and to ``position`` (tokens,) where each is;
    return how many there are."""
    position.fill(0)
    for row in rows:
        for token in sets.tokens[sets.begin[row * sets.windows] : sets.begin[(row + 1) * sets.windows]]:
            position[token] = 1
    count = 0
    for token in range(len(position)):
        met = position[token]
        listed[count], position[token] = token, count
        count += met
    return count


@compiled
def longest_batch(batches: NDArray[np.int64], sets: TokenSets) -> int:
    """The most tokens that the rows of a batch have, each row's counted by itself."""
    longest = 0
    for rows in batches:
        length = 0
        for row in rows:
            length += sets.begin[(row + 1) * sets.windows] - sets.begin[row * sets.windows]
        longest = max(longest, length)
    return longest
