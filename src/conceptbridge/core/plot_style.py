"""How all figures look, and how they are written; apart from them, so that a change of one figure redraws no other."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from conceptbridge.core.atomic_files import atomic_file

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",  # text stays text: small files, and the words can be searched
    "svg.hashsalt": "conceptbridge",  # ids that are the same in every run
}


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches; to be drawn on with :data:`STYLE` in force."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write ``{name}.svg`` and ``.png``: the same bytes for the same figure."""
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once: it takes longer than drawing
        for ending, metadata in (("svg", {"Date": None}), ("png", None)):
            with atomic_file(folder / f"{name}.{ending}") as temporary:
                figure.savefig(temporary, format=ending, dpi=200, metadata=metadata)
