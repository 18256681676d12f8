"""Typed CDM tables of a few rows, for tests: only the columns that matter are given, the rest is NULL."""

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.sites.cdm import TABLES

Rows = list[dict[str, Any]]
TYPES = {
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "VARCHAR": pa.string(),
}
#: a date early enough to lie before all others
LONG_AGO, FAR_AHEAD = date(1990, 1, 1), date(2030, 1, 1)


def write_cdm(folder: Path, **tables: Rows) -> Path:
    """Write every table of ``TABLES`` to ``folder``, with the rows given; persons are observed for ever unless told."""
    folder.mkdir(parents=True, exist_ok=True)
    tables.setdefault(
        "observation_period",
        [
            {
                "person_id": person["person_id"],
                "observation_period_start_date": LONG_AGO,
                "observation_period_end_date": FAR_AHEAD,
            }
            for person in tables.get("person", [])
        ],
    )
    for name, columns in TABLES.items():
        schema = pa.schema([(column, TYPES[kind]) for column, kind in columns.items()])
        rows = [{column: row.get(column) for column in columns} for row in tables.get(name, [])]
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / f"{name}.parquet")
    return folder


def person(person_id: int, born: int = 1980, **more: Any) -> dict[str, Any]:
    return {"person_id": person_id, "year_of_birth": born, "gender_concept_id": 8532, **more}


def visit(person_id: int, day: date, concept: int = 9203) -> dict[str, Any]:
    return {
        "visit_occurrence_id": person_id * 1000 + day.toordinal() % 1000,
        "person_id": person_id,
        "visit_concept_id": concept,
        "visit_start_date": day,
    }


def condition(person_id: int, day: date, concept: int, **more: Any) -> dict[str, Any]:
    return {"person_id": person_id, "condition_concept_id": concept, "condition_start_date": day, **more}


def measurement(person_id: int, day: date, concept: int, **more: Any) -> dict[str, Any]:
    return {"person_id": person_id, "measurement_concept_id": concept, "measurement_date": day, **more}


def observation(person_id: int, day: date, concept: int, **more: Any) -> dict[str, Any]:
    return {"person_id": person_id, "observation_concept_id": concept, "observation_date": day, **more}


def concept(concept_id: int, name: str) -> dict[str, Any]:
    return {"concept_id": concept_id, "concept_name": name, "vocabulary_id": "SNOMED", "standard_concept": "S"}


def read(path: Path) -> Rows:
    """Rows of a Parquet file as dictionaries."""
    rows: Rows = duckdb.read_parquet(str(path)).to_arrow_table().to_pylist()
    return rows
