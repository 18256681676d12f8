"""Rows as a model with windows sees them: each event is a token of its window, and each value one of its own."""

from dataclasses import replace

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
    parts = [part for number in range(len(windows.days)) for part in _of_window(events, windows, number)]
    row, rank, day, token, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = _sorted(row * (2 * len(windows.days)) + rank, day - day.min(initial=0), token)
    row, token, weight = row[order], token[order], weight[order]
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
        offsets=offsets_of(np.bincount(row, minlength=len(rows.row_ids))),
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
    """The events of all rows, and the concepts of their tokens."""

    def __init__(self, rows: SiteRows) -> None:
        assert rows.days is not None
        self.rows = rows
        self.row = np.repeat(np.arange(len(rows.row_ids)), np.diff(rows.offsets))
        self.day = rows.days.astype(np.int64)
        self.token = rows.tokens.astype(np.int64)
        value = rows.values
        self.value = np.full(len(self.token), np.nan, np.float32) if value is None else value
        self.added = np.zeros(len(self.token), np.bool_) if rows.added is None else rows.added
        number: dict[str, int] = {}
        named = [concept_of(key) for key in rows.keys]
        self.concept = np.array([number.setdefault(name, len(number)) for name in named], np.int64)
        self.concepts = list(number)
        personal = np.array([name in PERSONAL for name in named], np.bool_)
        self.personal = personal[self.token]
        self.age = self.personal & ~np.isnan(self.value)

    def groups(self, at: Ints) -> Ints:
        """Row and concept of these events as one number."""
        return self.row[at] * len(self.concepts) + self.concept[self.token[at]]


#: row, rank of its kind (states of each window, then values), day, token and weight of some events
_Part = tuple[Ints, Ints, Ints, Ints, NDArray[np.float32]]


def _of_window(events: _Events, windows: Windows, number: int) -> list[_Part]:
    first, last = windows.days[number]
    within = (events.day >= first) & (events.day <= last) & ~events.personal
    at = np.flatnonzero(within | events.personal if number == 0 else within)
    known = len(events.rows.keys)
    parts = [_part(events.row[at], 2 * number, events.day[at], number * known + events.token[at], None)]
    if not windows.values:
        return parts
    base = len(windows.days) * known + number * (2 * len(events.concepts) + len(NUMBERS))
    at = np.flatnonzero(within & ~np.isnan(events.value))
    at = at[_sorted(events.groups(at), events.day[at] - first, events.token[at])]
    group, starts, counts = np.unique(events.groups(at), return_index=True, return_counts=True)
    day = events.day[at]
    on_last = day == np.repeat(day[starts + counts - 1], counts)
    row, concept = np.divmod(group, len(events.concepts))
    for kind, chosen in ((LAST, on_last), (MEAN, np.ones(len(at), np.bool_))):
        value = events.value[at].astype(np.float64) * chosen
        mean = _summed(value, starts) / np.maximum(_summed(chosen.astype(np.float64), starts), 1)
        parts.append(_part(row, 2 * number + 1, concept * 0, base + 2 * concept + kind, mean))
    base += 2 * len(events.concepts)
    of_rows = len(events.rows.row_ids)
    inside = np.flatnonzero(within & ~events.added)
    row_day = np.unique(events.row[inside] * (last - first + 1) + events.day[inside] - first)
    counted = (events.row[inside], row_day // (last - first + 1))
    for kind, of_row in enumerate(counted):
        count = np.bincount(of_row, minlength=of_rows)
        row = np.flatnonzero(count)
        parts.append(_part(row, 2 * number + 1, row * 0, row * 0 + base + kind, np.log1p(count[row])))
    if number == 0:
        at = np.flatnonzero(events.age)
        parts.append(_part(events.row[at], 1, at * 0, at * 0 + base + NUMBERS.index("age"), events.value[at]))
    return parts


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


def _part(row: Ints, rank: int, day: Ints, token: Ints, weight: NDArray[np.floating] | None) -> _Part:
    weights = np.ones(len(row), np.float32) if weight is None else np.asarray(weight, np.float32)
    weights[weights == 0] = ALMOST_ZERO
    return row, np.full(len(row), rank), day, token, weights


def _summed(values: NDArray[np.float64], starts: Ints) -> NDArray[np.float64]:
    return np.add.reduceat(values, starts) if len(starts) else np.zeros(0)


def _sorted(first: Ints, second: Ints, third: Ints) -> Ints:
    """The order by the first, then the second, then the third of these numbers, all at least 0; as it is, if it is."""
    wide, narrow = int(second.max(initial=0)) + 1, int(third.max(initial=0)) + 1
    key = (first * wide + second) * narrow + third
    return np.arange(len(key)) if (key[1:] >= key[:-1]).all() else np.argsort(key, kind="stable")
