"""The windows of a task's predictors: stretches of days, the latest first."""

from collections.abc import Sequence
from itertools import combinations

from conceptbridge.core.errors import StudyError

Window = Sequence[int]


def cut(windows: Sequence[Window], days: Window) -> list[list[int]]:
    """Return the windows as far as they lie within ``days`` (first and last); the earliest begins with them."""
    first, last = days
    kept = [[max(begin, first), min(end, last)] for begin, end in windows if begin <= last and end >= first]
    if not kept:  # all predictors are earlier than the earliest window
        return [[first, last]]
    kept[-1][0] = first
    return kept


def check_windows(at: str, windows: Sequence[Window], days: Window) -> None:
    """Raise StudyError, which begins with ``at``, where windows do not make sense.

    They lie within ``days``, the latest first. Two have no day in common, or the later one lies in the earlier one.
    """
    for window in windows:
        first, last = window
        if last < first:
            raise StudyError(f"{at}: the window {list(window)} ends before it begins")
        if first < days[0] or last > days[1]:
            raise StudyError(
                f"{at}: the window {list(window)} is not within predictors.days, {list(days)}; cut it, or make these "
                "longer"
            )
    for later, earlier in combinations(windows, 2):
        if earlier[0] >= later[0]:
            raise StudyError(
                f"{at}: the window {list(earlier)} does not begin before {list(later)}; write the latest window first"
            )
        if earlier[1] >= later[0] and earlier[1] < later[1]:
            raise StudyError(
                f"{at}: the windows {list(later)} and {list(earlier)} share some days; end the earlier one on day "
                f"{later[0] - 1}, or on day {later[1]}, so that it holds the later one"
            )
