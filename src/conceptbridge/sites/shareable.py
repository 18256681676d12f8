"""As much of a site's quality.json as may leave the site."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


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
        for key in ("read", "kept"):
            if counts.get(key) is not None and 0 < counts[key] < min_cell_count:
                counts[key] = None
    for key in ("persons", "visits"):
        if 0 < shown.get(key, 0) < min_cell_count:
            shown[key] = few
    for domain, about in shown.get("events", {}).items():
        if 0 < about["rows"] < min_cell_count:
            shown["events"][domain] = few
    return shown
