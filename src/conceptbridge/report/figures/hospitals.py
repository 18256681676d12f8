"""One way of making a model at every hospital, what it does on average, and what a new hospital may expect."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from scipy.special import expit, logit

from conceptbridge.core.plot_style import new_figure
from conceptbridge.evaluate.schemas import ARM, RECOMMENDATION, VS_BEST_TRANSFERRED
from conceptbridge.report.figures.panels import LINES, TOO_FEW, Row, panels

_KIND = ARM[:3]
_COLOUR, _NEW = LINES[0][0], LINES[1][0]
Z = 1.96


def hospitals(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the AUROC of one kind of arm at each hospital, and its difference from the reference, with the summaries.

    The kind is the one from elsewhere that validation rows chose at most hospitals: test rows choose nothing.
    """
    kind = _most_chosen(rows["comparisons"])
    effects = [row for row in rows["effects"] if _kind_of(row) == kind and row["auroc"] is not None]
    if kind is None or not effects:
        return panels([], TOO_FEW)[0]
    figure = new_figure(9.2, 1.7 + 0.27 * (len(effects) + 2))
    left, right = figure.subplots(1, 2, sharey=True)
    summaries = {row["quantity"]: row for row in rows["summary"] if _kind_of(row) == kind}
    for axes, quantity, name in (
        (left, "auroc", "AUROC on test rows"),
        (right, "difference", "difference from the reference"),
    ):
        for place, row in enumerate(effects):
            _draw_hospital(axes, place, *_limits(row, quantity))
        _draw_summary(axes, len(effects) + 0.5, summaries.get(quantity))
        axes.set_xlabel(name)
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    right.axvline(0, color="0.35", lw=1, zorder=0)
    names = [row["target"] for row in effects]
    left.set_yticks([*range(len(names)), len(names) + 0.5, len(names) + 1.5], [*names, "mean", "a new hospital"])
    left.set_ylim(len(names) + 2, -0.6)
    embedding, learner, strategy = kind
    figure.suptitle(f"{strategy}, {learner} on {embedding}", fontsize=9, fontweight="bold")
    return figure


def _most_chosen(comparisons: Sequence[Row]) -> tuple[Any, ...] | None:
    """Return the kind of arm (embedding, learner, strategy) from elsewhere that is chosen at most hospitals."""
    chosen: Counter[tuple[Any, ...]] = Counter()
    for row in comparisons:
        if row["metric"] == "auroc" and row["question"] == RECOMMENDATION and row["source"] != row["target"]:
            chosen[_kind_of(row)] += 1
        if row["metric"] == "auroc" and row["question"] == VS_BEST_TRANSFERRED and row["ref_embedding"]:
            chosen[tuple(row[f"ref_{name}"] for name in _KIND)] += 1
    return chosen.most_common(1)[0][0] if chosen else None


def _kind_of(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KIND)


def _limits(row: Row, quantity: str) -> tuple[float | None, float, float]:
    """Return a hospital's value with its 95 % limits: AUROC on the logit scale."""
    value, variance = row[quantity], row[f"{quantity}_variance"]
    if value is None or variance is None:
        return value, np.nan, np.nan
    if quantity == "auroc" and 0 < value < 1:
        middle, error = logit(value), Z * np.sqrt(variance) / (value * (1 - value))
        return value, float(expit(middle - error)), float(expit(middle + error))
    return value, value - Z * np.sqrt(variance), value + Z * np.sqrt(variance)


def _draw_hospital(axes: Any, place: float, value: float | None, lower: float, upper: float) -> None:
    if value is not None:
        axes.plot([lower, upper], [place, place], color=_COLOUR, lw=1.5)
        axes.plot(value, place, marker="s", ms=5, color=_COLOUR, ls="")


def _draw_summary(axes: Any, place: float, row: Row | None) -> None:
    if row is None or row["estimate"] is None:
        return
    middle, lower, upper = row["estimate"], row["lower"], row["upper"]
    corners = [(lower, place), (middle, place - 0.25), (upper, place), (middle, place + 0.25)]
    axes.add_patch(Polygon(corners, closed=True, fc=_COLOUR, ec=_COLOUR))
    axes.plot([row["new_lower"], row["new_upper"]], [place + 1] * 2, color=_NEW, lw=3, solid_capstyle="butt")
