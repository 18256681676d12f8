"""What may be shown of counts: none under the minimum, and none that could be worked out from those that are shown."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def suppress_parts(counts: ArrayLike, least: int, nobody: bool = True) -> NDArray[np.bool_]:
    """Say which parts of a known total may be shown: those of at least ``least``, and 0 where ``nobody`` is no secret.

    Where the hidden ones together are fewer than ``least``, or there is one alone, they could be worked out from the
    total: then the smallest of the others are hidden as well. ``counts`` is (parts,).
    """
    counts = np.asarray(counts)
    shown: NDArray[np.bool_] = (counts >= least) | ((counts == 0) & nobody)
    hidden = [int(place) for place in np.flatnonzero(~shown)]
    for place in np.argsort(counts, kind="stable"):
        if not hidden or (len(hidden) > 1 and counts[hidden].sum() >= least):
            break
        if shown[place] and counts[place] > 0:
            shown[place] = False
            hidden.append(int(place))
    return shown


def suppress_steps(
    counts: Sequence[int | None], least: int, known: int | None = None, secret: int | None = None
) -> list[int | None]:
    """Blank counts of a falling chain of steps whose distance from the next one that is shown is 1 to ``least`` - 1.

    The last count stays, if it is large enough: the splits add up to it. A count that is blank already stays so.
    ``known`` is a count told elsewhere that the chain begins below. ``secret`` is the last count where it must not be
    known, as one of the splits is small and the others are told: nothing so close to it is shown.
    """
    shown: list[int | None] = []
    following: int | None = None
    for count in reversed(counts):
        small = count is not None and (
            0 < count < least
            or (following is not None and 0 < count - following < least)
            or (secret is not None and count - secret < least)
            or (known is not None and 0 < known - count < least)
        )
        shown.append(None if small else count)
        following = following if shown[-1] is None else count
    return shown[::-1]


def both_classes_at_least(events: int, rows: int, least: int) -> bool:
    """Say whether events, and rows without the event, are at least ``least``: that all or none have it is a secret."""
    return min(events, rows - events) >= least


def safe_bins(label: NDArray[np.generic], probability: NDArray[np.float64], least: int, most: int) -> NDArray[np.intp]:
    """Cut rows, sorted by probability, into at most ``most`` bins of ``least`` events and as many non-events or more.

    Returns where each bin starts in the sorted rows (bins,), nothing where there are too few for a single one. Rows of
    one probability are in one bin. What is drawn from the bins shows no smaller count, nor does a difference of two.
    """
    order = np.argsort(probability, kind="stable")
    event, score = label[order] == 1, probability[order]
    events, non_events = np.cumsum(event), np.cumsum(~event)
    rows = len(event)
    if not rows or min(events[-1], non_events[-1]) < least:
        return np.zeros(0, dtype=np.intp)
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])  # the last row of each distinct probability
    at_end = events[ends], non_events[ends]
    starts = [0]
    while True:
        first = starts[-1]
        begun = (events[first - 1], non_events[first - 1]) if first else (0, 0)
        # the first end that leaves enough of both classes in the bin, and rows as well
        places = [np.searchsorted(found, before + least) for found, before in zip(at_end, begun, strict=True)]
        place = max(*places, np.searchsorted(ends, first + rows / most - 1))
        after = [
            total[-1] - found[place] if place < len(ends) else 0
            for total, found in zip((events, non_events), at_end, strict=True)
        ]
        if min(after) < least:
            return np.array(starts, dtype=np.intp)
        starts.append(int(ends[place]) + 1)
