"""Counts as they may leave a site: none under a minimum, nor such that one could be worked out."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any


def withheld(parts: Sequence[int], min_cell_count: int) -> list[int | None]:
    """Counts of which the sum is known, the small ones None; so are as many others as hide these in the sum."""
    hidden = [n for n, count in enumerate(parts) if 0 < count < min_cell_count]
    rest = sorted((count, n) for n, count in enumerate(parts) if count >= min_cell_count)
    while hidden and rest and (len(hidden) < 2 or sum(parts[n] for n in hidden) < min_cell_count):
        hidden.append(rest.pop(0)[1])
    return [None if n in hidden else int(count) for n, count in enumerate(parts)]


def shareable(quality: Mapping[str, Any], min_cell_count: int) -> dict[str, Any]:
    """``quality`` as it may leave the site: smaller counts are told as such, and sums that would give them away go, as
    do the names of the extract's files. What was made shareable once stays as it is."""
    few = f"under {min_cell_count}"
    shown = deepcopy(dict(quality))

    def small(count: Any) -> bool:
        return isinstance(count, int) and 0 < count < min_cell_count

    for counts in shown.get("tables", {}).values():
        counts.pop("file", None)
        for part in ("dropped", "repaired", "noted"):
            told = counts.get(part, {})
            told.update({reason: few for reason, rows in told.items() if small(rows)})
            if part == "dropped" and few in told.values():
                counts["read"] = None
            elif part != "dropped" and counts.get("kept") is not None:  # all but a few are as telling
                told.update(
                    {r: f"all but {few}" for r, n in told.items() if isinstance(n, int) and small(counts["kept"] - n)}
                )
        if small(counts.get("kept")):
            counts["kept"] = counts["read"] = None
        if small(counts.get("read")):
            counts["read"] = None
    for key in ("persons", "visits"):
        if small(shown.get(key)):
            shown[key] = few
    for domain, about in shown.get("events", {}).items():
        if about == few:
            continue
        rows = about["rows"]
        if small(rows):
            shown["events"][domain] = few
            continue
        for key, share in about.items():
            # a share tells of how many rows it is, or is not, true
            if key.endswith("_share") and share is not None and any(small(round(rows * s)) for s in (share, 1 - share)):
                about[key] = None
    return shown
