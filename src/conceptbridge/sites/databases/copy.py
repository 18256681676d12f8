"""Copy the tables and columns that a study reads from a database into a folder of Parquet files."""

import logging
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from conceptbridge.core.atomic_files import atomic_folder, write_json
from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.sites.cdm import REQUIRED, TABLES, in_place_of
from conceptbridge.sites.databases.database import INFINITE, Column, Database, Session

logger = logging.getLogger(__name__)

#: what was copied, beside the tables
COPIED = "copied.json"
#: tables that can be in ``vocabulary_schema``
_VOCABULARY = ("concept", "concept_ancestor")


def copy_tables(database: Database, settings: Mapping[str, Any], out: Path) -> None:
    """Write each table of the CDM as ``out/{table}.parquet``, its rows in the database's order, and ``COPIED``.

    ``settings`` has ``service``, ``schema``, ``vocabulary_schema`` (None if the vocabulary is in the same one),
    ``without`` (tables that the database does not have) and ``as_of``. All tables are read in one transaction, of one
    state where the kind can promise that.

    Raises StudyError, naming the table, if one or a column that every row needs is missing, or is there twice.
    """
    with atomic_folder(out) as folder, database.connect(settings["service"]) as session:
        wanted = _wanted(session, settings)
        tables = {
            table: _copy(session, schema, stored, columns, folder / f"{table}.parquet")
            for table, (schema, stored, columns) in wanted.items()
        }
        about = {key: settings[key] for key in ("kind", "service", "schema", "as_of")}
        source = read_table(folder / "cdm_source.parquet").to_pylist() if "cdm_source" in tables else []
        _warn_if_later(source, settings["as_of"])
        if not session.one_state:
            logger.warning(
                "warning: tables of the kind %s are read one after the other; whether somebody wrote to them meanwhile "
                "is not known",
                settings["kind"],
            )
        about |= {"version": session.version, "one_state": session.one_state}
        write_json(about | {"cdm_source": _as_text(source), "tables": tables}, folder / COPIED)


def _wanted(session: Session, settings: Mapping[str, Any]) -> dict[str, tuple[str, str, list[Column]]]:
    """Return table -> schema, name in the database, and columns to copy."""
    schemas = dict.fromkeys(TABLES, settings["schema"])
    if settings["vocabulary_schema"]:
        schemas |= dict.fromkeys(_VOCABULARY, settings["vocabulary_schema"])
    found = {schema: session.columns(schema) for schema in dict.fromkeys(schemas.values())}
    for schema, tables in found.items():
        if not tables:
            raise StudyError(f"{_place(settings)}: there is no schema {schema}, or it has no tables")
    return {
        table: _table(table, schemas[table], found[schemas[table]], settings)
        for table in TABLES
        if table not in settings["without"]
    }


def _table(
    table: str, schema: str, found: Mapping[str, Mapping[str, str]], settings: Mapping[str, Any]
) -> tuple[str, str, list[Column]]:
    place = f"{_place(settings)}: {schema}.{table}"
    stored_names = [name for name in found if name.lower() == table]
    if len(stored_names) != 1:
        what = f"there are {len(stored_names)}, in different case; keep one" if stored_names else "there is none"
        hint = "" if stored_names else ". A table that the site does not have is named under `without`"
        raise StudyError(f"{place}: {what}{hint}")
    columns = found[stored_names[0]]
    lower = [name.lower() for name in columns]
    repaired = in_place_of(table, lower)
    result = []
    for name, kind in TABLES[table].items():
        asked = repaired.get(name, name)
        matches = [stored for stored in columns if stored.lower() == asked]
        if len(matches) > 1:
            raise StudyError(f"{place}: has the column {asked} twice, in different case; keep one")
        if matches:
            result.append(Column(matches[0], columns[matches[0]], asked, kind))
        elif name in REQUIRED[table]:
            raise StudyError(f"{place}: the column {name} is missing (found {', '.join(columns)}); every row needs it")
    if not result:
        raise StudyError(f"{place}: has none of the columns {', '.join(TABLES[table])}")
    return schema, stored_names[0], result


def _place(settings: Mapping[str, Any]) -> str:
    return f"{settings['kind']} {settings['service']}"


def _copy(session: Session, schema: str, stored: str, columns: list[Column], file: Path) -> dict[str, Any]:
    """Write one table, a batch at a time; return its number of rows and, where there are any, of infinite dates."""
    reader = session.read(schema, stored, columns)
    kept = pa.schema([pa.field(f.name, f.type) for f in reader.schema if f.name != INFINITE])
    rows = infinite = 0
    texts = [f.name for f in kept if pa.types.is_string(f.type)]  # a dictionary of numbers costs time, and space
    with pq.ParquetWriter(file, kept, compression="zstd", use_dictionary=texts) as writer:
        for batch in reader:
            rows += batch.num_rows
            if INFINITE in reader.schema.names:
                infinite += pc.sum(batch.column(INFINITE)).as_py() or 0
            writer.write_batch(pa.RecordBatch.from_arrays([batch.column(f.name) for f in kept], schema=kept))
    logger.info("%s.%s: %d rows", schema, stored, rows)
    return {"rows": rows} | ({"rows_with_an_infinite_date": infinite} if infinite else {})


def _as_text(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: str(value) if isinstance(value, date) else value for key, value in row.items()} for row in rows]


def _warn_if_later(source: list[dict[str, Any]], as_of: str) -> None:
    """Warn where the database says that it is newer than the state that the study asks for."""
    for row in source:
        for column in ("source_release_date", "cdm_release_date"):
            day = row.get(column) or row.get(f"{column}time")
            day = day.date() if isinstance(day, datetime) else day
            if isinstance(day, date) and day > date.fromisoformat(as_of):
                logger.warning("warning: cdm_source: %s is %s, after as_of (%s)", column, day, as_of)
