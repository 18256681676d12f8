"""Rows as a model with windows sees them: each event is a token of its window, and each value one of its own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.places import (
    LAST,
    MEAN,
    NUMBER,
    NUMBERS,
    PERSONAL,
    Windows,
    concept_of,
    value_key,
    window_key,
)
from conceptbridge.learn.rows import SiteRows, offsets_of
from conceptbridge.vocabulary.states import SLOTS

#: in place of a value that is exactly 0: a sparse matrix, and LightGBM, would take it for none
ALMOST_ZERO = np.float32(1e-20)

Ints = NDArray[np.int64]


def in_windows(rows: SiteRows, windows: Windows | None) -> SiteRows:
    """The rows with a token of its own for each (token, window), and with ``values`` for what was measured.

    An event on a day of window w becomes the token ``KEY @w``. With values, a concept has two more tokens in a window:
    ``CONCEPT|value last @w`` and ``CONCEPT|value mean @w``, whose weights are its value on the last day that has one,
    and the mean over such events. How many records and days with records a window has (log(1 + n)), and the age, are
    tokens of ``NUMBERS``; ancestors of a record are none themselves. Tokens of one day have no order. Without windows
    the rows stay as they are.
    """
    if windows is None:
        return rows
    assert rows.days is not None
    events = _Events(rows)
    offsets, token, weight = _row_by_row(events, windows)
    keys, texts, places = _tokens(events, windows)
    used = np.flatnonzero(np.bincount(token, minlength=len(keys)))
    renumbered = np.zeros(len(keys), np.int32)
    renumbered[used] = np.arange(len(used))
    result = replace(
        rows,
        keys=[keys[at] for at in used],
        texts=[texts[at] for at in used],
        slots=places[used],
        tokens=renumbered[token],
        offsets=offsets,
        weights=weight if windows.values else None,
        days=None,
        values=None,
        added=None,
        windows=windows,
    )
    return result.trained_on(result.of("train"))


def persons_with(rows: SiteRows) -> Ints:
    """How many persons have each token in their training rows: (tokens,)."""
    training = rows.take(rows.of("train"))
    _, person = np.unique(training.person_ids, return_inverse=True)
    held = np.repeat(person, np.diff(training.offsets)) * max(len(rows.keys), 1) + training.tokens
    return np.bincount(np.unique(held) % max(len(rows.keys), 1), minlength=len(rows.keys))


class _Events:
    """The events of all rows, by row, day and token, and the concepts of their tokens."""

    def __init__(self, rows: SiteRows) -> None:
        assert rows.days is not None
        self.rows = rows
        row = np.repeat(np.arange(len(rows.row_ids), dtype=np.int32), np.diff(rows.offsets))
        order = _sorted(row, rows.days - rows.days.min(initial=0), rows.tokens)
        self.row, self.day, self.token = row[order], rows.days[order].astype(np.int32), rows.tokens[order]
        self.value = np.full(len(row), np.nan, np.float32) if rows.values is None else rows.values[order]
        self.added = np.zeros(len(row), np.bool_) if rows.added is None else rows.added[order]
        number: dict[str, int] = {}
        named = [concept_of(key) for key in rows.keys]
        self.concept = np.array([number.setdefault(name, len(number)) for name in named], np.int64)
        self.concepts = list(number)
        personal = np.array([name in PERSONAL for name in named], np.bool_)
        self.personal = personal[self.token]
        self.age = self.personal & ~np.isnan(self.value)

    def groups(self, at: Ints) -> Ints:
        """Row and concept of these events as one number."""
        return self.row[at].astype(np.int64) * len(self.concepts) + self.concept[self.token[at]]


class _Part(NamedTuple):
    """Some tokens, by row: in a row they stand after those of the part before. ``weight``: None for 1 each."""

    row: NDArray[np.int32]
    token: NDArray[np.int32]
    weight: NDArray[np.float32] | None


def _row_by_row(events: _Events, windows: Windows) -> tuple[Ints, NDArray[np.int32], NDArray[np.float32]]:
    """Where each row begins, and the tokens of all parts with their weights, row by row."""
    parts = [part for number in range(len(windows.days)) for part in _of_window(events, windows, number)]
    rows = len(events.rows.row_ids)
    lengths = [np.bincount(part.row, minlength=rows) for part in parts]
    offsets = offsets_of(np.sum(lengths, axis=0))
    token, weight = np.zeros(offsets[-1], np.int32), np.ones(offsets[-1], np.float32)
    begin = offsets[:-1].copy()
    for part, of_rows in zip(parts, lengths, strict=True):
        to = np.arange(len(part.row)) + (begin - offsets_of(of_rows)[:-1])[part.row]
        token[to] = part.token
        if part.weight is not None:
            weight[to] = np.where(part.weight == 0, ALMOST_ZERO, part.weight)
        begin += of_rows
    return offsets, token, weight


def _of_window(events: _Events, windows: Windows, number: int) -> Iterator[_Part]:
    first, last = windows.days[number]
    within = (events.day >= first) & (events.day <= last) & ~events.personal
    at = np.flatnonzero(within | events.personal if number == 0 else within)
    known = len(events.rows.keys)
    yield _Part(events.row[at], events.token[at] + np.int32(number * known), None)
    if not windows.values:
        return
    base = len(windows.days) * known + number * (2 * len(events.concepts) + len(NUMBERS))
    at = np.flatnonzero(within & ~np.isnan(events.value))
    at = at[_sorted(events.groups(at), events.day[at] - first, events.token[at])]
    group = events.groups(at)
    starts = _firsts(group)
    counts, group, day = np.diff(np.append(starts, len(at))), group[starts], events.day[at]
    on_last = day == np.repeat(day[starts + counts - 1], counts)
    means = []
    for chosen in (on_last, np.ones(len(at), np.bool_)):
        value = events.value[at].astype(np.float64) * chosen
        means.append(_summed(value, starts) / np.maximum(_summed(chosen.astype(np.float64), starts), 1))
    row, concept = np.divmod(group, len(events.concepts))
    both = base + 2 * np.repeat(concept, 2) + np.tile([LAST, MEAN], len(group))
    yield _Part(_int32(np.repeat(row, 2)), _int32(both), np.stack(means, axis=1).ravel().astype(np.float32))
    base += 2 * len(events.concepts)
    inside = events.row[within & ~events.added]
    day = events.day[within & ~events.added]
    days = _firsts(inside.astype(np.int64) * (last - first + 1) + day - first)
    for kind, of_row in enumerate((inside, inside[days])):
        count = np.bincount(of_row, minlength=len(events.rows.row_ids))
        row = np.flatnonzero(count)
        yield _Part(_int32(row), np.full(len(row), base + kind, np.int32), np.log1p(count[row]).astype(np.float32))
    if number == 0:
        at = np.flatnonzero(events.age)
        age = np.full(len(at), base + NUMBERS.index("age"), np.int32)
        yield _Part(events.row[at], age, events.value[at])


def _firsts(numbers: Ints) -> Ints:
    """Where each of these numbers, in ascending order, stands first."""
    return np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]])[: len(numbers)])


def _int32(numbers: Ints) -> NDArray[np.int32]:
    return numbers.astype(np.int32)


def _tokens(events: _Events, windows: Windows) -> tuple[list[str], list[str | None], Ints]:
    """Keys, texts and places of all tokens that the rows could have: states window by window, then values."""
    rows, number = events.rows, range(len(windows.days))
    keys = [window_key(key, w) for w in number for key in rows.keys]
    texts = list(rows.texts) * len(windows.days)
    places = [np.concatenate([rows.slots + w * len(SLOTS) for w in number])]
    if windows.values:
        names = _names(events)
        for w in number:
            keys += [value_key(concept, kind, w) for concept in events.concepts for kind in (LAST, MEAN)]
            keys += [value_key(name, NUMBER, w) for name in NUMBERS]
            texts += [*(names[c] for c in range(len(names)) for _ in (LAST, MEAN)), *([None] * len(NUMBERS))]
            of_values = [windows.of_value(w, kind) for kind in (LAST, MEAN)] * len(names)
            places.append(np.array([*of_values, *([windows.of_value(w, NUMBER)] * len(NUMBERS))], np.int64))
    return keys, texts, np.concatenate(places)


def _names(events: _Events) -> list[str | None]:
    """The text of each concept: of the first of its tokens that leaves the state to the slot, as a value's does."""
    result: list[str | None] = [None] * len(events.concepts)
    rank = np.argsort(events.rows.slots == len(SLOTS) - 1, kind="stable")
    for token in rank.tolist():
        concept = events.concept[token]
        result[concept] = events.rows.texts[token] if result[concept] is None else result[concept]
    return result


def _summed(values: NDArray[np.float64], starts: Ints) -> NDArray[np.float64]:
    return np.add.reduceat(values, starts) if len(starts) else np.zeros(0)


def _sorted(*by: NDArray[np.integer]) -> Ints | slice:
    """The order by the first, then the second, then the third of these numbers, all at least 0; as it is, if it is."""
    key = by[0].astype(np.int64)
    for numbers in by[1:]:
        key *= int(numbers.max(initial=0)) + 1
        key += numbers
    return slice(None) if (key[1:] >= key[:-1]).all() else np.argsort(key, kind="stable")
