"""Features as a penalty sees them: those of vectors less their mean and divided by their scale, one-hot ones as they
are; none that never varies.

Neither is written out for it: a product of the standardised features is one of the features, less what the mean adds.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from conceptbridge.learn.feature_blocks import Blocks
from conceptbridge.learn.pooled_features import Features

Vector = NDArray[np.float64]

#: the least standard deviation of a dense column that is used
VARIES = 1e-9


class Values(Protocol):
    """Columns of the features as the penalty sees them, shape (rows, columns)."""

    @property
    def width(self) -> int:
        """How many columns there are."""

    def chosen(self, columns: NDArray[np.int64]) -> "Values":
        """Only these columns, in increasing order."""

    def times(self, coefficients: Vector) -> Vector:
        """The product with the coefficients (columns,): (rows,)."""

    def summed(self, by_row: Vector, roughly: bool = False) -> Vector:
        """The sum of the rows, each times its number of ``by_row`` (rows,): (columns,); ``roughly``: in 32 bits, where
        that is half the time."""

    def curvature(self, weight: Vector) -> tuple[Vector, Vector]:
        """The weighted products of the columns with each other, (columns, columns), and their weighted sums."""


@dataclass(frozen=True)
class Sparse:
    """One-hot columns."""

    values: sparse.csr_matrix

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def chosen(self, columns: NDArray[np.int64]) -> "Sparse":
        return Sparse(self.values[:, columns])

    def times(self, coefficients: Vector) -> Vector:
        return np.asarray(self.values @ coefficients)

    def summed(self, by_row: Vector, roughly: bool = False) -> Vector:
        return np.asarray(self.values.T @ by_row)

    def curvature(self, weight: Vector) -> tuple[Vector, Vector]:
        weighted = self.values.multiply(weight[:, None]).tocsr()
        return (self.values.T @ weighted).toarray(), np.asarray(weighted.sum(axis=0)).ravel()


@dataclass(frozen=True)
class Standardised:
    """Columns of dense features, less their ``center`` and divided by their ``scale`` (columns,)."""

    features: Blocks
    center: Vector
    scale: Vector

    @property
    def width(self) -> int:
        return len(self.center)

    def chosen(self, columns: NDArray[np.int64]) -> "Standardised":
        return Standardised(self.features.chosen(columns), self.center[columns], self.scale[columns])

    def times(self, coefficients: Vector) -> Vector:
        scaled = coefficients / self.scale
        return np.asarray(self.features @ scaled - self.center @ scaled)

    def summed(self, by_row: Vector, roughly: bool = False) -> Vector:
        given = by_row.astype(np.float32) if roughly else by_row
        return np.asarray((self.features.summed(given) - self.center * by_row.sum()) / self.scale)

    def curvature(self, weight: Vector) -> tuple[Vector, Vector]:
        # in 32 bits: it only says where to go, the slope says when to stop
        root = np.sqrt(weight * len(weight)).astype(np.float32)
        center, scale = self.center.astype(np.float32), self.scale.astype(np.float32)
        products, first = np.zeros((self.width, self.width)), 0
        for rows in self.features.each():
            rows -= center
            rows /= scale
            rows *= root[first : first + len(rows), None]
            products += rows.T @ rows
            first += len(rows)
        return products / len(weight), self.summed(weight)


@dataclass(frozen=True)
class Columns:
    """The ``values`` of the used columns; ``used``, ``center`` and ``scale`` are of all features. The scale of one that
    never varies is infinite: nothing is left of it."""

    values: Values
    used: NDArray[np.bool_]
    center: Vector
    scale: Vector


def columns(features: Features, groups: NDArray[np.int64] | None = None) -> Columns:
    """The columns of ``features``, dense, in blocks or sparse, of shape (rows, features).

    The scale of a dense column is its standard deviation; with ``groups``, the number of each one's group (features,),
    the geometric mean of that and of the group's root mean square. So the components of a vector keep half of their
    relative sizes, on a logarithmic scale. Divided each by its own deviation, the last principal component, of which
    little is left but noise, would weigh as much as the first; and where few concepts have values, each component is as
    good as any other, so that a value's sign could be another at another hospital. Half, as one scale for all of a
    group had a higher validation loss at the source, and no higher AUROC at other hospitals (docs/models.md).
    """
    width = features.shape[1]
    if sparse.issparse(features):
        used = features.getnnz(axis=0) > 0
        return Columns(Sparse(features[:, used].astype(np.float64)), used, np.zeros(width), np.ones(width))
    held = Blocks.of(features) if isinstance(features, np.ndarray) else features
    center = held.summed(np.full(held.shape[0], 1 / max(held.shape[0], 1)))
    scale = scales(held.spread(center), groups)
    return Columns(Standardised(held, center, scale), np.ones(width, np.bool_), center, scale)


def scales(own: Vector, groups: NDArray[np.int64] | None) -> Vector:
    """The scale of each dense column, whose standard deviations are its ``own`` (features,)."""
    varies = own > VARIES
    spread = own if groups is None else np.sqrt(own * _of_groups(own, varies, groups))
    return np.where(varies, spread, np.inf)


def _of_groups(own: Vector, varies: NDArray[np.bool_], groups: NDArray[np.int64]) -> Vector:
    """The root mean square of each one's group, of those that vary: (features,), 0 where none does."""
    size = np.bincount(groups[varies], minlength=groups.max(initial=-1) + 1)
    square = np.bincount(groups[varies], own[varies] ** 2, len(size))
    result: Vector = np.sqrt(square / np.maximum(size, 1))[groups]
    return result
