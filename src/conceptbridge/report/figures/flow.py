"""Who was left out: the steps of inclusion at each hospital, drawn as a flow, down to the three splits."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from conceptbridge.core.plot_style import new_figure
from conceptbridge.report.figures.panels import Row, set_title

_BEFORE = "before the split"
_WIDE = 30
_BOX = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": "0.45", "lw": 0.8}
_ARROW = {"arrowstyle": "-|>", "color": "0.45", "lw": 0.8, "shrinkA": 0, "shrinkB": 0}


def flow(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the steps of ``attrition`` one below the other, with what each leaves out, then the rows of ``splits``."""
    steps, splits = rows["attrition"], [row for row in rows["splits"] if row["split"] != _BEFORE]
    sites = list(dict.fromkeys(row["site"] for row in steps))
    most = max(sum(row["site"] == site for row in steps) for site in sites)
    across = min(len(sites), 3)
    down = -(-len(sites) // across)
    figure = new_figure(4.1 * across, (0.68 * most + 1.2) * down)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for panel, site in zip(panels, sites, strict=False):
        set_title(panel, f"at {site}")
        own = [row for row in steps if row["site"] == site]
        _draw_steps(panel, own)
        _draw_splits(panel, len(own), [row for row in splits if row["site"] == site])
        panel.set(xlim=(0, 1), ylim=(most + 0.75, -0.5))
    for panel in panels:
        panel.set_axis_off()
        for text in panel.texts:
            text.set_in_layout(False)  # panels are of one width, whatever their words
    return figure


def _draw_steps(panel: Any, steps: Sequence[Row]) -> None:
    for place, row in enumerate(steps):
        name = textwrap.shorten(row["step"], 2 * _WIDE, placeholder=" ...")
        text = f"{textwrap.fill(name, _WIDE)}\n{_counts(row)}"
        panel.text(0.5, place, text, ha="center", va="center", fontsize=7, bbox=_BOX, zorder=2)
        if place:
            panel.annotate("", (0.5, place - 0.3), (0.5, place - 1), arrowprops=_ARROW, zorder=1)
            before = steps[place - 1]["rows"]
            known = before is not None and row["rows"] is not None
            lost = "number not shown" if not known else "none" if before == row["rows"] else f"{before - row['rows']:,}"
            panel.text(0.53, place - 0.55, f"left out: {lost}", ha="left", va="center", fontsize=7, color="0.35")


def _draw_splits(panel: Any, steps: int, splits: Sequence[Row]) -> None:
    for place, row in zip((0.16, 0.5, 0.84), splits, strict=False):
        panel.annotate("", (place, steps - 0.15), (0.5, steps - 1), arrowprops=_ARROW, zorder=1)
        with_event = _count(row["events"])
        text = f"{_SPLITS.get(row['split'], row['split'])}\n{_count(row['rows'])} rows\n{with_event} with the event"
        panel.text(place, steps + 0.15, text, ha="center", va="center", fontsize=7, bbox=_BOX, zorder=2)


_SPLITS = {"train": "training"}


def _counts(row: Row) -> str:
    if row["rows"] is None and row["persons"] is None:
        return "numbers not shown"
    return f"{_count(row['rows'])} rows of {_count(row['persons'])} persons"


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"
