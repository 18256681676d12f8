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
    """``quality`` as it may leave the site: smaller counts are told as such, and sums that would give them away go."""
    few = f"under {min_cell_count}"
    shown = deepcopy(dict(quality))
    for counts in shown.get("tables", {}).values():
        for part in ("dropped", "repaired", "noted"):
            told = counts.get(part, {})
            small = [reason for reason, rows in told.items() if 0 < rows < min_cell_count]
            told.update(dict.fromkeys(small, few))
            if part == "dropped" and small:
                counts["read"] = None
        if 0 < counts.get("kept", 0) < min_cell_count:
            counts["kept"] = counts["read"] = None
        if counts.get("read") is not None and 0 < counts["read"] < min_cell_count:
            counts["read"] = None
    for key in ("persons", "visits"):
        if 0 < shown.get(key, 0) < min_cell_count:
            shown[key] = few
    for domain, about in shown.get("events", {}).items():
        rows = about["rows"]
        if 0 < rows < min_cell_count:
            shown["events"][domain] = few
            continue
        for key, share in about.items():
            # a share tells of how many rows it is, or is not, true
            if key.endswith("_share") and any(0 < round(rows * s) < min_cell_count for s in (share, 1 - share)):
                about[key] = None
    return shown
