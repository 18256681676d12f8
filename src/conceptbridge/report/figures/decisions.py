"""Calibration, ROC and precision-recall curves, and net benefit, in bins large enough to be shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from conceptbridge.core.plot_style import new_figure
from conceptbridge.report.figures.panels import TOO_FEW, Line, Row, lines_by_role, panel_by_target, panels, set_title


def calibration(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the observed share by the predicted one."""

    def draw(panel: Any, points: list[Row], line: Line, label: str) -> None:
        bins: dict[int, list[Row]] = {}
        for row in points:
            bins.setdefault(row["wide_bin"], []).append(row)
        predicted, observed = (
            [
                np.average([row[name] for row in inside], weights=[row["share"] for row in inside])
                for inside in bins.values()
            ]
            for name in ("predicted", "observed")
        )
        colour, dash, marker = line
        panel.plot(predicted, observed, color=colour, ls=dash, marker=marker, ms=4, label=label)

    def finish(panel: Any) -> None:
        top = max(panel.get_xlim()[1], panel.get_ylim()[1])
        panel.plot([0, top], [0, top], color="0.6", lw=1, zorder=0)

    return panel_by_target(rows["binned_curves"], draw, finish, "predicted probability", "observed share")


def roc(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw ROC curves (above) and precision-recall curves (below), at cuts with enough rows on both sides."""
    points = rows["binned_curves"]
    targets = list(dict.fromkeys(row["target"] for row in points))
    if not targets:
        return panels([], TOO_FEW)[0]
    figure = new_figure(3.3 * len(targets) + 0.4, 6.6)
    axes: Any = figure.subplots(2, len(targets), squeeze=False)
    for (above, below), target in zip(axes.T, targets, strict=True):
        for (colour, dash, _), role, of_role in lines_by_role(points, target):
            recall = [1.0, *[one["sensitivity"] for one in of_role[1:]], 0.0]
            alarms = [1.0, *[1 - one["specificity"] for one in of_role[1:]], 0.0]
            above.plot(alarms, recall, color=colour, ls=dash, label=role)
            below.plot(recall[: len(of_role)], [one["ppv"] for one in of_role], color=colour, ls=dash, label=role)
        above.set(xlim=(0, 1), ylim=(0, 1), xlabel="1 - specificity")
        below.set(xlim=(0, 1), ylim=(0, 1), xlabel="sensitivity (recall)")
        above.plot([0, 1], [0, 1], color="0.6", lw=1, zorder=0)
        set_title(above, f"at {target}")
        above.legend(loc="lower right", fontsize=7)
    axes[0][0].set_ylabel("sensitivity")
    axes[1][0].set_ylabel("PPV (precision)")
    return figure


def net_benefit(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the net benefit by threshold, beside alerting all rows and none."""

    def draw(panel: Any, points: list[Row], line: Line, label: str) -> None:
        inner = [row for row in points if row["net_benefit"] is not None]
        colour, dash, marker = line
        cut = [row["cut"] for row in inner]
        panel.plot(cut, [row["net_benefit"] for row in inner], color=colour, ls=dash, marker=marker, ms=3, label=label)
        if label.startswith("recommended"):
            all_rows, cut_of_all = points[0]["net_benefit_all"], points[0]["cut"]
            prevalence = all_rows * (1 - cut_of_all) + cut_of_all
            grid = np.linspace(0, min(prevalence * 1.3, 0.95), 40)
            panel.plot(grid, prevalence - (1 - prevalence) * grid / (1 - grid), color="0.6", lw=1, label="alert all")

    def finish(panel: Any) -> None:
        panel.axhline(0, color="0.35", lw=1)
        panel.set_ylim(bottom=max(panel.get_ylim()[0], -0.03))

    return panel_by_target(rows["binned_curves"], draw, finish, "threshold probability", "net benefit")
