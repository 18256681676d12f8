"""An OMOP CDM extract becomes typed Parquet, every row accounted for."""

import logging
from pathlib import Path
from typing import Any

import duckdb

from conceptbridge.errors import StudyError
from conceptbridge.files import whole_folder, write_json
from conceptbridge.sites.cdm import DOMAINS, REQUIRED, TABLES
from conceptbridge.sites.extract import table_files

logger = logging.getLogger(__name__)

NULLS = ["", "NULL", "null", "\\N", "NA", "#N/A"]


def ingest(extract: Path, cdm: Path, quality: Path, threads: int = 1) -> None:
    """Read the CDM tables in the folder ``extract`` and write each of ``cdm.TABLES`` to ``cdm/{table}.parquet``.

    A table that the extract lacks is written empty. A row is dropped, and counted in ``quality`` under its reason,
    when a required column is absent or unreadable, when its person is not in the person table, or when it repeats
    another row in full.

    Raises StudyError when the extract has no person table or no persons, or a table lacks a required column.
    """
    files = table_files(extract)
    if "person" not in files:
        raise StudyError(
            f"{extract}: no person table (person.parquet, PERSON.csv, person.csv.gz ...) is in this folder"
        )
    report: dict[str, Any] = {"tables": {}}
    with duckdb.connect(config={"threads": threads}) as db, whole_folder(cdm) as folder:
        for table in TABLES:
            try:
                counts = _ingest_table(db, table, files.get(table), folder / f"{table}.parquet")
            except (duckdb.IOException, duckdb.InvalidInputException) as error:
                fault = str(error).splitlines()[0]
                raise StudyError(f"{files[table]}: cannot be read as a {table} table: {fault}") from error
            report["tables"][table] = counts
            logger.info("%s: %s rows read, %s kept", table, counts["read"], counts["kept"])
        if report["tables"]["person"]["kept"] == 0:
            raise StudyError(f"{files['person']}: no person with a person_id and a year_of_birth is in this table")
        report |= _describe(db)
    write_json(report, quality)


def _ingest_table(db: duckdb.DuckDBPyConnection, table: str, file: Path | None, target: Path) -> dict[str, Any]:
    """Make the typed ``table`` from ``file``, write it to ``target`` and return its row counts."""
    columns = TABLES[table]
    if file is None:
        db.execute(f"CREATE TABLE {table} ({', '.join(f'{c} {t}' for c, t in columns.items())})")
        db.execute(f"COPY {table} TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
        return {"file": None, "read": 0, "kept": 0, "dropped": {}}
    source = _scan(db, file)
    present = {str(row[0]).lower(): str(row[0]) for row in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    for column in REQUIRED[table]:
        if column not in present:
            raise StudyError(f"{file}: the column {column} is missing; found {', '.join(present)}")
    typed = ", ".join(
        f'{_cast(present[name], kind)} AS "{name}"' if name in present else f'NULL::{kind} AS "{name}"'
        for name, kind in columns.items()
    )
    reasons = [(f"{c} is absent or unreadable", f"{c} IS NULL") for c in REQUIRED[table]]
    if "person_id" in columns and table != "person":
        reasons.append(("its person is not in the person table", "person_id NOT IN (SELECT person_id FROM person)"))
    case = " ".join(f"WHEN {condition} THEN {n}" for n, (_, condition) in enumerate(reasons))
    db.execute(f"CREATE OR REPLACE TABLE raw AS SELECT {typed} FROM {source}")
    read = _count(db, "raw")
    verdict = f"CASE {case} ELSE -1 END" if case else "-1"
    db.execute(f"CREATE OR REPLACE TABLE judged AS SELECT *, {verdict} AS reason FROM raw")
    dropped = {
        reasons[n][0]: rows
        for n, rows in db.execute(
            "SELECT reason, count(*) FROM judged WHERE reason >= 0 GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    }
    order = sorted(columns, key=lambda column: column != "person_id")
    db.execute(
        f"CREATE TABLE {table} AS SELECT DISTINCT * EXCLUDE reason FROM judged WHERE reason = -1 "
        f"ORDER BY {', '.join(order)}"
    )
    kept = _count(db, table)
    repeated = read - sum(dropped.values()) - kept
    if repeated:
        dropped["it repeats another row"] = repeated
    db.execute(f"COPY {table} TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    return {"file": file.name, "read": read, "kept": kept, "dropped": dropped}


def _scan(db: duckdb.DuckDBPyConnection, file: Path) -> str:
    name = str(file).replace("'", "''")
    if file.suffix.lower() == ".parquet":
        return f"read_parquet('{name}')"
    nulls = ", ".join(f"'{n}'" for n in NULLS)
    # every field as text: what a column means is decided by the schema, never guessed from its first rows
    return f"read_csv('{name}', header=true, all_varchar=true, nullstr=[{nulls}], quote='\"', escape='\"')"


def _cast(column: str, kind: str) -> str:
    quoted = '"' + column.replace('"', '""') + '"'
    if kind == "DATE":
        # a timestamp's date, and 20240131 as well as 2024-01-31
        compact = f"try_strptime(CAST({quoted} AS VARCHAR), '%Y%m%d')"
        return f"coalesce(TRY_CAST(TRY_CAST({quoted} AS TIMESTAMP) AS DATE), TRY_CAST({compact} AS DATE))"
    return f"TRY_CAST({quoted} AS {kind})"


def _count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def _describe(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    events = " UNION ALL BY NAME ".join(
        f"SELECT '{name}' AS domain, {d.concept} AS concept_id FROM {d.table}" for name, d in DOMAINS.items()
    )
    rows = db.execute(
        f"""
        SELECT domain, count(*), avg((coalesce(concept_id, 0) = 0)::INT),
               avg((concept_id IN (SELECT concept_id FROM concept WHERE concept_name <> '') AND concept_id <> 0)::INT)
        FROM ({events}) GROUP BY domain ORDER BY domain
        """
    ).fetchall()
    return {
        "persons": _count(db, "person"),
        "visits": _count(db, "visit_occurrence"),
        "events": {
            domain: {"rows": n, "unmapped_share": round(unmapped, 6), "named_share": round(named or 0, 6)}
            for domain, n, unmapped, named in rows
        },
    }
