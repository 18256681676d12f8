"""Open a table of an extract as a DuckDB relation of raw columns, whatever it is stored in."""

import sqlite3
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import identifier, literal
from conceptbridge.sites.cdm import REQUIRED, TABLES, in_place_of
from conceptbridge.sites.extract import Place
from conceptbridge.sites.layout import Layout, read_layout
from conceptbridge.sites.typed import read_column

#: a file with more rows than this that do not match the header is not read at all
MAX_REJECTED = 1_000_000

MORE_FIELDS = "it has more fields than the header"
_REJECTIONS = {
    "TOO MANY COLUMNS": MORE_FIELDS,
    "MISSING COLUMNS": "it has fewer fields than the header",
    "UNQUOTED VALUE": "a quote in it is neither closed nor doubled",
}
_BATCH = 100_000
# DuckDB ignores surplus fields that are NULL; here no field is NULL, since typed.py reads the spellings of NULL
_NO_NULL = "\x01"


@dataclass(frozen=True)
class Source:
    """A raw table: ``columns`` maps a CDM column to its SQL and DuckDB type; ``position`` numbers its rows."""

    table: str
    place: Place
    relation: str
    columns: dict[str, tuple[str, str]]
    position: str | None
    layout: Layout | None = None
    repaired: dict[str, str] = field(default_factory=dict)


def open_source(
    db: duckdb.DuckDBPyConnection, table: str, place: Place, folder: Path, reading: Mapping[str, Any]
) -> Source:
    """Open ``table``; files are unpacked into ``folder``, ``reading`` has headerless and cdm_version.

    Raises StudyError if the file is damaged or lacks a required column.
    """
    file, kind = place.file, place.kind
    if place.member and kind in ("parquet", "text"):
        file = _unpack(place, folder)
    if kind == "text":
        return _text_source(db, table, place, file, reading)
    if kind == "duckdb":
        relation, position = _attach(db, place)
    else:
        if kind == "sqlite":
            file = _copy_sqlite(table, place, folder / f"{table}.sqlite.parquet")
        relation, position = _parquet(place, file)
    described = db.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    # DuckDB renames the second of two columns whose names differ only in case
    same = (
        Counter(name.lower() for name in pq.read_schema((place.parts or (file,))[0]).names)
        if kind == "parquet"
        else Counter()
    )
    columns: dict[str, tuple[str, str]] = {}
    repaired = in_place_of(table, [str(name).strip().lower() for name, *_ in described])
    timed = {time: day for day, time in repaired.items()}
    for name, stored, *_ in described:
        column = timed.get(name.strip().lower(), name.strip().lower())
        if column in TABLES[table]:
            if column in columns or same[column] > 1:
                raise StudyError(f"{place}: has the column {column} twice, in different case; keep one")
            columns[column] = (identifier(name), stored)
    for column in REQUIRED[table]:
        if column not in columns:
            names = ", ".join(str(row[0]).lower() for row in described if row[0] != "file_row_number")
            raise StudyError(f"{place}: the column {column} is missing (found {names}); export it, every row needs it")
    return Source(table, place, relation, columns, position, repaired=repaired)


def typed(source: Source) -> str:
    """Return a query of the source's typed columns (all that the schema declares), ``faults`` and ``position``.

    ``faults`` has two bits per column, in the schema's order, with the verdict of typed.py on the value, and then one
    bit for a row with more fields than the header.
    """
    raw, values, typed_columns, faults = [], [], [], []
    for n, (column, kind) in enumerate(TABLES[source.table].items()):
        if column not in source.columns:
            typed_columns.append(f"NULL::{kind} AS {column}")
            continue
        reading = read_column(*source.columns[column], kind, f"r{n}", f"v{n}")
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
    """Return reason -> number and first line of the text file's rows that were skipped when it was read.

    Raises StudyError if the rows after such a row cannot be trusted, or the file is in another encoding.
    """
    faults = db.execute(
        """
        SELECT error_type::VARCHAR, file_id, line, any_value(csv_line) FROM reject_errors
        GROUP BY ALL ORDER BY 2, 3, 1
        """
    ).fetchall()
    counts: Counter[str] = Counter()
    first: dict[str, int] = {}
    seen = set()
    for kind, file, line, content in faults:
        if kind == "INVALID ENCODING":
            raise StudyError(f"{source.place}: line {line} is not UTF-8; export the table in UTF-8")
        if kind == "UNQUOTED VALUE" and "\n" in str(content).rstrip("\r\n"):
            raise StudyError(
                f"{source.place}: rows run together from line {line} on: a quote opens there and is not closed, or the "
                "file mixes line ends; export with doubled quotes inside quoted fields, and one kind of line end"
            )
        if kind not in _REJECTIONS:
            raise StudyError(f"{source.place}: line {line} cannot be read ({kind.lower()}); export the table again")
        if (file, line) not in seen:
            seen.add((file, line))
            counts[_REJECTIONS[kind]] += 1
            first.setdefault(_REJECTIONS[kind], line)
    if sum(counts.values()) >= MAX_REJECTED:
        raise StudyError(
            f"{source.place}: a million rows do not match the header (the first is line {min(first.values())}); "
            "export the table again"
        )
    return {reason: (count, first[reason]) for reason, count in counts.items()}


def _text_source(
    db: duckdb.DuckDBPyConnection, table: str, place: Place, file: Path, reading: Mapping[str, Any]
) -> Source:
    files = place.parts or (file,)
    layouts = [read_layout(f, table, bool(reading.get("headerless")), reading.get("cdm_version")) for f in files]
    # quotes may happen to occur in one part only
    is_quoted = any(layout.quoted for layout in layouts)
    layouts = [replace(layout, quoted=is_quoted) for layout in layouts]
    layout = layouts[0]
    for part, other in zip(files, layouts, strict=True):
        if other != layout:
            raise StudyError(
                f"{part}: its header, delimiter or number of fields differs from {files[0].name}; export all parts of "
                "the table in the same way"
            )
    width = len(layout.columns) + layout.surplus
    names = ", ".join(f"'c{n}': 'VARCHAR'" for n in range(width))
    quote = "'\"'" if layout.quoted else "''"
    db.execute("DROP TABLE IF EXISTS reject_errors")
    db.execute("DROP TABLE IF EXISTS reject_scans")
    relation = (
        f"read_csv({_list(files)}, auto_detect=false, columns={{{names}}}, header=false, skip={int(layout.header)}, "
        f"delim={literal(layout.delimiter)}, quote={quote}, escape={quote}, encoding='{layout.encoding}', "
        f"nullstr='{_NO_NULL}', max_line_size=16777216, strict_mode=true, "
        f"null_padding=false, ignore_errors=true, store_rejects=true, rejects_limit={MAX_REJECTED})"
    )
    columns = {name: (f"c{n}", "VARCHAR") for n, name in enumerate(layout.columns) if name in TABLES[table]}
    return Source(table, place, relation, columns, None, layout, layout.repaired)


def _list(files: Iterable[Path]) -> str:
    return f"[{', '.join(map(literal, files))}]"


def _parquet(place: Place, file: Path) -> tuple[str, str]:
    """Return the relation of a Parquet file, or of all parts of a table, and SQL of a row's number in it."""
    files = place.parts or (file,)
    position = "file_row_number"
    if place.parts:
        before, first = [0], None
        for part in files:
            try:
                footer = pq.read_metadata(part)
            except (OSError, pa.ArrowException) as error:
                raise StudyError(f"{part}: cannot be read as Parquet ({error}); copy or export it again") from error
            schema = footer.schema.to_arrow_schema()
            if not schema.equals(first or schema):
                raise StudyError(
                    f"{part}: its columns or their types differ from {files[0].name}; export all parts of the table in "
                    "the same way"
                )
            first = schema
            before.append(before[-1] + footer.num_rows)
        position = f"file_row_number + {before}[file_index::BIGINT + 1]"
    return f"read_parquet({_list(files)}, binary_as_string=true, file_row_number=true)", position


def _attach(db: duckdb.DuckDBPyConnection, place: Place) -> tuple[str, str | None]:
    alias = identifier(str(place.file))
    db.execute(f"ATTACH IF NOT EXISTS {literal(place.file)} AS {alias} (READ_ONLY)")
    schema, name = place.member.split(".", 1)
    kinds = db.execute(
        "SELECT table_type FROM information_schema.tables "
        "WHERE table_catalog = ? AND table_schema = ? AND table_name = ?",
        [str(place.file), schema, name],
    ).fetchall()
    return f"{alias}.{identifier(schema)}.{identifier(name)}", "rowid" if kinds == [("BASE TABLE",)] else None


def _unpack(place: Place, folder: Path) -> Path:
    target = folder / Path(place.member).name
    try:
        with zipfile.ZipFile(place.file) as archive, archive.open(place.member) as packed, target.open("wb") as out:
            while block := packed.read(1 << 24):
                out.write(block)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise StudyError(f"{place}: cannot be unpacked ({error}); make the zip again, without a password") from error
    return target


def _copy_sqlite(table: str, place: Place, target: Path) -> Path:
    """Copy an SQLite table as text; what SQLite has as a number in a date column is seconds since 1970."""
    try:
        with sqlite3.connect(f"{place.file.absolute().as_uri()}?mode=ro", uri=True) as base:
            names = [row[1] for row in base.execute(f"PRAGMA table_info({identifier(place.member)})")]
            timed = in_place_of(table, [name.lower() for name in names])
            kinds = TABLES[table] | dict.fromkeys(timed.values(), "DATE")
            wanted = {n: kinds[n.lower()] for n in names if n.lower() in kinds}
            cursor = base.execute(
                f"SELECT {', '.join(_sqlite_text(identifier(n), kind) for n, kind in wanted.items()) or 'NULL'} "
                f"FROM {identifier(place.member)}"
            )
            schema = pa.schema([(name, pa.string()) for name in wanted])
            with pq.ParquetWriter(target, schema) as writer:
                while rows := cursor.fetchmany(_BATCH):
                    columns = list(zip(*rows, strict=True))[: len(wanted)]
                    writer.write_table(pa.table([pa.array(c, pa.string()) for c in columns], schema=schema))
        base.close()
    except sqlite3.Error as error:
        raise StudyError(f"{place}: this SQLite table cannot be read: {error}; copy the file again") from error
    return target


def _sqlite_text(name: str, kind: str) -> str:
    if kind != "DATE":
        return f"CAST({name} AS TEXT)"
    seconds = f"date({name}, 'unixepoch')"
    return (
        f"CASE WHEN typeof({name}) = 'real' THEN {seconds} "
        f"WHEN typeof({name}) = 'integer' AND length({name}) <> 8 THEN {seconds} ELSE CAST({name} AS TEXT) END"
    )
