"""Draw the figures of a study from its joint tables: the same bytes for the same numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from conceptbridge.core.plot_style import STYLE, save_figure
from conceptbridge.core.read_parquet import read_table
from conceptbridge.report.figures.curves import depth, learning
from conceptbridge.report.figures.decisions import calibration, net_benefit, roc
from conceptbridge.report.figures.flow import flow
from conceptbridge.report.figures.forest import forest
from conceptbridge.report.figures.hospitals import hospitals
from conceptbridge.report.figures.importance import importance
from conceptbridge.report.figures.overlap import alignment, overlap
from conceptbridge.report.figures.panels import Row
from conceptbridge.report.figures.registry import INPUTS, StudyFigure, study_figures
from conceptbridge.report.figures.transfer import transfer_matrix

DRAW: Mapping[str, Callable[[Mapping[str, Sequence[Row]]], Figure]] = {
    "transfer": transfer_matrix,
    "forest": forest,
    "learning": learning,
    "depth": depth,
    "importance": importance,
    "calibration": calibration,
    "roc": roc,
    "net-benefit": net_benefit,
    "hospitals": hospitals,
    "flow": flow,
    "overlap": overlap,
    "alignment": alignment,
}
"""Kind of figure -> what draws it, from rows of the joint tables by name."""


def write_figures(tables: Path, folder: Path) -> None:
    """Draw every figure of the study from its joint tables as ``{name}.svg``, ``.pdf`` and ``.png``.

    A figure without data (no learning curve was asked for) says so.
    """
    joint = {name: read_table(tables / f"{name}.parquet") for name in INPUTS}
    for name, figure in figures(joint):
        save_figure(figure, folder, name)


def figures(joint: Mapping[str, pa.Table]) -> Iterator[tuple[str, Figure]]:
    """Yield (name, figure) of every figure of the study."""
    tasks, learners = (joint["arms"][name].unique().to_pylist() for name in ("task", "learner"))
    for one in study_figures(tasks, learners):
        rows = {name: _part(name, joint[name], one).to_pylist() for name in one.kind.inputs}
        with mpl.rc_context(STYLE):
            figure = DRAW[one.kind.name](rows)
        yield one.name, figure


def _part(name: str, table: pa.Table, figure: StudyFigure) -> pa.Table:
    """Return the rows of the figure's task and learner, where it has these; of all metrics the one that is drawn."""
    if name == "metrics":
        table = table.filter(pc.and_(pc.equal(table["metric"], "net_benefit"), pc.equal(table["split"], "test")))
    for column, value in (("task", figure.task), ("learner", figure.learner)):
        if value is not None:
            table = table.filter(pc.equal(table[column], value))
    return table
