"""The style of all figures, and how they are written. It is apart so that an edit of one figure redraws no other."""

import re
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
    "svg.fonttype": "none",  # keep text as text: files are small and searchable
    "svg.hashsalt": "conceptbridge",  # the same ids in every run
    "pdf.fonttype": 42,  # letters that can be edited, as journals ask for
}

#: the files of a figure: ending -> what its metadata leave out
FORMATS: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, ``width`` by ``height`` inches. Draw on it with :data:`STYLE` in force."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write ``{name}.svg``, ``.pdf`` and ``.png``: the same figure gives the same bytes."""
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # lay out once only: it takes longer than drawing
        for ending, metadata in FORMATS.items():
            with atomic_file(folder / f"{name}.{ending}") as temporary:
                figure.savefig(temporary, format=ending, dpi=200, metadata=metadata)
                if ending == "svg":
                    temporary.write_text(rounded(temporary.read_text(encoding="utf-8")), encoding="utf-8")


def rounded(svg: str) -> str:
    """Return an SVG with two decimals in its lengths (hundredths of a point), which takes a third off its size."""
    return re.sub(r'="[^"<>]*"', lambda value: re.sub(r"(\d\.\d\d)\d+", r"\1", value[0]), svg)
