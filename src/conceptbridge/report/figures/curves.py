"""Curves over local data and over tuning: AUROC by labelled local events, and by share of the tuning budget."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from conceptbridge.evaluate.schemas import RECOMMENDATION
from conceptbridge.report.case import describe, key_of
from conceptbridge.report.figures.panels import LINES, Row, panels

Key = tuple[Any, ...]


def learning(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw AUROC by local events: of local models, and of the recommended one where it is transferred."""
    chosen = _chosen(rows["comparisons"])
    curves = [row for row in rows["curves"] if row["size"] is not None]
    targets = [target for target in chosen if any(row["target"] == target for row in curves)]
    figure, axes = panels(
        [f"at {target}" for target in targets], "no learning curves: the study asks for none (learning_curve)"
    )
    for panel, target in zip(axes, targets, strict=True):
        at_target = [row for row in curves if row["target"] == target]
        recommended, reference = chosen[target]
        for line, key in zip(LINES, _drawn(at_target, target, recommended, reference), strict=False):
            points = [row for row in at_target if key_of(row) == key]
            if points:
                _draw_curve(panel, points, line)
            elif key == recommended:
                [arm] = [row for row in rows["arms"] if row["target"] == target and key_of(row) == key]
                panel.axhline(arm["auroc"], color=line[0], ls=line[1], label=describe(arm))
        for row in rows["breakeven"]:
            if row["target"] != target or key_of(row) != recommended or row["events"] is None or reference is None:
                continue
            if (row["local_embedding"], row["local_learner"]) == reference[:2]:
                _draw_break_even(panel, row)
        if not any(line.get_marker() not in ("None", "") for line in panel.get_lines()):
            panel.set_ylim(0.4, 1)  # no curve here, only the level of a transferred model
        panel.set_xscale("log")
        sizes = sorted({row["size"] for row in at_target})
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.minorticks_off()
        panel.set_xlabel("labelled local events")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17))
    if axes:
        axes[0].set_ylabel("AUROC on test rows")
    return figure


def depth(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw AUROC by share of the tuning budget: one line per embedding, the mean over sources."""
    points = [row for row in rows["curves"] if row["depth"] is not None and row["split"] == "test"]
    kinds = list(dict.fromkeys((row["target"], row["learner"], row["strategy"]) for row in points))
    figure, axes = panels(
        [f"at {target}: {learner}, {strategy}" for target, learner, strategy in kinds],
        "no tuning-depth curves: the study asks for none",
    )
    for panel, kind in zip(axes, kinds, strict=True):
        of_kind = [row for row in points if (row["target"], row["learner"], row["strategy"]) == kind]
        for (colour, dash, marker), embedding in zip(
            LINES, dict.fromkeys(row["embedding"] for row in of_kind), strict=False
        ):
            own = [row for row in of_kind if row["embedding"] == embedding]
            depths = sorted({row["depth"] for row in own})
            means = [np.mean([row["estimate"] for row in own if row["depth"] == share]) for share in depths]
            percent = [100 * share for share in depths]
            panel.plot(percent, means, color=colour, ls=dash, marker=marker, ms=4, label=embedding)
        panel.set_xlabel("share of the tuning budget (%)")
        panel.legend(loc="best")
    if axes:
        axes[0].set_ylabel("AUROC on test rows")
    return figure


def _chosen(comparisons: Sequence[Row]) -> dict[str, tuple[Key, Key | None]]:
    """Return target -> (recommended arm, reference arm)."""
    return {
        row["target"]: (key_of(row), key_of(row, "ref_") if row["ref_embedding"] is not None else None)
        for row in comparisons
        if row["question"] == RECOMMENDATION and row["metric"] == "auroc"
    }


def _drawn(curves: Sequence[Row], target: str, recommended: Key, reference: Key | None) -> list[Key]:
    """Return the arms to draw: local ones that have a curve, then the recommended one."""
    measured = list(dict.fromkeys(key_of(row) for row in curves))
    local = [key for key in ((*recommended[:2], "local", target), reference) if key in measured]
    local = local or [key for key in measured if key[3] == target and key[0] == recommended[0]][:1]
    return list(dict.fromkeys([*local, recommended]))


def _draw_curve(panel: Any, points: Sequence[Row], line: tuple[str, Any, str]) -> None:
    colour, dash, marker = line
    size, estimate, lower, upper = ([row[name] for row in points] for name in ("size", "estimate", "lower", "upper"))
    panel.fill_between(size, lower, upper, color=colour, alpha=0.13, lw=0)
    panel.plot(size, estimate, color=colour, ls=dash, marker=marker, ms=4, label=describe(points[0]))


def _draw_break_even(panel: Any, row: Row) -> None:
    panel.axvspan(row["lower"] or row["smallest"], row["upper"] or row["largest"], color="0.9", zorder=0, lw=0)
    panel.axvline(row["events"], color="0.35", lw=1)
    panel.annotate(
        f"break-even {row['events']:.0f}",
        (row["events"], 0),
        xycoords=("data", "axes fraction"),
        xytext=(3, 4),
        textcoords="offset points",
        fontsize=8,
    )
