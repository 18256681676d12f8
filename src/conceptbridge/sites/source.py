"""Open a table of an extract as a DuckDB relation of raw columns, whatever it is stored in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from conceptbridge.sites.cdm import ALL_TABLES
from conceptbridge.sites.formats.format import Place, Source, StoredTable, find_format
from conceptbridge.sites.typed import read_column

#: tables whose texts are names: None is one, too
_NAMES = ("concept", "concept_synonym")


def open_source(
    db: duckdb.DuckDBPyConnection, table: str, place: Place, folder: Path, reading: Mapping[str, Any]
) -> Source:
    """Open ``table``; files are unpacked into ``folder``, ``reading`` has headerless and cdm_version.

    Raises StudyError if the file is damaged or lacks a required column.
    """
    return find_format(place.format).open(db, StoredTable(table, place, place.parts or (place.file,), folder, reading))


def typed(source: Source) -> str:
    """Return a query of the source's typed columns (all that the schema declares), ``faults`` and ``position``.

    ``faults`` has two bits per column, in the schema's order, with the verdict of typed.py on the value, and then one
    bit for a row with more fields than the header.
    """
    raw, values, typed_columns, faults = [], [], [], []
    for n, (column, kind) in enumerate(ALL_TABLES[source.table].items()):
        if column not in source.columns:
            typed_columns.append(f"NULL::{kind} AS {column}")
            continue
        reading = read_column(*source.columns[column], kind, f"r{n}", f"v{n}", words=source.table in _NAMES)
        raw.append(f"{reading.raw} AS r{n}")
        values.append(f"{reading.value} AS v{n}")
        typed_columns.append(f"v{n} AS {column}")
        if reading.verdict != "0":
            faults.append(f"(({reading.verdict})::BIGINT << {2 * n})")
    raw.append(f"({source.position})::BIGINT AS position" if source.position else "NULL::BIGINT AS position")
    if source.layout and source.layout.surplus:
        width = len(source.layout.columns)
        extra = "".join(f"c{n}, " for n in range(width, width + source.layout.surplus)).removesuffix(", ")
        raw.append(f"nullif(concat({extra}), '') AS extra")
        faults.append(f"((extra IS NOT NULL)::BIGINT << {2 * len(typed_columns)})")
    return (
        f"SELECT {', '.join(typed_columns)}, {' + '.join(faults) or '0::BIGINT'} AS faults, position "
        f"FROM (SELECT *, {', '.join(values)} FROM (SELECT {', '.join(raw)} FROM {source.relation}))"
    )


def rejected(db: duckdb.DuckDBPyConnection, source: Source) -> dict[str, tuple[int, int]]:
    """Reason -> number and first line of the rows that were skipped when ``source`` was read.

    Raises StudyError if the rows after such a row cannot be trusted, or the file is in another encoding.
    """
    return find_format(source.place.format).rejected(db, source)
