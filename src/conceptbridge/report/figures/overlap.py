"""What source and target have in common: tokens, and names that lie close to each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from conceptbridge.core.plot_style import new_figure
from conceptbridge.report.figures.panels import LINES, Row, panels


def overlap(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the share of the target's tokens that the source has, by key and by text, weighted by the target's rows."""
    pairs = rows["overlap"]
    figure = new_figure(7, 1.2 + 0.3 * max(len(pairs), 1))
    axes: Any = figure.subplots()
    kinds = (("shared_keys_by_rows", "same concept and state"), ("shared_texts_by_rows", "same text"))
    for (colour, _, marker), (name, label) in zip(LINES, kinds, strict=False):
        values = [100 * row[name] if row[name] is not None else np.nan for row in pairs]
        axes.plot(values, range(len(pairs)), color=colour, marker=marker, ls="", label=label)
    _name_rows(axes, [f"{row['target']}'s, known at {row['source']}" for row in pairs])
    axes.set(xlim=(0, 100), xlabel="share of the target's tokens, weighted by training rows (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2 - 1 / max(len(pairs), 4)), ncols=2)
    return figure


def alignment(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw how close the texts that a source lacks are to texts that it has, by embedding."""
    measured = [row for row in rows["alignment"] if row["nearest_unshared"] is not None]
    if not measured:
        return panels([], "no embedding with meaning in this study, or every text is shared")[0]
    directions = list(dict.fromkeys((row["source"], row["target"]) for row in measured))
    figure = new_figure(7, 1.4 + 0.3 * len(directions))
    axes: Any = figure.subplots()
    for (colour, _, marker), embedding in zip(LINES, dict.fromkeys(row["embedding"] for row in measured), strict=False):
        own = [row for row in measured if row["embedding"] == embedding]
        height = [directions.index((row["source"], row["target"])) for row in own]
        values = [row["nearest_unshared"] for row in own]
        axes.plot(values, height, color=colour, marker=marker, ls="", label=embedding)
    _name_rows(axes, [f"{target}'s, seen from {source}" for source, target in directions])
    axes.set_xlabel("cosine of an unshared text to the nearest text of the source, mean")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.9")
