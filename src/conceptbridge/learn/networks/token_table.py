"""The token table: the tokens' vectors times the weights that read them, through the steps of a run.

All that a network does with a token's vector is to multiply it by one matrix of weights, and what a step of SGD adds to
these weights is a sum of vectors. A small vocabulary therefore needs the vectors only in the end: what a step adds to
the table, (tokens, outputs), is a sum of columns of the tokens' Gram matrix, so the table takes the steps itself. The
weights are ``decay * start + vectors' @ dual.T``, where ``dual`` (outputs, tokens) takes the same steps and the penalty
shrinks ``decay``. The Gram matrix of a large vocabulary would be larger than its vectors: there the weights take the
steps, and the table is made for the tokens of each batch alone.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.networks.compiled_steps import TableState, multiply_places
from conceptbridge.learn.networks.network import Matrix
from conceptbridge.learn.rows import OneHot, PlacedVectors, Vectors

#: dense vectors up to which the Gram matrix is made
GRAM_TOKENS = 2000
#: dense vectors that are multiplied at once, outside the steps
CHUNK = 4096

_NONE = np.empty((0, 0), np.float32)
FROZEN = TableState(
    vectors=_NONE,
    places=np.empty(0, np.int32),
    weights=_NONE,
    weights_momentum=_NONE,
    product=_NONE,
    dual=_NONE,
    momenta=np.empty((0, 0, 0), np.float32),
    decay=np.empty(0),
    gram=_NONE,
    scale=np.float32(1),
    shared=np.float32(0),
)


class TokenTable:
    """The table of weights, (width, outputs), that no step moves; ``state`` is what the compiled steps see of it."""

    def __init__(self, weights: Matrix, vectors: Vectors, state: TableState = FROZEN) -> None:
        self.start, self.vectors, self.state = weights, vectors, state

    def weights(self) -> Matrix:
        """The weights as they meet any vector: a copy where they move."""
        return self.start

    def refresh(self) -> None:
        """Drop what the steps have rounded from the table, so that it is not carried on."""

    def of(self, listed: NDArray[np.int64]) -> Matrix:
        """The table of these tokens: (listed, outputs)."""
        return product(self.start, self.vectors)[listed]


class GramTable(TokenTable):
    """The table of a small vocabulary, or of one-hot vectors, takes the steps; ``gram`` is empty for one-hot vectors,
    whose Gram matrix is ``scale * (identity - shared)``."""

    def __init__(self, weights: Matrix, vectors: Vectors, gram: Matrix) -> None:
        self.first = product(weights, vectors)
        tokens, outputs = self.first.shape
        state = FROZEN._replace(
            product=self.first.copy(),
            dual=np.zeros((outputs, tokens), np.float32),
            momenta=np.zeros((2, outputs, tokens), np.float32),
            decay=np.array([1.0, 0.0]),
            gram=gram,
        )
        if isinstance(vectors, OneHot):
            shared = vectors.center * (2 - vectors.width * vectors.center)
            state = state._replace(scale=np.float32(vectors.scale**2), shared=np.float32(shared))
        super().__init__(weights, vectors, state)

    def weights(self) -> Matrix:
        dual, vectors = self.state.dual.T, self.vectors
        if isinstance(vectors, OneHot):
            moved = (dual - np.float32(vectors.center) * dual.sum(axis=0)) * np.float32(vectors.scale)
        elif isinstance(vectors, PlacedVectors):
            moved = np.zeros(self.start.shape, np.float32)
            for tokens, here in _places(vectors):
                moved[here] = vectors.vectors[tokens].T @ dual[tokens]
        else:
            moved = vectors.T @ dual
        result: Matrix = np.float32(self.state.decay[0]) * self.start + moved
        return result

    def refresh(self) -> None:
        state, dual = self.state, self.state.dual.T
        moved = state.gram @ dual if len(state.gram) else state.scale * (dual - state.shared * dual.sum(axis=0))
        with np.errstate(over="ignore", invalid="ignore"):  # too high a learning rate ends in numbers that are none
            state.product[:] = np.float32(state.decay[0]) * self.first + moved

    def of(self, listed: NDArray[np.int64]) -> Matrix:
        return self.state.product[listed]


class VectorTable(TokenTable):
    """The weights take the steps, and read the vectors of the tokens that are asked for."""

    def __init__(self, weights: Matrix, vectors: Matrix | PlacedVectors) -> None:
        import scipy.linalg  # noqa: F401  # numba calls its BLAS: loaded before its threads are limited

        placed = vectors if isinstance(vectors, PlacedVectors) else None
        dense = vectors.vectors if isinstance(vectors, PlacedVectors) else vectors
        width, outputs = dense.shape[1], weights.shape[1]
        self.shape = (-1, width, outputs)
        own = np.ascontiguousarray(weights.reshape(self.shape).transpose(0, 2, 1)).reshape(-1, width)
        places = np.zeros(len(dense)) if placed is None else placed.places
        state = FROZEN._replace(
            vectors=dense, places=places.astype(np.int32), weights=own, weights_momentum=np.zeros_like(own)
        )
        super().__init__(weights, vectors, state)

    def weights(self) -> Matrix:
        _, width, outputs = self.shape
        by_place = self.state.weights.reshape(-1, outputs, width).transpose(0, 2, 1)
        return np.array(by_place, order="C").reshape(self.start.shape)

    def of(self, listed: NDArray[np.int64]) -> Matrix:
        result = np.empty((len(listed), self.shape[2]), np.float32)
        multiply_places(listed, self.state, result)
        return result


def gram_matrix(vectors: Vectors) -> Matrix | None:
    """The Gram matrix of a small vocabulary, empty for one-hot vectors, None for a vocabulary that is too large."""
    if isinstance(vectors, OneHot):
        return np.empty((0, 0), np.float32)
    if vectors.shape[0] > GRAM_TOKENS:
        return None
    if isinstance(vectors, PlacedVectors):
        placed = np.zeros((len(vectors.vectors), len(vectors.vectors)), np.float32)
        for tokens, _ in _places(vectors):
            placed[np.ix_(tokens, tokens)] = _gram(vectors.vectors[tokens])
        return placed
    return _gram(vectors)


def _gram(vectors: Matrix) -> Matrix:
    wide = vectors.astype(np.float64)
    result: Matrix = (wide @ wide.T).astype(np.float32)
    return result


def _places(vectors: PlacedVectors) -> Iterator[tuple[NDArray[np.int64], slice]]:
    """The tokens at each place, and which of the weights' inputs are that place's."""
    width = vectors.vectors.shape[1]
    for place in range(len(vectors.bags)):
        yield np.flatnonzero(vectors.places == place), slice(place * width, (place + 1) * width)


def token_table(weights: Matrix, vectors: Vectors, gram: Matrix | None) -> TokenTable:
    """The table of weights that the steps move; ``gram`` is that of ``gram_matrix``."""
    if gram is not None:
        return GramTable(weights, vectors, gram)
    assert not isinstance(vectors, OneHot)
    return VectorTable(weights, vectors)


def product(weights: Matrix, vectors: Vectors) -> Matrix:
    """The vectors times the weights: (tokens, outputs)."""
    if isinstance(vectors, OneHot):
        result: Matrix = (weights - np.float32(vectors.center) * weights.sum(axis=0)) * np.float32(vectors.scale)
        return result
    result = np.empty((vectors.shape[0], weights.shape[1]), np.float32)
    if isinstance(vectors, PlacedVectors):
        for tokens, here in _places(vectors):
            result[tokens] = vectors.vectors[tokens].astype(np.float64) @ weights[here].astype(np.float64)
        return result
    for first in range(0, len(vectors), CHUNK):
        # in 64 bits, so that a token's numbers do not depend on how many there are
        some = vectors[first : first + CHUNK].astype(np.float64)
        result[first : first + CHUNK] = some @ weights.astype(np.float64)
    return result
