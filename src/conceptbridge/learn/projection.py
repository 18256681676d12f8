"""From raw vectors to those that a model sees: centred, reduced, scaled, and placed in the slots of states."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from conceptbridge.vocabulary.states import SLOTS

#: root mean square norm of scaled vectors, about that of the paper's BERT vectors
NORM = 14.0
#: the least variance of a component, as a share of the first one's
VARIES = 1e-9

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Projection:
    """``(raw - center) @ basis.T * scale``: ``center`` (width,), ``basis`` (components, width), None for the identity.
    Of one-hot the center is the same for every column."""

    center: Matrix
    basis: Matrix | None
    scale: float

    def apply(self, raw: Matrix, slots: NDArray[np.int64] | None) -> Matrix:
        """Vectors of tokens, (tokens, components); with ``slots`` (tokens,), in the place of each one's slot:
        (tokens, ``len(SLOTS)`` * components)."""
        vectors = (raw - self.center) if self.basis is None else _product(raw - self.center, self.basis)
        vectors = (vectors * np.float32(self.scale)).astype(np.float32)
        if slots is None:
            return vectors
        placed = np.zeros((len(raw), len(SLOTS), vectors.shape[1]), np.float32)
        placed[np.arange(len(raw)), slots] = vectors
        return placed.reshape(len(raw), -1)


def fit_projection(raw: Matrix, components: int | None, scale: bool) -> Projection:
    """Fit to the raw vectors of a source's training tokens, (tokens, width).

    With ``components`` they are centred and reduced to their first principal components, as many as there are at most
    (Jolliffe, Principal Component Analysis, section 2.3). With ``scale`` they are centred and have a root mean square
    norm of ``NORM``: embeddings differ in norm by 15 times, and with one learning rate the scale would decide. One
    number scales all dimensions, so the angles that the embedding means are kept.
    """
    if components is None and not scale:
        return Projection(np.zeros(raw.shape[1], np.float32), None, 1.0)
    center = raw.mean(axis=0, dtype=np.float64).astype(np.float32)
    basis = None if components is None else _principal_axes(raw - center, components)
    reduced = raw - center if basis is None else _product(raw - center, basis)
    spread = float(np.sqrt((reduced.astype(np.float64) ** 2).sum(axis=1).mean()))
    return Projection(center, basis, NORM / spread if scale and spread > 0 else 1.0)


def projection_of_moments(
    count: int, total: NDArray[np.float64], products: NDArray[np.float64], components: int | None, scale: bool
) -> Projection:
    """The same as ``fit_projection``, to rounding, from how many raw vectors there are, their sum (width,) and the sum
    of their products with themselves (width, width): those of several sites add up."""
    if components is None and not scale:
        return Projection(np.zeros(len(total), np.float32), None, 1.0)
    center = (total / count).astype(np.float32)
    c = center.astype(np.float64)
    spread = products - np.outer(total, c) - np.outer(c, total) + count * np.outer(c, c)
    basis = None
    if components is not None:
        few = min(components, count, len(total))
        with threadpool_limits(1):
            basis = _oriented(*_largest(spread, few))
            spread = basis.astype(np.float64) @ spread @ basis.T.astype(np.float64)
    length = math.sqrt(max(float(np.trace(spread)), 0.0) / count)
    return Projection(center, basis, NORM / length if scale and length > 0 else 1.0)


def onehot_projection(columns: int, scale: bool) -> Projection:
    """The same of one-hot columns: the mean of n unit vectors, and the root mean square of their distances from it."""
    center, factor = (1 / columns, NORM / math.sqrt(1 - 1 / columns)) if scale and columns > 1 else (0.0, 1.0)
    return Projection(np.full(columns, center, np.float32), None, factor)


def _principal_axes(centred: Matrix, components: int) -> Matrix:
    """The first principal axes, (at most ``components``, width)."""
    wide = centred.astype(np.float64)
    tokens, width = wide.shape
    few = min(components, tokens, width)
    with threadpool_limits(1):  # the same bytes on one core or eight
        if tokens < width:  # the axes of the vectors from those of the tokens
            values, of_tokens = _largest(wide @ wide.T, few)
            return _oriented(values, of_tokens @ wide)
        return _oriented(*_largest(wide.T @ wide, few))


def _largest(products: NDArray[np.float64], few: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest eigenvalues, rising, and their vectors, (few, size)."""
    from scipy.linalg import eigh

    values, vectors = eigh(products, subset_by_index=[len(products) - few, len(products) - 1])
    return values, vectors.T


def _oriented(values: NDArray[np.float64], axes: NDArray[np.float64]) -> Matrix:
    """The axes that vary, of length 1, the first one first; the largest entry of each is positive."""
    width = axes.shape[1]
    varies = values > max(values[-1], 0) * VARIES
    if not varies.any():
        return np.zeros((1, width), np.float32)
    axes = axes[varies][::-1]
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    return np.ascontiguousarray(axes * np.where(largest < 0, -1, 1)[:, None], dtype=np.float32)


def _product(vectors: Matrix, basis: Matrix) -> Matrix:
    with threadpool_limits(1):
        result: Matrix = vectors @ basis.T
    return result
