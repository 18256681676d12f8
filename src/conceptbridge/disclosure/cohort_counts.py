"""Counts of a cohort by split, by subgroup and by step: which may be shown, where persons decide and not rows.

A count of rows or events is as small as the number of persons behind it. Persons and rows are equal where each person
has one row, and close where few have more, so they are hidden together.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.disclosure.suppress import is_enough, is_small, suppress_parts, suppress_steps

Counted = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Counts(NamedTuple):
    """Of each part (parts,): persons, rows, rows with the event, and persons with a row with, or without, the event."""

    persons: Counted
    rows: Counted
    events: Counted
    with_event: Counted
    without_event: Counted


class Shown(NamedTuple):
    """Which counts of each part (parts,) may be shown; ``with_event`` are persons."""

    persons: Mask
    rows: Mask
    events: Mask
    with_event: Mask


def count_parts(person: NDArray[Any], label: NDArray[Any], part: NDArray[np.intp], parts: int) -> Counts:
    """Count a cohort by part; ``person``, ``label`` and ``part`` are (rows,). A row of no part has another number."""
    event, counts = label == 1, []
    for at in range(parts):
        inside = part == at
        of_class = [len(np.unique(person[inside & of])) for of in (event, ~event)]
        counts.append((len(np.unique(person[inside])), inside.sum(), (inside & event).sum(), *of_class))
    return Counts(*np.array(counts, dtype=np.int64).reshape(parts, len(Counts._fields)).T)


def shown_parts(counts: Counts, min_cell_count: int, total_known: bool) -> Shown:
    """Say which counts of the parts may be shown.

    Rows, events and rows without the event are shown of at least ``min_cell_count`` persons each; that a part with rows
    has none of either is a secret. Persons are hidden where few rows are a person's second: their difference would
    count these. Where the total is known, what is hidden cannot be worked out from it; else the total must be hidden
    where a part is (``shown_steps``).
    """

    def enough(count: Counted, show_zero: bool) -> Mask:
        if total_known:
            return suppress_parts(count, min_cell_count, show_zero)
        return np.asarray(is_enough(count, min_cell_count) | ((count == 0) & show_zero))

    rows = enough(counts.persons, True)
    events, filled = rows.copy(), counts.rows > 0
    for of_class in (counts.with_event, counts.without_event):
        events[filled] &= enough(of_class[filled], False)
    persons = rows & ~is_small(counts.rows - counts.persons, min_cell_count)
    # of persons with the event: nor may their difference from the events, or from all persons, be small
    left = counts.events - counts.with_event, counts.persons - counts.with_event
    few = np.any([is_small(count, min_cell_count) for count in left], axis=0)
    return Shown(persons, rows, events, persons & events & ~few)


def shown_steps(
    steps: Sequence[Counts], parts: Counts, persons: int, min_cell_count: int
) -> list[tuple[int | None, int | None, int | None]]:
    """Return persons, rows and events of each step of a falling chain; None are those that may not be shown.

    Published elsewhere are the site's ``persons``, and counts of the ``parts`` that the last step consists of, as far
    as ``shown_parts`` says. Each step is a ``Counts`` of one part.
    """
    ok = shown_parts(parts, min_cell_count, total_known=False)
    in_several = int(parts.persons.sum() - steps[-1].persons[0])

    def chain(counts: Sequence[int | None], end: int, secret: bool, known_start: int | None = None) -> list[int | None]:
        told = suppress_steps(counts, min_cell_count, known_start, end if secret else None)
        # the parts can tell the last count all the same
        return told if told[-1] is not None else suppress_steps(counts, min_cell_count, known_start, end)

    def where(counts: Sequence[Any], known: Sequence[int | None]) -> list[int | None]:
        return [None if at is None else int(count) for count, at in zip(counts, known, strict=True)]

    all_persons, all_rows, all_events = (
        [int(getattr(step, name)[0]) for step in steps] for name in ("persons", "rows", "events")
    )
    secret = not ok.rows.all() or is_small(in_several, min_cell_count)
    rows = where(all_rows, chain(all_persons, all_persons[-1], secret, persons))
    rows = chain(rows, all_rows[-1], secret)  # few rows can go while their persons stay
    further = [n - p for n, p in zip(all_rows, all_persons, strict=True)]
    safe = ok.persons.all() and not any(is_small(n, min_cell_count) for n in where(further, rows) if n is not None)
    others = [n - k for n, k in zip(all_rows, all_events, strict=True)]
    # that nobody has the event is told here, as it is of every part at once
    events, secret = where(all_events, rows), not ok.events.all() and min(all_events[-1], others[-1]) > 0
    of_class = ([int(getattr(step, name)[0]) for step in steps] for name in ("with_event", "without_event"))
    for counts in (*of_class, all_events, others):
        events = where(all_events, chain(where(counts, events), counts[-1], secret))
    return list(zip(where(all_persons, rows) if safe else [None] * len(steps), rows, events, strict=True))
