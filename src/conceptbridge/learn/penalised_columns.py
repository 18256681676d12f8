"""Features as a penalty sees them: those of vectors less their mean and divided by their scale, one-hot ones as they
are; none that never varies.

Neither is written out for it: a product of the standardised features is one of the features, less what the mean adds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from conceptbridge.learn.feature_blocks import Blocks
from conceptbridge.learn.pooled_features import Features

Vector = NDArray[np.float64]

#: the least standard deviation of a dense column that is used
VARIES = 1e-9
#: numbers of which products are exact: they take no time
FEW = 1_000_000
#: rows that are summed in 32 bits, and numbers that are multiplied with each other at once
SUMMED, SIDE_BY_SIDE = 8_000, 1_000_000


class Values(Protocol):
    """Columns of the features as the penalty sees them, shape (rows, columns). ``roughly``: in 32 bits, where that is a
    fraction of the time."""

    @property
    def width(self) -> int:
        """How many columns there are."""

    def times(self, coefficients: Vector, roughly: bool = False) -> Vector:
        """The product with the coefficients (columns,): (rows,)."""

    def summed(self, by_row: Vector, roughly: bool = False) -> Vector:
        """The sum of the rows, each times its number of ``by_row`` (rows,): (columns,)."""

    def none(self) -> "Chosen":
        """None of the columns yet, as ``Chosen``."""


class Chosen(Protocol):
    """The columns that are worked on, in the order in which they have joined. Their products are quick, and about as
    exact as numbers of 32 bits are."""

    def join(self, columns: NDArray[np.int64]) -> None:
        """More columns, by their number among all."""

    def keep(self, places: NDArray[np.int64]) -> None:
        """Only the columns at these places, in increasing order."""

    def times(self, coefficients: Vector) -> Vector:
        """The product with the coefficients (columns,): (rows,)."""

    def summed(self, by_row: Vector) -> Vector:
        """The sum of the rows, each times its number of ``by_row`` (rows,): (columns,)."""

    def curvature(self, weight: Vector, first: int = 0) -> Vector:
        """The weighted products of all columns with those from the ``first`` on: (columns, columns - first)."""


@dataclass(frozen=True)
class Sparse:
    """One-hot columns."""

    values: sparse.csr_matrix

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def times(self, coefficients: Vector, roughly: bool = False) -> Vector:
        return np.asarray(self.values @ coefficients)

    def summed(self, by_row: Vector, roughly: bool = False) -> Vector:
        return np.asarray(self.values.T @ by_row)

    def none(self) -> "Chosen":
        return _ChosenSparse(self.values)


class _ChosenSparse:
    def __init__(self, values: sparse.csr_matrix) -> None:
        self.all, self.columns = values.tocsc(), np.zeros(0, np.int64)
        self.values = values[:, self.columns]

    def join(self, columns: NDArray[np.int64]) -> None:
        self.columns = np.concatenate([self.columns, columns])
        self.values = self.all[:, self.columns].tocsr()

    def keep(self, places: NDArray[np.int64]) -> None:
        self.columns, self.values = self.columns[places], self.values[:, places]

    def times(self, coefficients: Vector) -> Vector:
        return np.asarray(self.values @ coefficients)

    def summed(self, by_row: Vector) -> Vector:
        return np.asarray(self.values.T @ by_row)

    def curvature(self, weight: Vector, first: int = 0) -> Vector:
        weighted = self.values[:, first:].multiply(weight[:, None]).tocsr()
        return np.asarray((self.values.T @ weighted).toarray())


@dataclass(frozen=True)
class Standardised:
    """Columns of dense features, less their ``center`` and divided by their ``scale`` (columns,)."""

    features: Blocks
    center: Vector
    scale: Vector

    @property
    def width(self) -> int:
        return len(self.center)

    @property
    def kind(self) -> Any:
        """The type of numbers that rough products are made in."""
        return np.float64 if self.features.shape[0] * self.width <= FEW else np.float32

    def times(self, coefficients: Vector, roughly: bool = False) -> Vector:
        scaled = coefficients / self.scale
        given = scaled.astype(self.kind) if roughly else scaled
        return np.asarray(self.features @ given - self.center @ given.astype(np.float64))

    def summed(self, by_row: Vector, roughly: bool = False) -> Vector:
        given = by_row.astype(self.kind) if roughly else by_row
        return np.asarray((self.features.summed(given) - self.center * by_row.sum()) / self.scale)

    def none(self) -> "Chosen":
        return _ChosenDense(self)


class _ChosenDense:
    """Columns that are written out, standardised, in 32 bits unless they are few: some (columns, rows) for each
    time that some joined."""

    def __init__(self, values: Standardised) -> None:
        self.all, self.rows = values, values.features.shape[0]
        self.kind, self.parts = values.kind, list[NDArray[Any]]()
        self.ends = [0]

    def join(self, columns: NDArray[np.int64]) -> None:
        part = self.all.features.turned(columns).astype(self.kind, copy=False)
        for own, column in zip(part, columns.tolist(), strict=True):
            own[:] = (own - self.all.center[column]) / self.all.scale[column]
        self.parts.append(part)
        self.ends.append(self.ends[-1] + len(part))

    def keep(self, places: NDArray[np.int64]) -> None:
        each = [
            part[places[(places >= first) & (places < last)] - first]
            for part, first, last in zip(self.parts, self.ends, self.ends[1:], strict=False)
        ]
        self.parts = [part for part in each if len(part)]
        self.ends = np.cumsum([0, *map(len, self.parts)]).tolist()

    def times(self, coefficients: Vector) -> Vector:
        result, of_columns = np.zeros(self.rows, self.kind), coefficients.astype(self.kind)
        for part, first, last in zip(self.parts, self.ends, self.ends[1:], strict=False):
            if of_columns[first:last].any():
                result += of_columns[first:last] @ part
        return result.astype(np.float64)

    def summed(self, by_row: Vector) -> Vector:
        result, given = np.zeros(self.ends[-1]), by_row.astype(self.kind)
        for part, first, last in zip(self.parts, self.ends, self.ends[1:], strict=False):
            for some in self._rows(SUMMED):  # sums in 32 bits are of few rows
                result[first:last] += part[:, some] @ given[some]
        return result

    def curvature(self, weight: Vector, first: int = 0) -> Vector:
        width = self.ends[-1]
        products = np.zeros((width, width - first))
        root = np.sqrt(weight * len(weight)).astype(self.kind)
        for some in self._rows(max(SIDE_BY_SIDE // width, 1)) if width else ():
            rows = np.concatenate([part[:, some] for part in self.parts])
            rows *= root[some]
            products += rows @ rows[first:].T
        return products / len(weight)

    def _rows(self, together: int) -> Iterator[slice]:
        for first in range(0, self.rows, together):
            yield slice(first, first + together)


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
