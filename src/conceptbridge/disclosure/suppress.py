"""The one rule of small counts: show no count below the minimum, and none from which such a count can be worked out.

``min_cell_count`` is the study's minimum. A count is small from 1 to ``min_cell_count`` - 1; 0 is not small, but it
does not reach the minimum either. All code that shows or sends counts decides with these functions.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray


@overload
def is_small(count: float, min_cell_count: int) -> bool: ...
@overload
def is_small(count: NDArray[Any], min_cell_count: int) -> NDArray[np.bool_]: ...
def is_small(count: Any, min_cell_count: int) -> Any:
    """Say whether a count, or each of an array, is from 1 to ``min_cell_count`` - 1."""
    return (count > 0) & (count < min_cell_count)


@overload
def is_enough(count: float, min_cell_count: int) -> bool: ...
@overload
def is_enough(count: NDArray[Any], min_cell_count: int) -> NDArray[np.bool_]: ...
def is_enough(count: Any, min_cell_count: int) -> Any:
    """Say whether a count, or each of an array, reaches the minimum; 0 does not."""
    return count >= min_cell_count


def enough_sql(count: str, min_cell_count: int) -> str:
    """Return ``is_enough`` as SQL, for a count in SQL."""
    return f"({count} >= {min_cell_count})"


def keep_enough(table: pa.Table, column: str, min_cell_count: int) -> pa.Table:
    """Keep the rows whose count in ``column`` reaches the minimum, or was blanked where the row was shared."""
    return table.filter(pc.fill_null(pc.greater_equal(table[column], min_cell_count), True))


def hide_small(count: int | None, min_cell_count: int) -> int | None:
    """Return the count, None if it is small or already None."""
    return None if count is None or is_small(count, min_cell_count) else int(count)


def both_classes_at_least(events: int, rows: int, min_cell_count: int) -> bool:
    """Say whether events, and rows without the event, reach the minimum: that all or none have it is a secret."""
    return is_enough(min(events, rows - events), min_cell_count)


def suppress_parts(counts: ArrayLike, min_cell_count: int, show_zero: bool = True) -> NDArray[np.bool_]:
    """Say which parts of a known total may be shown: those that reach the minimum, and 0 if ``show_zero``.

    If a single part is hidden, or the hidden parts add up to less than the minimum, the total would give them away:
    then the smallest other parts are hidden too, until that is no longer so. ``counts`` is (parts,).
    """
    counts = np.asarray(counts)
    shown: NDArray[np.bool_] = is_enough(counts, min_cell_count) | ((counts == 0) & show_zero)
    hidden = [int(index) for index in np.flatnonzero(~shown)]
    for index in np.argsort(counts, kind="stable"):
        if not hidden or (len(hidden) > 1 and is_enough(counts[hidden].sum(), min_cell_count)):
            break
        if shown[index] and counts[index] > 0:
            shown[index] = False
            hidden.append(int(index))
    return shown


def hide_parts(counts: Sequence[int], min_cell_count: int) -> list[int | None]:
    """Return the parts of a known total, None where ``suppress_parts`` hides them."""
    shown = suppress_parts(counts, min_cell_count)
    return [int(count) if ok else None for count, ok in zip(counts, shown, strict=True)]


def remainder_is_small(total: float, shown: Sequence[float], min_cell_count: int) -> bool:
    """Say whether the shown parts leave a small count of a known total."""
    return is_small(total - sum(shown), min_cell_count)


def suppress_remainder(counts: Sequence[int], total: int, min_cell_count: int) -> NDArray[np.bool_]:
    """Say which counts may be shown beside a total that they need not add up to: what they leave of it is not small.

    The smallest counts are hidden first, of equal ones the last. ``counts`` is (parts,), each at least the minimum.
    """
    shown = np.ones(len(counts), dtype=np.bool_)
    for index in sorted(range(len(counts)), key=lambda index: (counts[index], -index)):
        others = [count for count, ok in zip(counts, shown, strict=True) if ok]
        if not remainder_is_small(total, others, min_cell_count):
            break
        shown[index] = False
    return shown


def suppress_steps(
    counts: Sequence[int | None],
    min_cell_count: int,
    known_start: int | None = None,
    secret_end: int | None = None,
) -> list[int | None]:
    """Blank the counts of a falling chain of steps that are small, or a small count away from the next one shown.

    The last count is considered first, because the splits add up to it. A count that is blank stays blank.
    ``known_start`` is a count published elsewhere that the chain begins below. ``secret_end`` is the last count if it
    must stay unknown, because one split is small and the others are published: no count close to it is shown.
    """
    shown: list[int | None] = []
    following: int | None = None
    for count in reversed(counts):
        hidden = count is not None and (
            is_small(count, min_cell_count)
            or (following is not None and is_small(count - following, min_cell_count))
            or (secret_end is not None and not is_enough(count - secret_end, min_cell_count))
            or (known_start is not None and is_small(known_start - count, min_cell_count))
        )
        shown.append(None if hidden else count)
        following = following if shown[-1] is None else count
    return shown[::-1]


def possible_counts(cells: NDArray[Any], min_cell_count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the least and the greatest value that the first cell of each two-by-two table can have, to a reader.

    ``cells`` is (4, tables): a, b, c, d with the margins a + b, c + d, a + c and b + d, which are known. Of a table
    with a small cell it is also known which cells do not reach the minimum, and no more; the cells of others are shown.
    What is decided from the returned range tells no more of a small count than that it is one.
    """
    a, b, c, d = (np.asarray(cell, dtype=np.int64) for cell in cells)
    least, greatest = np.maximum(a - np.minimum(a, d), 0), a + np.minimum(b, c)
    # each cell as a function of a: a itself and d rise with it, b and c fall
    for cell, rises in ((a, True), (d, True), (b, False), (c, False)):
        few = ~is_enough(cell, min_cell_count)
        bound = a + (min_cell_count - cell) * (1 if rises else -1)  # a where this cell is just enough
        low_side = few if rises else ~few
        step = (bound - 1) if rises else bound
        greatest = np.where(low_side, np.minimum(greatest, step), greatest)
        least = np.where(low_side, least, np.maximum(least, bound if rises else bound + 1))
    hidden = is_small(np.asarray(cells), min_cell_count).any(axis=0)
    return np.where(hidden, least, a), np.where(hidden, greatest, a)


def has_small_step(counts: Sequence[int | None], min_cell_count: int) -> bool:
    """Say whether a falling chain of steps shows a small count, or shows two that are a small count apart."""
    shown = [count for count in counts if count is not None]
    steps = [earlier - later for earlier, later in pairwise(shown)]
    return any(is_small(count, min_cell_count) for count in (*shown, *steps))


def safe_bins(
    label: NDArray[np.generic], probability: NDArray[np.float64], min_cell_count: int, max_bins: int
) -> NDArray[np.intp]:
    """Cut rows, sorted by probability, into at most ``max_bins`` bins that hold the minimum of both classes.

    Returns where each bin starts in the sorted rows (bins,), empty if there are too few rows for one bin. Rows of one
    probability are in one bin. What is drawn from the bins shows no smaller count, nor does a difference of two.
    """
    order = np.argsort(probability, kind="stable")
    event, score = label[order] == 1, probability[order]
    events, non_events = np.cumsum(event), np.cumsum(~event)
    rows = len(event)
    if not rows or not both_classes_at_least(events[-1], rows, min_cell_count):
        return np.zeros(0, dtype=np.intp)
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])  # the last row of each distinct probability
    at_end = events[ends], non_events[ends]
    starts = [0]
    while True:
        first = starts[-1]
        before = (events[first - 1], non_events[first - 1]) if first else (0, 0)
        # the first end that leaves enough of both classes in the bin, and rows as well
        enough = [np.searchsorted(so_far, n + min_cell_count) for so_far, n in zip(at_end, before, strict=True)]
        index = max(*enough, np.searchsorted(ends, first + rows / max_bins - 1))
        after = [
            total[-1] - so_far[index] if index < len(ends) else 0
            for total, so_far in zip((events, non_events), at_end, strict=True)
        ]
        if not is_enough(min(after), min_cell_count):
            return np.array(starts, dtype=np.intp)
        starts.append(int(ends[index]) + 1)
