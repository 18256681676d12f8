"""Calibration, ROC and precision-recall curves, and net benefit, in bins large enough to be shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D, blended_transform_factory
from numpy.typing import NDArray
from scipy.special import expit, logit

from conceptbridge.core.plot_style import new_figure
from conceptbridge.report.case import key_of
from conceptbridge.report.figures.panels import TOO_FEW, Line, Row, lines_by_role, panel_by_target, panels, set_title


def calibration(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the observed share by the predicted one: bins, a smooth curve with its band where there are bins enough, and
    how the predictions of the recommended arm are distributed."""
    persons = {row["site"]: row["persons"] for row in rows["sites"] if row["split"] == "test"}

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
        smooth = smooth_calibration(points, persons.get(points[0]["target"]))
        panel.plot(predicted, observed, color=colour, ls="" if smooth else dash, marker=marker, ms=4, label=label)
        if smooth is not None:
            grid, middle, lower, upper = smooth
            panel.plot(grid, middle, color=colour, ls=dash)
            if label in ("recommended", "reference"):
                panel.fill_between(grid, lower, upper, color=colour, alpha=0.13, lw=0)
        if label == "recommended" and len(points) > 2:
            _draw_distribution(panel, points, colour)

    def finish(panel: Any) -> None:
        top = min(max(panel.get_xlim()[1], panel.get_ylim()[1]), 1)
        panel.set(xlim=(0, top), ylim=(-0.14 * top, top))
        panel.axhline(0, color="0.35", lw=0.6)
        panel.plot([0, top], [0, top], color="0.6", lw=1, zorder=0)

    return panel_by_target(rows["binned_curves"], draw, finish, "predicted probability", "observed share")


Smooth = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def smooth_calibration(points: Sequence[Row], persons: int | None) -> Smooth | None:
    """Return a calibration curve from the bins of one arm: predictions (grid,), observed shares, and 95 % limits.

    It is a logistic regression of the bins' events on a restricted cubic spline of the prediction's logit, with three
    knots, on its logit alone where there are fewer than 8 bins. Bins weigh as many of the target's test ``persons`` as
    their share of the rows: no person counts more than once, so the band is wide rather than narrow. None with fewer
    than 4 bins.
    """
    if persons is None or len(points) < 4:
        return None
    share, predicted, observed = (
        np.array([row[name] for row in points], dtype=np.float64) for name in ("share", "predicted", "observed")
    )
    inside = (predicted > 0) & (predicted < 1)
    share, predicted, observed = share[inside], predicted[inside], observed[inside]
    grid = np.linspace(predicted.min(), predicted.max(), 30)
    knots = np.quantile(logit(predicted), [0.1, 0.5, 0.9]) if len(predicted) >= 8 else None
    at, on = _spline(logit(predicted), knots), _spline(logit(grid), knots)
    weight, coefficients = persons * share, np.zeros(at.shape[1])
    for _ in range(25):
        mean = expit(at @ coefficients)
        information = (at.T * (weight * mean * (1 - mean))) @ at + 1e-9 * np.eye(at.shape[1])
        step = np.linalg.solve(information, at.T @ (weight * (observed - mean)))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-8:
            break
    if not np.isfinite(coefficients).all():
        return None
    middle = on @ coefficients
    error = 1.96 * np.sqrt(np.einsum("ij,jk,ik->i", on, np.linalg.inv(information), on))
    return grid, expit(middle), expit(middle - error), expit(middle + error)


def _spline(x: NDArray[np.float64], knots: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return a column of ones, ``x``, and with three ``knots`` the restricted cubic spline's (rows, 2 or 3)."""
    columns = [np.ones_like(x), x]
    if knots is not None and knots[0] < knots[1] < knots[2]:
        low, middle, high = (np.maximum(x - knot, 0) ** 3 for knot in knots)
        width = knots[2] - knots[1]
        bent = low - middle * (knots[2] - knots[0]) / width + high * (knots[1] - knots[0]) / width
        columns.append(bent / (knots[2] - knots[0]) ** 2)
    return np.column_stack(columns)


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


def _draw_distribution(panel: Any, points: Sequence[Row], colour: str) -> None:
    """Draw the share of predictions per unit of probability, by bin, below the axis."""
    starts = np.array([row["cut"] for row in points], dtype=float)
    last = max(2 * points[-1]["predicted"] - starts[-1], starts[-1] + 1e-3)  # as far above its mean as it begins below
    edges = np.append(starts, min(last, 1))
    density = np.array([row["share"] for row in points]) / np.maximum(np.diff(edges), 1e-3)
    panel.stairs(-density / density.max(), edges, fill=True, color=colour, alpha=0.45, lw=0,
                 transform=_below(panel))  # fmt: skip


def _below(panel: Any) -> Any:
    """Return a transform whose x is the panel's and whose y runs from the axis (0) to the panel's lower edge (-1)."""
    return blended_transform_factory(panel.transData, Affine2D().scale(1, 0.12).translate(0, 0.1228) + panel.transAxes)


def net_benefit(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the net benefit by threshold, beside alerting all rows and none, with limits at the study's thresholds."""
    measured: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows["metrics"]:
        if row["threshold"] is not None and row["lower"] is not None:
            measured.setdefault((row["target"], *key_of(row)), []).append(row)

    def draw(panel: Any, points: list[Row], line: Line, label: str) -> None:
        inner = [row for row in points if row["net_benefit"] is not None]
        colour, dash, marker = line
        cut = [row["cut"] for row in inner]
        panel.plot(cut, [row["net_benefit"] for row in inner], color=colour, ls=dash, marker=marker, ms=3, label=label)
        for row in measured.get((points[0]["target"], *key_of(points[0])), []):
            panel.plot([row["threshold"]] * 2, [row["lower"], row["upper"]], color=colour, lw=2, alpha=0.5)
        if label.startswith("recommended"):
            all_rows, cut_of_all = points[0]["net_benefit_all"], points[0]["cut"]
            prevalence = all_rows * (1 - cut_of_all) + cut_of_all
            grid = np.linspace(0, min(prevalence * 1.3, 0.95), 40)
            panel.plot(grid, prevalence - (1 - prevalence) * grid / (1 - grid), color="0.6", lw=1, label="alert all")

    def finish(panel: Any) -> None:
        panel.axhline(0, color="0.35", lw=1)
        panel.set_ylim(bottom=max(panel.get_ylim()[0], -0.03))

    return panel_by_target(rows["binned_curves"], draw, finish, "threshold probability", "net benefit")
