"""Dense features in blocks of columns, each with the rows that have something there: of many places a row fills few.

Features that are nowhere written out whole are passed on some rows at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: numbers that are worked on at once: few enough for a processor's own memory
SIDE_BY_SIDE = 200_000


@dataclass(frozen=True)
class Block:
    """Some columns of the features: ``values`` (held, columns) are those of the rows that have any other than 0, and
    ``at`` (rows,) says which of them are each row's, -1 for none."""

    columns: NDArray[np.int64]
    values: NDArray[np.float32]
    at: NDArray[np.int32]

    def parts(self, columns: slice = slice(None)) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Some of the rows that have values, and these, (some, columns), until all were there."""
        rows, together = np.flatnonzero(self.at >= 0), max(SIDE_BY_SIDE // max(len(self.columns), 1), 1)
        for first in range(0, len(rows), together):
            some = rows[first : first + together]
            yield some, self.values[self.at[some], columns]


@dataclass(frozen=True)
class Blocks:
    """Features of the shape (rows, features)."""

    blocks: Sequence[Block]
    shape: tuple[int, int]

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> "Blocks":
        """Features that are written out, as one block."""
        rows, width = features.shape
        return cls([Block(np.arange(width), features, np.arange(rows, dtype=np.int32))], features.shape)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> "Blocks":
        """Only these rows, in this order; their values are not copied."""
        chosen = [replace(block, at=block.at[rows]) for block in self.blocks]
        return Blocks(chosen, (len(np.arange(self.shape[0])[rows]), self.shape[1]))

    def turned(self, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """These columns with all their zeros, in this order and each by itself: (columns, rows)."""
        made, place = np.zeros((len(columns), self.shape[0]), np.float32), np.full(self.shape[1], -1)
        place[columns] = np.arange(len(columns))
        for block in self.blocks:
            own = np.flatnonzero(place[block.columns] >= 0)
            if not len(own):
                continue
            rows, to = np.flatnonzero(block.at >= 0), place[block.columns[own]]
            made[to[:, None], rows] = block.values[block.at[rows][:, None], own].T
        return made

    def written_out(self, columns: slice = slice(None)) -> NDArray[np.float32]:
        """These columns with all their zeros: (rows, columns)."""
        first, last, _ = columns.indices(self.shape[1])
        made = np.zeros((self.shape[0], last - first), np.float32)
        for block in self.blocks:
            own = np.flatnonzero((block.columns >= first) & (block.columns < last))
            # columns side by side are written much faster as a slice
            for values, to in _runs(own, block.columns[own] - first):
                for some, part in block.parts(values):
                    made[some, to] = part
        return made

    def column(self, feature: int) -> NDArray[np.float32]:
        """One column: (rows,)."""
        made = np.zeros(self.shape[0], np.float32)
        for block in self.blocks:
            for own in np.flatnonzero(block.columns == feature):
                rows = np.flatnonzero(block.at >= 0)
                made[rows] = block.values[block.at[rows], own]
        return made

    def each(self) -> Iterator[NDArray[np.float32]]:
        """Some rows after others, written out."""
        together = max(20 * SIDE_BY_SIDE // max(self.shape[1], 1), 1)
        for first in range(0, self.shape[0], together):
            yield self[first : first + together].written_out()

    def __matmul__(self, coefficients: NDArray[Any]) -> NDArray[np.float64]:
        """The product with ``coefficients`` (features,) or (features, members), in the precision of these."""
        result = np.zeros((self.shape[0], *coefficients.shape[1:]))
        for block in self.blocks:
            of_block = coefficients[block.columns]
            used = np.flatnonzero(of_block.any(axis=tuple(range(1, of_block.ndim))))
            if not len(used):
                continue
            of_block, whole = of_block[used], len(used) == len(of_block)
            rows = np.flatnonzero(block.at >= 0)
            if 2 * len(rows) < len(block.values):
                for some, part in block.parts():
                    result[some] += (part if whole else part[:, used]).astype(of_block.dtype, copy=False) @ of_block
                continue
            product = np.empty((len(block.values), *coefficients.shape[1:]), of_block.dtype)
            together = max(SIDE_BY_SIDE // max(len(block.columns), 1), 1)
            for first in range(0, len(product), together):
                part = block.values[first : first + together]
                part = (part if whole else part[:, used]).astype(of_block.dtype, copy=False)
                product[first : first + together] = part @ of_block
            result[rows] += product[block.at[rows]]
        return result

    def summed(self, by_row: NDArray[Any]) -> NDArray[np.float64]:
        """The sum of the rows, each times its number of ``by_row`` (rows,), products in the precision of these:
        (features,)."""
        result = np.zeros(self.shape[1])
        for block in self.blocks:
            rows, held = np.flatnonzero(block.at >= 0), len(block.values)
            by_value = np.bincount(block.at[rows], by_row[rows], held).astype(by_row.dtype)
            together = max(SIDE_BY_SIDE // max(len(block.columns), 1), 1)
            for first in range(0, held, together):
                some = slice(first, first + together)
                result[block.columns] += by_value[some] @ block.values[some].astype(by_row.dtype, copy=False)
        return result

    def spread(self, center: NDArray[np.float64]) -> NDArray[np.float64]:
        """The root mean square distance of each column from its ``center``: (features,)."""
        squares, rows = np.zeros(self.shape[1]), self.shape[0]
        for block in self.blocks:
            of_block, there = center[block.columns], 0
            for some, part in block.parts():
                squares[block.columns] += ((part - of_block) ** 2).sum(axis=0)
                there += len(some)
            squares[block.columns] += (rows - there) * of_block**2
        result: NDArray[np.float64] = np.sqrt(squares / max(rows, 1))
        return result


def of_rows(features: Any, ask: Callable[[Any], NDArray[Any]]) -> NDArray[Any]:
    """What ``ask`` returns of all rows, one result a row: features in blocks are written out for some at a time."""
    return np.concatenate([ask(some) for some in features.each()]) if isinstance(features, Blocks) else ask(features)


def _runs(values: NDArray[np.int64], to: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """Where numbers that follow each other are, and where they go, as slices."""
    ends = np.flatnonzero((np.diff(values) != 1) | (np.diff(to) != 1)) + 1
    for some, other in zip(np.split(values, ends), np.split(to, ends), strict=True):
        if len(some):
            yield slice(int(some[0]), int(some[-1]) + 1), slice(int(other[0]), int(other[-1]) + 1)
