"""The cohort of a task at a site: index events, labels, splits, and who was left out at which step."""

import csv
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from conceptbridge.files import whole_file, write_parquet
from conceptbridge.records import SEX_CONCEPTS, descendants, open_site
from conceptbridge.sites.cdm import DOMAINS, Domain

SCHEMA = pa.schema(
    [
        ("row_id", pa.int64()),
        ("person_id", pa.int64()),
        ("index_date", pa.date32()),
        ("label", pa.int8()),
        ("split", pa.string()),  # train | validation | test
        ("sex", pa.string()),
        ("age", pa.int16()),
        ("race", pa.string()),
    ]
)

_VISIT = Domain("visit_occurrence", "visit_concept_id", "visit_start_date", "visit_source_value")


def make_cohort(
    cdm: Path,
    site: str,
    task: Mapping[str, Any],
    min_cell_count: int,
    cohort: Path,
    attrition: Path,
    threads: int = 1,
) -> None:
    """Write the cohort of ``task`` (``SCHEMA``, one prediction a row, row_id in (person_id, index_date) order).

    ``attrition`` gets persons, rows and events left after each inclusion step; counts under ``min_cell_count`` are
    left blank. A person's rows on one day are one prediction. Day 0 is the index date; both ends of a window belong
    to it. A site without any index event has an empty cohort: that is a finding, not an error.
    """
    steps: list[tuple[str, int, int, int]] = []
    with duckdb.connect(config={"threads": threads}) as db:
        open_site(db, cdm, site)
        index, outcome = task["index"], task["outcome"]
        first, last = outcome["days"]
        db.execute(f"CREATE TABLE starts AS {_events(db, index)}")
        db.execute(f"CREATE TABLE outcomes AS {_events(db, outcome)}")
        db.execute(
            f"""
            CREATE TABLE rows AS
            SELECT s.person_id, s.date AS index_date, (count(o.date) > 0)::TINYINT AS label
            FROM starts s LEFT JOIN outcomes o
              ON o.person_id = s.person_id AND o.date BETWEEN s.date + {first} AND s.date + {last}
            GROUP BY ALL
            """
        )
        _note(db, steps, "index event")
        if index["occurrence"] == "first":
            _keep(db, "QUALIFY row_number() OVER (PARTITION BY person_id ORDER BY index_date) = 1")
            _note(db, steps, "first one of the person")
        observed = "p.person_id = rows.person_id AND index_date BETWEEN p.observation_period_start_date AND"
        _keep(db, f"WHERE EXISTS (FROM observation_period p WHERE {observed} p.observation_period_end_date)")
        _note(db, steps, "under observation at the index")
        if task["censoring"] == "drop":
            until = f"{observed} p.observation_period_end_date - {last}"
            _keep(db, f"WHERE label = 1 OR EXISTS (FROM observation_period p WHERE {until})")
            _note(db, steps, "observed to the end of the outcome window, or with the outcome")
        _split(db, task["split"], last)
        _note(db, steps, "in the one split of the person, outcome window within its period")
        table = db.sql(_cohort_sql()).to_arrow_table().cast(SCHEMA)
    write_parquet(table, cohort)
    with whole_file(attrition) as temporary:
        _write_attrition(steps, min_cell_count, temporary)


def _events(db: duckdb.DuckDBPyConnection, spec: Mapping[str, Any]) -> str:
    d = _VISIT if spec["domain"] == "visit" else DOMAINS[spec["domain"]]
    concepts = ", ".join(map(str, descendants(db, spec["concepts"], spec["descendants"])))
    return f"SELECT DISTINCT person_id, {d.date} AS date FROM {d.table} WHERE {d.concept} IN ({concepts})"


def _keep(db: duckdb.DuckDBPyConnection, clause: str) -> None:
    db.execute(f"CREATE OR REPLACE TABLE rows AS SELECT * FROM rows {clause}")


def _split(db: duckdb.DuckDBPyConnection, split: Mapping[str, Any], window_end: int) -> None:
    """Add the column ``split``; whoever has rows in several periods belongs to the last of them."""
    if split["by"] == "hash":
        train, validation, _ = split["shares"]
        # the same person falls in the same split whatever rows are added
        u = f"('0x' || substr(md5('{split['seed']}:' || person_id), 1, 8))::UBIGINT / 4294967296.0"
        rule = f"CASE WHEN {u} < {train} THEN 'train' WHEN {u} < {train + validation} THEN 'validation' ELSE 'test' END"
        db.execute(f"CREATE OR REPLACE TABLE rows AS SELECT *, {rule} AS split FROM rows")
        return
    starts = {name: date.fromisoformat(split[name]) for name in ("validation", "test")}
    embargo = {name: start - timedelta(days=window_end) for name, start in starts.items()}
    db.execute(
        f"""
        CREATE OR REPLACE TABLE rows AS
        SELECT * EXCLUDE period, ['train', 'validation', 'test'][period] AS split FROM (
            SELECT *, CASE WHEN index_date < DATE '{starts["validation"]}' THEN 1
                           WHEN index_date < DATE '{starts["test"]}' THEN 2 ELSE 3 END AS period
            FROM rows
            QUALIFY period = max(period) OVER (PARTITION BY person_id))
        WHERE period = 3 OR index_date <
              CASE period WHEN 1 THEN DATE '{embargo["validation"]}' ELSE DATE '{embargo["test"]}' END
        """
    )


def _cohort_sql() -> str:
    sex = " ".join(f"WHEN {concept} THEN '{name}'" for concept, name in SEX_CONCEPTS.items())
    born = "make_date(year_of_birth, coalesce(month_of_birth, 7), least(coalesce(day_of_birth, 1), 28))"
    return f"""
        SELECT row_number() OVER (ORDER BY person_id, index_date) - 1 AS row_id, person_id, index_date, label, split,
               CASE gender_concept_id {sex} ELSE 'unknown' END AS sex,
               greatest(date_diff('year', {born}, index_date)
                        - (strftime(index_date, '%m%d') < strftime({born}, '%m%d'))::INT, 0) AS age,
               coalesce(nullif(c.concept_name, ''), nullif(race_source_value, ''), 'unknown') AS race
        FROM rows JOIN person USING (person_id)
        LEFT JOIN concept c ON c.concept_id = race_concept_id AND race_concept_id <> 0
        ORDER BY row_id
    """


def _note(db: duckdb.DuckDBPyConnection, steps: list[tuple[str, int, int, int]], step: str) -> None:
    counts = "SELECT count(DISTINCT person_id), count(*), coalesce(sum(label), 0) FROM rows"
    persons, rows, events = (int(n) for n in db.execute(counts).fetchall()[0])
    steps.append((step, persons, rows, events))


def _write_attrition(steps: list[tuple[str, int, int, int]], min_cell_count: int, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "persons", "rows", "events"])
        for step, *counts in steps:
            writer.writerow([step, *("" if 0 < n < min_cell_count else n for n in counts)])
