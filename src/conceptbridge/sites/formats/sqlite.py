"""SQLite: a database in one file, read row by row."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import identifier
from conceptbridge.sites.cdm import ALL_TABLES, in_place_of
from conceptbridge.sites.formats.format import Format, Place, Source, StoredTable, relation_source
from conceptbridge.sites.formats.parquet import scan

if TYPE_CHECKING:
    import duckdb

#: rows in memory at once
BATCH = 100_000


class SQLite(Format):
    """Columns without types: a table is copied as text, and types are read later."""

    name = "sqlite"
    title = "SQLite"
    suffixes = (".sqlite", ".sqlite3", ".db")
    holds = "tables"

    def recognises(self, file: Path) -> bool:
        """Whether the file begins as an SQLite database does."""
        with file.open("rb") as start:
            return start.read(16) == b"SQLite format 3\0"

    def members(self, file: Path) -> Iterable[tuple[str, str]]:
        """The names of tables and views."""
        try:
            with sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True) as db:
                names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
            db.close()
        except sqlite3.Error as error:
            raise StudyError(f"{file}: this SQLite file cannot be opened: {error}; copy it again") from error
        return [(name, name) for name in names]

    def open(self, db: "duckdb.DuckDBPyConnection", stored: StoredTable) -> Source:
        """Copy the table's columns to ``folder`` and open the copy."""
        copy = stored.folder / f"{stored.table}.sqlite.parquet"
        _copy(stored.table, stored.place, copy)
        return relation_source(db, stored.table, stored.place, scan([copy]), "file_row_number", True)


def _copy(table: str, place: Place, target: Path) -> None:
    """Write a table as text. SQLite has no dates: what the numbers of a date column are is decided later."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with sqlite3.connect(f"{place.file.absolute().as_uri()}?mode=ro", uri=True) as base:
            names = [row[1] for row in base.execute(f"PRAGMA table_info({identifier(place.member)})")]
            timed = in_place_of(table, [name.lower() for name in names])
            kinds = ALL_TABLES[table] | dict.fromkeys(timed.values(), "DATE")
            wanted = {n: kinds[n.lower()] for n in names if n.lower() in kinds}
            cursor = base.execute(
                f"SELECT {', '.join(_as_text(identifier(n), kind) for n, kind in wanted.items()) or 'NULL'} "
                f"FROM {identifier(place.member)}"
            )
            schema = pa.schema([(name, pa.string()) for name in wanted])
            with pq.ParquetWriter(target, schema) as writer:
                while rows := cursor.fetchmany(BATCH):
                    columns = list(zip(*rows, strict=True))[: len(wanted)]
                    writer.write_table(pa.table([pa.array(c, pa.string()) for c in columns], schema=schema))
        base.close()
    except sqlite3.Error as error:
        raise StudyError(f"{place}: this SQLite table cannot be read: {error}; copy the file again") from error


def _as_text(name: str, kind: str) -> str:
    text = f"CAST({name} AS TEXT)"
    if kind in ("BIGINT", "INTEGER", "DOUBLE"):
        return text
    # text that a program took for numbers: 65363002.0
    whole = f"typeof({name}) = 'real' AND abs({name}) < {2**53} AND {name} = CAST({name} AS INTEGER)"
    return f"CASE WHEN {whole} THEN CAST(CAST({name} AS INTEGER) AS TEXT) ELSE {text} END"
