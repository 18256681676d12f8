"""What can be saved from the page: tables as CSV and LaTeX, figures as SVG and PDF."""

import base64
import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from conceptbridge.report.figures.registry import StudyFigure

MAX_FILES = 700_000
"""Bytes of all tables and figures to be saved that the page holds; those that no longer fit are linked instead."""
MAX_FILE = 250_000
"""Bytes of one of them, packed."""
MAX_UNPACKED = 20 * MAX_FILE
"""Bytes of a file that is packed at all: a larger one would not fit."""


class File(NamedTuple):
    """A file to be saved: ``href`` has its data, or says where it is. ``packed`` is the ending of packed data."""

    name: str
    kind: str
    about: str
    href: str
    packed: str = ""
    size: int = 0

    @property
    def beside(self) -> bool:
        """Whether the file lies beside the page, in the results' folder."""
        return self.href.startswith("../")


def files(
    tables: Path, notes: Mapping[str, str], figures: Path, drawn: Sequence[StudyFigure]
) -> dict[str, Sequence[File]]:
    """Return what can be saved, by the name of a table or figure.

    ``notes`` say what is in each table of the folder ``tables``; ``drawn`` are the figures on the page. Tables are
    packed (gzip), because they shrink to a fifth. The figures come first, so that they fit.
    """
    left = MAX_FILES
    found: dict[str, Sequence[File]] = {}
    for name, of_name in (*_of_figures(figures, drawn), *_of_tables(tables, notes)):
        kept = []
        for file, path in of_name:
            if path is None:
                kept.append(file)
                continue
            size = path.stat().st_size
            data = path.read_bytes() if size <= MAX_UNPACKED else b""
            inside = base64.b64encode(gzip.compress(data, mtime=0) if file.packed else data).decode()
            if size <= MAX_UNPACKED and len(inside) <= min(left, MAX_FILE):
                left -= len(inside)
                kept.append(file._replace(href=f"{file.href}{inside}", size=size))
            else:
                kept.append(file._replace(href=f"../{path.parent.name}/{path.name}", packed="", size=size))
        if kept:
            found[name] = kept
    return found


_Found = Iterator[tuple[str, list[tuple[File, Path | None]]]]


def _of_figures(folder: Path, drawn: Sequence[StudyFigure]) -> _Found:
    for figure in drawn:
        about = f"{figure.caption}."
        # the picture on the page is the SVG itself
        of_figure: list[tuple[File, Path | None]] = [
            (File(f"{figure.name}.svg", "SVG", about, f"#figure-{figure.name}"), None)
        ]
        pdf = folder / f"{figure.name}.pdf"
        if pdf.is_file():
            of_figure.append((File(pdf.name, "PDF", about, "data:application/pdf;base64,"), pdf))
        yield figure.name, of_figure


def _of_tables(folder: Path, notes: Mapping[str, str]) -> _Found:
    for name, note in notes.items():
        yield (
            name,
            [
                (File(path.name, kind, note, "data:application/gzip;base64,", ".gz"), path)
                for kind, path in (("CSV", folder / f"{name}.csv"), ("LaTeX", folder / f"{name}.tex"))
                if path.is_file()
            ],
        )
