"""Rows as lists of events, and batches of them that are padded as little as needed."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Rows

#: wavelengths of the code of time, in units of log(1 + days): from one that tells a day from the next to one that is
#: longer than any record
WAVELENGTHS = np.geomspace(0.5, 16.0, 8)


class Events(NamedTuple):
    """The events of row i are ``begin[i]`` to ``begin[i + 1]`` of the other arrays: token, days before the index (0 or
    more) and value (NaN for none); ``origin``: where each was among the examples' tokens."""

    tokens: NDArray[np.int64]
    days: NDArray[np.int64]
    values: NDArray[np.float32]
    begin: NDArray[np.int64]
    origin: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events of each row: (rows,)."""
        return np.diff(self.begin)


class Padded(NamedTuple):
    """Some rows' events, (rows, longest): where each is among ``Events``, and whether there is one at all."""

    rows: Rows
    at: NDArray[np.int64]
    there: NDArray[np.bool_]


def events_of(examples: Examples, limit: int) -> Events:
    """The last ``limit`` events of each row, by day; of a day on which some have to go, those of the lowest token and
    value stay, so that the order of a day's events plays no part. Without days, all are of the index day."""
    days = np.zeros(len(examples.tokens), np.int64) if examples.days is None else -examples.days.astype(np.int64)
    values = np.full(len(days), np.nan, np.float32) if examples.values is None else examples.values
    origin, lengths = np.arange(len(days)), examples.lengths
    if (too_long := lengths > limit).any():
        row_of = examples.row_of
        among = np.flatnonzero(too_long[row_of])
        among = among[np.lexsort((values[among], examples.tokens[among], days[among], row_of[among]))]
        begin = np.cumsum(lengths * too_long) - lengths * too_long
        rank = np.arange(len(among)) - begin[row_of[among]]
        kept = np.ones(len(days), np.bool_)
        kept[among[rank >= limit]] = False
        origin, lengths = origin[kept], np.minimum(lengths, limit)
    begin = np.concatenate([[0], np.cumsum(lengths)])
    return Events(examples.tokens[origin].astype(np.int64), days[origin], values[origin], begin, origin)


def padded(events: Events, rows: Rows) -> Padded:
    """The events of these rows, to the length of the longest."""
    first, lengths = events.begin[rows], events.lengths[rows]
    place = np.arange(lengths.max(initial=0))
    there = place < lengths[:, None]
    return Padded(rows, np.where(there, first[:, None] + place, 0), there)


def buckets(events: Events, rows: Rows, size: int) -> list[Rows]:
    """The rows in groups of about ``size``, those of like length together."""
    ordered = rows[np.argsort(events.lengths[rows], kind="stable")]
    return np.array_split(ordered, max(-(-len(rows) // size), 1))


def chunks(events: Events, rows: Rows, places: int) -> Iterator[Rows]:
    """Positions among the rows, from the shortest to the longest, in groups that are padded to at most ``places``."""
    ordered = np.argsort(events.lengths[rows], kind="stable")
    lengths, first = events.lengths[rows[ordered]] + 1, 0
    while first < len(ordered):
        # lengths grow, so a group ends at the first row with which its padded size is too large
        some = lengths[first : first + places]
        padded_size = some * np.arange(1, len(some) + 1)
        count = max(int(np.searchsorted(padded_size, places, side="right")), 1)
        yield ordered[first : first + count]
        first += count


def day_code(days: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sines and cosines of log(1 + days): (days, 2 * wavelengths).

    A continuous code needs no bins to be fitted, and has a number for any day. The logarithm makes yesterday and the
    day before as different as a month and two: what a day tells fades with its distance.
    """
    phase = 2 * np.pi * np.log1p(np.maximum(days, 0))[:, None] / WAVELENGTHS
    return np.concatenate([np.sin(phase), np.cos(phase)], axis=1).astype(np.float32)
