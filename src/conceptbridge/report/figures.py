"""The figures of a study, drawn from its joint tables: the same bytes for the same numbers."""

from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from conceptbridge.files import whole_file

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text: small files, and the words can be searched
    "svg.hashsalt": "conceptbridge",  # ids that are the same in every run
}
COLOURS = "viridis"  # even steps of lightness: readable in grey and by the colour-blind
LOWEST, HIGHEST = 0.5, 1.0


def write_figures(arms: pa.Table, folder: Path) -> None:
    """Draw every figure of the study from its table ``arms`` as ``{name}.svg`` and ``.png``."""
    for name, _, part in transfer_parts(arms):
        figure = transfer_matrix(part)
        for ending, metadata in [("svg", {"Date": None}), ("png", None)]:
            with whole_file(folder / f"{name}.{ending}") as temporary, mpl.rc_context(STYLE):
                figure.savefig(temporary, format=ending, dpi=200, metadata=metadata)


def transfer_parts(arms: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    """Yield (file name without ending, caption, its part of ``arms``) of every transfer matrix."""
    for task, learner in product(*(pc.unique(arms[name]).to_pylist() for name in ("task", "learner"))):
        part = arms.filter(pc.and_(pc.equal(arms["task"], task), pc.equal(arms["learner"], learner)))
        yield f"transfer-{task}-{learner}", f"Transfer matrix of task {task}, learner {learner}", part


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
