"""The figures of a study, drawn from its joint tables: the same bytes for the same numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from conceptbridge.core.atomic_files import atomic_file
from conceptbridge.core.plot_style import STYLE
from conceptbridge.report.answers import ARM, describe

COLOURS = "viridis"  # even steps of lightness: readable in grey and by the colour-blind
LINES = [  # colours that differ for the colour-blind (Okabe and Ito), and dashes that differ in print
    ("#0072b2", "-", "o"),
    ("#d55e00", "--", "s"),
    ("#009e73", "-.", "^"),
    ("#cc79a7", ":", "D"),
    ("#000000", (0, (5, 1, 1, 1, 1, 1)), "v"),
    ("#e69f00", (0, (3, 2)), "P"),
    ("#56b4e9", (0, (1, 1)), "X"),
]
LOWEST, HIGHEST = 0.5, 1.0
INPUTS = ("arms", "comparisons", "curves", "breakeven", "points", "overlap", "alignment")
"""The joint tables that figures are drawn from."""

BY_TASK = {
    "learning": "Learning curves and break-even",
    "depth": "Tuning depth",
    "calibration": "Calibration",
    "roc": "ROC and precision-recall curves",
    "net-benefit": "Net benefit",
    "overlap": "Overlap of vocabularies",
}
"""Figures that each task has one of: ``{name}-{task}``."""

Row = Mapping[str, Any]


def write_figures(tables: Path, folder: Path) -> None:
    """Draw every figure of the study from its joint tables as ``{name}.svg`` and ``.png``.

    A figure without data (no learning curve was asked for) says so.
    """
    joint = {name: pq.read_table(tables / f"{name}.parquet") for name in INPUTS}
    for name, _, figure in figures(joint):
        with mpl.rc_context(STYLE):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once: it takes longer than the drawing
        for ending, metadata in [("svg", {"Date": None}), ("png", None)]:
            with atomic_file(folder / f"{name}.{ending}") as temporary, mpl.rc_context(STYLE):
                figure.savefig(temporary, format=ending, dpi=200, metadata=metadata)


def figures(joint: Mapping[str, pa.Table]) -> Iterator[tuple[str, str, Figure]]:
    """Yield (file name without ending, caption, figure) of every figure."""
    for name, caption, part in transfer_parts(joint["arms"]):
        with mpl.rc_context(STYLE):
            figure = transfer_matrix(part)
        yield name, caption, figure
    draw: dict[str, Callable[[Mapping[str, list[Row]]], Figure]] = {
        "learning": learning,
        "depth": depth,
        "calibration": calibration,
        "roc": roc,
        "net-benefit": net_benefit,
        "overlap": overlap,
    }
    for task in pc.unique(joint["arms"]["task"]).to_pylist():
        rows = {
            name: table.filter(pc.equal(table["task"], task)).to_pylist()
            for name, table in joint.items()
            if "task" in table.column_names
        }
        for name, caption in BY_TASK.items():
            with mpl.rc_context(STYLE):
                figure = draw[name](rows)
            yield f"{name}-{task}", f"{caption}, task {task}", figure
    with mpl.rc_context(STYLE):
        figure = alignment(joint["alignment"].to_pylist())
    yield "alignment", "Alignment of names the source lacks", figure


def transfer_parts(arms: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    """Yield (file name without ending, caption, its part of ``arms``) of every transfer matrix."""
    for task, learner in product(*(pc.unique(arms[name]).to_pylist() for name in ("task", "learner"))):
        part = arms.filter(pc.and_(pc.equal(arms["task"], task), pc.equal(arms["learner"], learner)))
        yield f"transfer-{task}-{learner}", f"Transfer matrix of task {task}, learner {learner}", part


def learning(rows: Mapping[str, list[Row]]) -> Figure:
    """Draw AUROC by local events: local models, and the recommended one where it is borrowed, with the break-even."""
    chosen = _chosen(rows["comparisons"])
    curves = [row for row in rows["curves"] if row["size"] is not None]
    targets = [target for target in chosen if any(row["target"] == target for row in curves)]
    figure, panels = _panels(targets, "no learning curves: the study asks for none (target_sizes)")
    for axes, target in zip(panels, targets, strict=True):
        recommended, reference = chosen[target]
        there = list(dict.fromkeys(_arm(row) for row in curves if row["target"] == target))
        local = [key for key in (_local(recommended, target), reference) if key in there]
        local = local or [key for key in there if key[3] == target and key[0] == recommended[0]][:1]
        drawn = list(dict.fromkeys([*local, recommended]))
        for (colour, dash, marker), key in zip(LINES, drawn, strict=False):
            points = [row for row in curves if row["target"] == target and _arm(row) == key]
            label = describe(dict(zip(ARM, key, strict=True)))
            if points:
                size = [row["size"] for row in points]
                axes.fill_between(
                    size,
                    [row["lower"] for row in points],
                    [row["upper"] for row in points],
                    color=colour,
                    alpha=0.13,
                    lw=0,
                )
                axes.plot(
                    size, [row["estimate"] for row in points], color=colour, ls=dash, marker=marker, ms=4, label=label
                )
            elif key == recommended:
                [arm] = [row for row in rows["arms"] if row["target"] == target and _arm(row) == key]
                axes.axhline(arm["auroc"], color=colour, ls=dash, label=label)
        for row in rows["breakeven"]:
            if row["target"] != target or _arm(row) != recommended or row["events"] is None or reference is None:
                continue
            if (row["local_embedding"], row["local_learner"]) == reference[:2]:
                low, high = row["lower"] or row["smallest"], row["upper"] or row["largest"]
                axes.axvspan(low, high, color="0.9", zorder=0, lw=0)
                axes.axvline(row["events"], color="0.35", lw=1)
                axes.annotate(
                    f"break-even {row['events']:.0f}",
                    (row["events"], 0),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, 4),
                    textcoords="offset points",
                    fontsize=8,
                )
        if not any(line.get_marker() not in ("None", "") for line in axes.get_lines()):
            axes.set_ylim(0.4, 1)  # no curve here, a borrowed model's level alone
        axes.set_xscale("log")
        sizes = sorted({row["size"] for row in curves if row["target"] == target})
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_title(f"at {target}", fontsize=9, fontweight="bold")
        axes.set_xlabel("labelled local events")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17))
    if targets:
        panels[0].set_ylabel("AUROC on test rows")
    return figure


def depth(rows: Mapping[str, list[Row]]) -> Figure:
    """Draw AUROC by share of the tuning budget: a line an embedding, its mean over sources."""
    points = [row for row in rows["curves"] if row["depth"] is not None and row["split"] == "test"]
    kinds = list(dict.fromkeys((row["target"], row["learner"], row["strategy"]) for row in points))
    figure, panels = _panels([kind[0] for kind in kinds], "no tuning-depth curves: the study asks for none")
    for axes, kind in zip(panels, kinds, strict=True):
        of_kind = [row for row in points if (row["target"], row["learner"], row["strategy"]) == kind]
        for (colour, dash, marker), embedding in zip(
            LINES, dict.fromkeys(row["embedding"] for row in of_kind), strict=False
        ):
            own = [row for row in of_kind if row["embedding"] == embedding]
            depths = sorted({row["depth"] for row in own})
            means = [np.mean([row["estimate"] for row in own if row["depth"] == at]) for at in depths]
            axes.plot([100 * at for at in depths], means, color=colour, ls=dash, marker=marker, ms=4, label=embedding)
        axes.set_title(f"at {kind[0]}: {kind[1]}, {kind[2]}", fontsize=9, fontweight="bold")
        axes.set_xlabel("share of the tuning budget (%)")
        axes.legend(loc="best")
    if kinds:
        panels[0].set_ylabel("AUROC on test rows")
    return figure


def calibration(rows: Mapping[str, list[Row]]) -> Figure:
    """Draw the observed share by the predicted one, in bins large enough to be shown."""

    def draw(axes: Any, points: list[Row], line: tuple[Any, ...], label: str) -> None:
        wide: dict[int, list[Row]] = {}
        for row in points:
            wide.setdefault(row["wide_bin"], []).append(row)
        share = [[row["share"] for row in inside] for inside in wide.values()]
        predicted, observed = (
            [
                np.average([row[name] for row in inside], weights=w)
                for inside, w in zip(wide.values(), share, strict=True)
            ]
            for name in ("predicted", "observed")
        )
        colour, dash, marker = line
        axes.plot(predicted, observed, color=colour, ls=dash, marker=marker, ms=4, label=label)

    def finish(axes: Any) -> None:
        top = max(axes.get_xlim()[1], axes.get_ylim()[1])
        axes.plot([0, top], [0, top], color="0.6", lw=1, zorder=0)

    return _by_role(rows["points"], draw, finish, "predicted probability", "observed share")


def roc(rows: Mapping[str, list[Row]]) -> Figure:
    """Draw ROC (above) and precision-recall curves (below) at cuts with enough rows on both sides."""
    targets = list(dict.fromkeys(row["target"] for row in rows["points"]))
    if not targets:
        return _panels([], "too few events for a curve that may be shown")[0]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.3 * len(targets) + 0.4, 6.6), layout="constrained")
        FigureCanvasAgg(figure)
        panels: Any = figure.subplots(2, len(targets), squeeze=False)
        for column, target in enumerate(targets):
            for row in (0, 1):
                axes = panels[row][column]
                for line, role, points in _roles(rows["points"], target):
                    recall = [1 - 0.0, *[one["sensitivity"] for one in points[1:]], 0.0]
                    other = (
                        [1.0, *[1 - one["specificity"] for one in points[1:]], 0.0]
                        if row == 0
                        else [one["ppv"] for one in points]
                    )
                    x, y = (other, recall) if row == 0 else (recall[: len(points)], other)
                    axes.plot(x, y, color=line[0], ls=line[1], label=role)
                axes.set(xlim=(0, 1), ylim=(0, 1))
                axes.set_xlabel("1 - specificity" if row == 0 else "sensitivity (recall)")
                if column == 0:
                    axes.set_ylabel("sensitivity" if row == 0 else "PPV (precision)")
            panels[0][column].plot([0, 1], [0, 1], color="0.6", lw=1, zorder=0)
            panels[0][column].set_title(f"at {target}", fontsize=9, fontweight="bold")
            panels[0][column].legend(loc="lower right", fontsize=7)
    return figure


def net_benefit(rows: Mapping[str, list[Row]]) -> Figure:
    """Draw the net benefit by threshold, beside alerting all rows and none."""

    def draw(axes: Any, points: list[Row], line: tuple[Any, ...], label: str) -> None:
        inner = [row for row in points if row["net_benefit"] is not None]
        colour, dash, marker = line
        cut = [row["cut"] for row in inner]
        axes.plot(cut, [row["net_benefit"] for row in inner], color=colour, ls=dash, marker=marker, ms=3, label=label)
        if label.startswith("recommended"):
            share = points[0]["net_benefit_all"], points[0]["cut"]
            prevalence = share[0] * (1 - share[1]) + share[1]
            grid = np.linspace(0, min(prevalence * 1.3, 0.95), 40)
            axes.plot(grid, prevalence - (1 - prevalence) * grid / (1 - grid), color="0.6", lw=1, label="alert all")

    def finish(axes: Any) -> None:
        axes.axhline(0, color="0.35", lw=1)
        axes.set_ylim(bottom=max(axes.get_ylim()[0], -0.03))

    return _by_role(rows["points"], draw, finish, "threshold probability", "net benefit")


def overlap(rows: Mapping[str, list[Row]]) -> Figure:
    """Draw what share of the target's rows' tokens the source has, by key and by text."""
    pairs = rows["overlap"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 1.2 + 0.3 * max(len(pairs), 1)), layout="constrained")
        FigureCanvasAgg(figure)
        axes: Any = figure.subplots()
        for (colour, _, marker), (name, label) in zip(
            LINES,
            [("shared_keys_by_rows", "same concept and state"), ("shared_texts_by_rows", "same text")],
            strict=False,
        ):
            values = [100 * row[name] if row[name] is not None else np.nan for row in pairs]
            axes.plot(values, range(len(pairs)), color=colour, marker=marker, ls="", label=label)
        axes.set_yticks(range(len(pairs)), [f"{row['source']} has of {row['target']}'s" for row in pairs])
        axes.invert_yaxis()
        axes.set(xlim=(0, 100), xlabel="share of the target's tokens, weighted by training rows (%)")
        axes.grid(axis="x", color="0.9")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2 - 1 / max(len(pairs), 4)), ncols=2)
    return figure


def alignment(pairs: Sequence[Row]) -> Figure:
    """Draw how near the texts that a source lacks are to one that it has, by embedding."""
    found = [row for row in pairs if row["nearest_unshared"] is not None]
    if not found:
        return _panels([], "no embedding with meaning in this study, or every text is shared")[0]
    directions = list(dict.fromkeys((row["source"], row["target"]) for row in found))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 1.4 + 0.3 * len(directions)), layout="constrained")
        FigureCanvasAgg(figure)
        axes: Any = figure.subplots()
        for (colour, _, marker), embedding in zip(
            LINES, dict.fromkeys(row["embedding"] for row in found), strict=False
        ):
            own = [row for row in found if row["embedding"] == embedding]
            places = [directions.index((row["source"], row["target"])) for row in own]
            values = [row["nearest_unshared"] for row in own]
            axes.plot(values, places, color=colour, marker=marker, ls="", label=embedding)
        axes.set_yticks(range(len(directions)), [f"{target}'s, seen from {source}" for source, target in directions])
        axes.invert_yaxis()
        axes.set_xlabel("cosine of an unshared text to the nearest text of the source, mean")
        axes.grid(axis="x", color="0.9")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


Key = tuple[Any, ...]


def _arm(row: Row, prefix: str = "") -> Key:
    return tuple(row[prefix + name] for name in ARM)


def _local(arm: Key, target: str) -> Key:
    return (*arm[:2], "local", target)


def _chosen(comparisons: Sequence[Row]) -> dict[str, tuple[Key, Key | None]]:
    """Return target -> (recommended arm, reference arm)."""
    return {
        row["target"]: (_arm(row), _arm(row, "ref_") if row["ref_embedding"] is not None else None)
        for row in comparisons
        if row["question"] == "recommendation" and row["metric"] == "auroc"
    }


def _panels(titles: Sequence[str], without: str) -> tuple[Figure, list[Any]]:
    """Return a figure with a panel a title, at most three a row; without any, one that says why."""
    with mpl.rc_context(STYLE):
        across = min(max(len(titles), 1), 3)
        down = -(-max(len(titles), 1) // 3)
        figure = Figure(figsize=(3.3 * across + 0.4, 3.7 * down if titles else 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        if not titles:
            figure.text(0.5, 0.5, without, ha="center", va="center", color="0.35")
            return figure, []
        found = list(figure.subplots(down, across, squeeze=False).ravel())
    for spare in found[len(titles) :]:
        spare.set_visible(False)
    return figure, found[: len(titles)]


def _roles(points: Sequence[Row], target: str) -> Iterator[tuple[tuple[Any, ...], str, list[Row]]]:
    """Yield (line, label, points) of the arms that are drawn at a target."""
    inside = [row for row in points if row["target"] == target]
    for line, role in zip(LINES, dict.fromkeys(row["role"] for row in inside), strict=False):
        yield line, role.replace("_", " "), [row for row in inside if row["role"] == role]


def _by_role(
    points: Sequence[Row],
    draw: Callable[[Any, list[Row], tuple[Any, ...], str], None],
    finish: Callable[[Any], None],
    x: str,
    y: str,
) -> Figure:
    targets = list(dict.fromkeys(row["target"] for row in points))
    figure, panels = _panels(targets, "too few events for a curve that may be shown")
    for axes, target in zip(panels, targets, strict=True):
        for line, label, inside in _roles(points, target):
            draw(axes, inside, line, label)
        finish(axes)
        axes.set_title(f"at {target}", fontsize=9, fontweight="bold")
        axes.set_xlabel(x)
        axes.legend(loc="best", fontsize=7)
    if panels:
        panels[0].set_ylabel(y)
    return figure


def transfer_matrix(arms: pa.Table) -> Figure:
    """Draw the AUROC on test rows of one task and learner as a heat map.

    ``arms`` is the part of the joint table with one task and one learner. A row of the figure is an embedding
    and a strategy, a column a target and the source that its model comes from; a cell is blank where the
    strategy has no such source, and "n.e." where the arm is not estimable. Colours run from 0.5 to 1.
    """
    cells = arms.select(["embedding", "strategy", "source", "target", "auroc"]).to_pylist()
    rows = list(dict.fromkeys((cell["embedding"], cell["strategy"]) for cell in cells))
    targets = list(dict.fromkeys(cell["target"] for cell in cells))
    columns = sorted(
        {(cell["target"], cell["source"]) for cell in cells},
        key=lambda pair: (targets.index(pair[0]), pair[0] != pair[1], pair[1]),  # own model first
    )
    values = np.full((len(rows), len(columns)), np.nan)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.6 + 0.72 * len(columns), 1.9 + 0.27 * len(rows)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        colours = mpl.colormaps[COLOURS]
        for cell in cells:
            row = rows.index((cell["embedding"], cell["strategy"]))
            column = columns.index((cell["target"], cell["source"]))
            values[row, column] = np.nan if cell["auroc"] is None else cell["auroc"]
            _write_cell(axes, row, column, cell["auroc"])
        image = axes.imshow(values, cmap=colours, vmin=LOWEST, vmax=HIGHEST, aspect="auto")
        _label(axes, rows, columns)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, extend="min" if (values < LOWEST).any() else "neither")
        bar.set_label("AUROC on test rows")
        bar.outline.set_visible(False)
    return figure


def _write_cell(axes: Any, row: int, column: int, value: float | None) -> None:
    if value is None:
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color="0.92", linewidth=0))
        text, ink = "n.e.", "0.35"
    else:
        text, ink = f"{value:.2f}", "white" if value < LOWEST + 0.42 * (HIGHEST - LOWEST) else "black"
    axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8.5)


def _label(axes: Any, rows: list[tuple[str, str]], columns: list[tuple[str, str]]) -> None:
    """Name rows and columns, and part the embeddings and the targets by white lines."""
    axes.set_yticks(range(len(rows)), [f"{embedding}, {strategy}" for embedding, strategy in rows])
    sources = ["own" if source == target else source for target, source in columns]
    axes.set_xticks(range(len(columns)), sources, rotation=35, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("embedding, strategy")
    axes.set_title("the model comes from", fontsize=9, loc="left", pad=8)
    for place, (first, second) in enumerate(pairwise(rows)):
        axes.axhline(place + 0.5, color="white", linewidth=4 if first[0] != second[0] else 0.8)
    for place, (left, right) in enumerate(pairwise(columns)):
        axes.axvline(place + 0.5, color="white", linewidth=8 if left[0] != right[0] else 0.8)
    for target in dict.fromkeys(target for target, _ in columns):
        places = [place for place, column in enumerate(columns) if column[0] == target]
        axes.annotate(
            f"at {target}",
            (float(np.mean(places)), len(rows) - 0.5),
            xytext=(0, -8),
            textcoords="offset points",
            ha="center",
            va="top",
            fontweight="bold",
            annotation_clip=False,
        )
