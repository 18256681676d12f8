"""The transfer matrix: the AUROC of every arm of one task and learner as a heat map."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from conceptbridge.core.plot_style import new_figure
from conceptbridge.report.figures.panels import Row

COLOURS = "viridis"  # even steps of lightness: readable in grey and by the colour-blind
LOWEST, HIGHEST = 0.5, 1.0
MOST = 40
"""Directions that a reader can still tell apart."""


def transfer_matrix(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the AUROC on test rows, from the rows of ``arms`` of one task and learner.

    A row of the figure is an embedding and a strategy, a column a target and the source that its model comes from. A
    cell is blank where the strategy has no such source, and "n.e." where the arm is not estimable; 95 % limits stand
    below its number. Of more than ``MOST`` directions the mean over sources is drawn. Colours run from 0.5 to 1.
    """
    arms = rows["arms"]
    if len({(arm["target"], arm["source"]) for arm in arms}) > MOST:
        arms = list(_over_sources(arms))
    kinds = list(dict.fromkeys((arm["embedding"], arm["strategy"]) for arm in arms))
    targets = list(dict.fromkeys(arm["target"] for arm in arms))
    columns = sorted(
        {(arm["target"], arm["source"]) for arm in arms},
        key=lambda pair: (targets.index(pair[0]), pair[0] != pair[1], pair[1]),  # the target's own model first
    )
    values = np.full((len(kinds), len(columns)), np.nan)
    figure = new_figure(2.6 + 0.78 * len(columns), 1.9 + 0.36 * len(kinds))
    axes = figure.add_subplot()
    for arm in arms:
        row = kinds.index((arm["embedding"], arm["strategy"]))
        column = columns.index((arm["target"], arm["source"]))
        values[row, column] = np.nan if arm["auroc"] is None else arm["auroc"]
        _write_cell(axes, row, column, arm)
    image = axes.imshow(values, cmap=mpl.colormaps[COLOURS], vmin=LOWEST, vmax=HIGHEST, aspect="auto")
    _label(axes, kinds, columns)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, extend="min" if (values < LOWEST).any() else "neither")
    bar.set_label("AUROC on test rows")
    bar.outline.set_visible(False)
    return figure


def _over_sources(arms: Sequence[Row]) -> Iterator[Row]:
    """Yield the mean AUROC over the sources of each kind of arm at each target; own models stay."""
    found: dict[tuple[Any, ...], list[float | None]] = {}
    for arm in arms:
        source = arm["source"] if arm["source"] == arm["target"] else "others"
        found.setdefault((arm["embedding"], arm["strategy"], arm["target"], source), []).append(arm["auroc"])
    for (embedding, strategy, target, source), values in found.items():
        known = [value for value in values if value is not None]
        mean = float(np.mean(known)) if known else None
        place = {"embedding": embedding, "strategy": strategy, "target": target, "source": source}
        yield place | {"auroc": mean, "auroc_lower": None, "auroc_upper": None}


def _write_cell(axes: Any, row: int, column: int, arm: Row) -> None:
    value = arm["auroc"]
    if value is None:
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color="0.92", linewidth=0))
        text, ink, limits = "n.e.", "0.35", ""
    else:
        limits = "" if arm["auroc_lower"] is None else f"{arm['auroc_lower']:.2f} to {arm['auroc_upper']:.2f}"
        text, ink = f"{value:.2f}", "white" if value < LOWEST + 0.42 * (HIGHEST - LOWEST) else "black"
    axes.text(column, row, text, ha="center", va="bottom" if limits else "center", color=ink, fontsize=8.5)
    if limits:
        axes.text(column, row + 0.06, limits, ha="center", va="top", color=ink, fontsize=6)


def _label(axes: Any, rows: list[tuple[str, str]], columns: list[tuple[str, str]]) -> None:
    """Name rows and columns, and separate embeddings and targets by white lines."""
    axes.set_yticks(range(len(rows)), [f"{embedding}, {strategy}" for embedding, strategy in rows])
    sources = ["own" if source == target else source for target, source in columns]
    axes.set_xticks(range(len(columns)), sources, rotation=35, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("embedding, strategy")
    axes.set_title("the model comes from", fontsize=9, loc="left", pad=8)
    for index, (first, second) in enumerate(pairwise(rows)):
        axes.axhline(index + 0.5, color="white", linewidth=4 if first[0] != second[0] else 0.8)
    for index, (left, right) in enumerate(pairwise(columns)):
        axes.axvline(index + 0.5, color="white", linewidth=8 if left[0] != right[0] else 0.8)
    for target in dict.fromkeys(target for target, _ in columns):
        inside = [index for index, column in enumerate(columns) if column[0] == target]
        axes.annotate(
            f"at {target}",
            (float(np.mean(inside)), len(rows) - 0.5),
            xytext=(0, -8),
            textcoords="offset points",
            ha="center",
            va="top",
            fontweight="bold",
            annotation_clip=False,
        )
