"""What figures share: the lines of their curves, panels side by side, and the arms that they name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from conceptbridge.core.plot_style import new_figure

Row = Mapping[str, Any]
Line = tuple[str, Any, str]

LINES: Sequence[Line] = (  # colours that differ for the colour-blind (Okabe and Ito), and dashes that differ in print
    ("#0072b2", "-", "o"),
    ("#d55e00", "--", "s"),
    ("#009e73", "-.", "^"),
    ("#cc79a7", ":", "D"),
    ("#000000", (0, (5, 1, 1, 1, 1, 1)), "v"),
    ("#e69f00", (0, (3, 2)), "P"),
    ("#56b4e9", (0, (1, 1)), "X"),
)
"""Colour, dash and marker of each curve."""

TOO_FEW = "too few events for a curve that may be shown"


def panels(titles: Sequence[str], without: str) -> tuple[Figure, list[Any]]:
    """Return a figure with one panel per title, at most three in a row; without any, a figure that says why."""
    across = min(max(len(titles), 1), 3)
    down = -(-max(len(titles), 1) // 3)
    figure = new_figure(3.3 * across + 0.4, 3.7 * down if titles else 0.6)
    if not titles:
        figure.text(0.5, 0.5, without, ha="center", va="center", color="0.35")
        return figure, []
    axes = list(figure.subplots(down, across, squeeze=False).ravel())
    for spare in axes[len(titles) :]:
        spare.set_visible(False)
    for panel, title in zip(axes, titles, strict=False):
        set_title(panel, title)
    return figure, axes[: len(titles)]


def set_title(axes: Any, title: str) -> None:
    """Give a panel its title."""
    axes.set_title(title, fontsize=9, fontweight="bold")


def lines_by_role(points: Sequence[Row], target: str) -> Iterator[tuple[Line, str, list[Row]]]:
    """Yield (line, label, points) of each arm of ``binned_curves`` at a target."""
    inside = [row for row in points if row["target"] == target]
    for line, role in zip(LINES, dict.fromkeys(row["role"] for row in inside), strict=False):
        yield line, role.replace("_", " "), [row for row in inside if row["role"] == role]


def panel_by_target(
    points: Sequence[Row],
    draw: Callable[[Any, list[Row], Line, str], None],
    finish: Callable[[Any], None],
    x: str,
    y: str,
) -> Figure:
    """Return a figure of ``binned_curves`` with one panel per target, where ``draw`` draws each arm."""
    targets = list(dict.fromkeys(row["target"] for row in points))
    figure, axes = panels([f"at {target}" for target in targets], TOO_FEW)
    for panel, target in zip(axes, targets, strict=True):
        for line, label, inside in lines_by_role(points, target):
            draw(panel, inside, line, label)
        finish(panel)
        panel.set_xlabel(x)
        panel.legend(loc="best", fontsize=7)
    if axes:
        axes[0].set_ylabel(y)
    return figure
