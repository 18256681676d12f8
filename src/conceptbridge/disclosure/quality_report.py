"""A site's quality report as it may leave the site."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from conceptbridge.disclosure.suppress import is_small, suppress_parts


def shareable(quality: Mapping[str, Any], min_cell_count: int) -> dict[str, Any]:
    """Return ``quality`` as it may leave the site, without the names of the extract's files.

    Small counts become a word, and sums that would give them away become None. A report that was made shareable once
    stays as it is.
    """
    few = f"under {min_cell_count}"
    shown = deepcopy(dict(quality))

    def small(count: Any) -> bool:
        return isinstance(count, int) and is_small(count, min_cell_count)

    for counts in shown.get("tables", {}).values():
        counts.pop("file", None)
        for part in ("dropped", "repaired", "noted"):
            reasons = counts.get(part, {})
            reasons.update({reason: few for reason, rows in reasons.items() if small(rows)})
            if part == "dropped" and few in reasons.values():
                counts["read"] = None
            elif part != "dropped" and counts.get("kept") is not None:  # all but a few are as telling
                reasons.update(
                    {
                        r: f"all but {few}"
                        for r, n in reasons.items()
                        if isinstance(n, int) and small(counts["kept"] - n)
                    }
                )
        if small(counts.get("kept")):
            counts["kept"] = counts["read"] = None
        if small(counts.get("read")):
            counts["read"] = None
    for key in ("persons", "visits"):
        if small(shown.get(key)):
            shown[key] = few
    _hide_statuses(shown.get("condition_status", {}), few, min_cell_count)
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


def _hide_statuses(of_visits: dict[str, Any], few: str, min_cell_count: int) -> None:
    """Hide small counts of diagnoses by type of visit, in place; the types are parts of all diagnoses."""
    types = [name for name, about in of_visits.items() if about != few]
    shown = suppress_parts([of_visits[name]["rows"] for name in types], min_cell_count)
    for name, ok in zip(types, shown, strict=True):
        about = of_visits[name]
        rows, share = about["rows"], about["status_share"]
        if not ok:
            of_visits[name] = few
        elif share is not None and any(is_small(round(rows * part), min_cell_count) for part in (share, 1 - share)):
            about["status_share"] = None
