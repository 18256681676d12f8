"""A small MEDS data set, for tests: subjects with a birth and a sex, visits, findings, laboratory values."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.sites.cdm import DOMAINS

VISIT, FLU, COUGH, LAB, FEVER = "VISIT//ED", "DX//J11", "FINDING//COUGH", "LAB//CRP//mg/L", "FINDING//FEVER"
CODES = [
    (VISIT, "Emergency visit", None),
    (FLU, "Influenza", ["DX//J09-J11"]),
    ("DX//J09-J11", "Influenza and pneumonia", ["DX//X"]),
    ("DX//X", "Respiratory disease", ["DX//J09-J11"]),  # a circle
    (COUGH, "Cough", None),
    (FEVER, "Fever", None),
    (LAB, None, None),
]
SPLITS = ("train", "tuning", "held_out")


def write_meds(folder: Path, subjects: int = 6, seed: int = 0, shards: int = 2, **changed: Any) -> Path:
    """Subjects 1, 2 ... in turn in the splits. A cough and a high CRP go with influenza on the day after the visit."""
    rng = np.random.default_rng(seed)
    events: list[dict[str, Any]] = []

    def add(subject: int, time: datetime | None, code: str, number: float | None = None) -> None:
        events.append({"subject_id": subject, "time": time, "code": code, "numeric_value": number})

    for subject in range(1, subjects + 1):
        add(subject, None, "GENDER//F" if subject % 2 else "GENDER//M")
        add(subject, datetime(1950 + subject % 40, 3, 1), "MEDS_BIRTH")
        visit = datetime(2015, 1, 1, 10) + timedelta(days=int(rng.integers(1000)))
        ill = rng.random() < 0.4
        add(subject, visit, VISIT)
        if rng.random() < (0.9 if ill else 0.1):
            add(subject, visit + timedelta(hours=1), COUGH)
        add(subject, visit + timedelta(hours=2), LAB, float(np.float32(rng.normal(60 if ill else 20, 5))))
        if rng.random() < 0.5:
            add(subject, visit + timedelta(hours=3), FEVER)
        if ill:
            add(subject, visit + timedelta(days=1), FLU)
    for extra in changed.get("more", []):
        add(*extra)
    schema = pa.schema(
        [
            ("subject_id", pa.int64()),
            ("time", pa.timestamp("us")),
            ("code", pa.string()),
            ("numeric_value", pa.float32()),
        ]
    )
    events.sort(key=lambda event: (event["subject_id"], event["time"] is not None, event["time"] or datetime.min))
    for shard in range(shards):
        rows = [event for event in events if event["subject_id"] % shards == shard]
        write(pa.Table.from_pylist(rows, schema=schema), folder / f"data/train/{shard}.parquet")
    codes = [dict(zip(("code", "description", "parent_codes"), row, strict=True)) for row in CODES]
    code_schema = pa.schema(
        [("code", pa.string()), ("description", pa.string()), ("parent_codes", pa.list_(pa.string()))]
    )
    write(pa.Table.from_pylist(codes, schema=code_schema), folder / "metadata/codes.parquet")
    ids = range(1, subjects + 1)
    splits = {"subject_id": pa.array(ids, pa.int64()), "split": [SPLITS[n % 3] for n in ids]}
    write(pa.table(splits), folder / "metadata/subject_splits.parquet")
    (folder / "metadata/dataset.json").write_text(json.dumps({"dataset_name": "tiny", "meds_version": "0.4.1"}))
    return folder


def omop_as_meds(extract: Path, folder: Path) -> Path:
    """Write an OMOP extract (Parquet) as MEDS, as the usual tools do: a code is VOCABULARY/CODE of the concept."""

    def of(table: str) -> str:
        return f"'{extract / table}.parquet'"

    events = [
        f"""SELECT person_id AS subject_id, make_timestamp(year_of_birth, coalesce(month_of_birth, 1),
                   coalesce(day_of_birth, 1), 0, 0, 0) AS time, 'MEDS_BIRTH' AS code, NULL::FLOAT AS numeric_value
            FROM {of("person")}""",
        f"""SELECT person_id, NULL, 'Gender/' || CASE gender_concept_id WHEN 8507 THEN 'M' ELSE 'F' END, NULL
            FROM {of("person")}""",
        f"SELECT person_id, visit_start_date, 'Visit/' || visit_concept_id, NULL FROM {of('visit_occurrence')}",
    ]
    if (extract / "death.parquet").is_file():
        events.append(f"SELECT person_id, death_date, 'MEDS_DEATH', NULL FROM {of('death')}")
    for d in DOMAINS.values():
        if (extract / f"{d.table}.parquet").is_file():
            number = "value_as_number" if d.table == "measurement" else "NULL"
            events.append(
                f"""SELECT person_id, {d.date}, coalesce(vocabulary_id || '/' || concept_code, 'None/' || {d.concept}),
                           {number} FROM {of(d.table)} LEFT JOIN {of("concept")} ON concept_id = {d.concept}"""
            )
    (folder / "data").mkdir(parents=True)
    (folder / "metadata").mkdir()
    union = " UNION ALL ".join(f"({event})" for event in events)
    duckdb.sql(f"COPY ({union} ORDER BY subject_id, time NULLS FIRST) TO '{folder}/data/0.parquet'")
    code = "vocabulary_id || '/' || concept_code AS code"
    codes = f"SELECT {code}, any_value(concept_name) AS description FROM {of('concept')}"
    duckdb.sql(f"COPY ({codes} GROUP BY ALL ORDER BY code) TO '{folder}/metadata/codes.parquet'")
    return folder


def write(table: pa.Table, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
