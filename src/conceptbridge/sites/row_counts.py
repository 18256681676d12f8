"""Count what became of a table's rows: read, kept, dropped and repaired, with the reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.checks import Repair
from conceptbridge.sites.formats.format import Source
from conceptbridge.sites.typed import REPAIRED, UNREADABLE


@dataclass
class Counts:
    """What became of a table's rows."""

    file: str | None = None
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)


def count_rows(
    source: Source,
    skipped: Mapping[str, tuple[int, int]],
    reasons: list[tuple[str, str]],
    changes: list[Repair],
    tallies: list[Any],
) -> Counts:
    """Return the counts of a table.

    ``skipped`` are the rows of a text file that could not be split into fields: reason -> number and first line.
    ``tallies`` has one row per verdict and faults: verdict (the reason's index, -1: kept), faults, rows, and how often
    each of ``changes`` applies.
    """
    counts = Counts(file=source.place.name)
    counts.dropped = {reason: count for reason, (count, _) in skipped.items()}
    counts.read = sum(counts.dropped.values())
    for verdict, faults, rows, *changed in tallies:
        counts.read += rows
        if verdict >= 0:
            _add(counts.dropped, reasons[verdict][0], rows)
            continue
        counts.kept += rows
        for change, times in zip(changes, changed, strict=True):
            _add(counts.repaired, change.reason, times)
        for n, column in enumerate(TABLES[source.table]):
            fault = faults >> (2 * n) & 3
            if fault == UNREADABLE:
                _add(counts.repaired, f"{column} cannot be read: left empty", rows)
            if fault == REPAIRED:
                _add(counts.repaired, f"{column} is a decimal number: read as the whole one", rows)
    if source.layout and source.layout.surplus:
        unsure = any(not name for name in source.layout.columns)
        _add(
            counts.repaired,
            "it has more fields than the header, the last of them empty: they were left out"
            + (", and so were columns whose place is in doubt" if unsure else ""),
            counts.kept,
        )
    for column, header in source.repaired.items():
        _add(counts.repaired, f"{column} has the header {header}", counts.kept)
    for column, said in source.noted.items():
        _add(counts.repaired, f"{column} {said}", counts.kept)
    return counts


def _add(counts: dict[str, int], reason: str, rows: int) -> None:
    if rows:
        counts[reason] = counts.get(reason, 0) + rows
