"""Make the cohort of a task at a site: index events, labels, splits, and who was excluded at which step."""

import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conceptbridge.core.atomic_files import atomic_file, write_json, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.cohort_counts import Counts, count_parts, shown_steps
from conceptbridge.sites.memory import MEMORY_MB
from conceptbridge.sites.records import AS_RECORDED, SEX_CONCEPTS, open_records, site_database
from conceptbridge.tasks.check import cohort_file
from conceptbridge.tasks.events import make_events
from conceptbridge.tasks.prevalence import split_table
from conceptbridge.tasks.resolve import resolve_sets
from conceptbridge.tasks.set_warnings import warnings_of
from conceptbridge.tasks.splits import SPLITS, make_splits

logger = logging.getLogger(__name__)

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
#: said of a step that keeps rows by what happens after the index
LOOKS_AHEAD = " (looks ahead)"


ATTRITION = ("step", "persons", "rows", "events")
"""What is told of each step of inclusion."""


def make_cohort(
    cdm: Path,
    site: str,
    task: Mapping[str, Any],
    min_cell_count: int,
    cohort: Path,
    attrition: Path,
    splits: Path,
    threads: int = 1,
    memory_mb: int = MEMORY_MB,
    concepts: Path | None = None,
) -> None:
    """Write the cohort of ``task`` (``SCHEMA``, one row per prediction, row_id in (person_id, index_date) order).

    ``attrition`` gets persons, rows and events left after each inclusion step; counts under ``min_cell_count`` are
    blank, and so are counts that differ by so few from the next. ``splits`` gets the prevalence before the split and in
    each split (``prevalence.SCHEMA``), and ``concepts``, if given, what the concept sets match (``resolve_sets``). A
    person's index events on one day are one prediction.
    Day 0 is the index date; both ends of a window belong to it. A site without any index event has an empty cohort:
    that is a finding, not an error.

    Raises StudyError if a handed-in cohort cannot be used, or, with ``on_few_events: fail``, if the training rows have
    fewer than ``min_events`` with or without the outcome.
    """
    steps: list[tuple[str, Counts]] = []
    with site_database(cdm, threads, cohort, memory_mb) as db:
        _make_rows(db, site, task)
        _note(db, steps, "index event")
        sets = resolve_sets(db, task, min_cell_count) if concepts is not None else {}
        for step, clause in _inclusion(task):
            db.execute(f"CREATE OR REPLACE TEMP TABLE rows AS SELECT * FROM rows {clause}")
            _note(db, steps, step)
        step = make_splits(db, task["split"], task["outcome"]["days"][1])
        before = db.sql("SELECT person_id, label, split FROM rows ORDER BY person_id, index_date").to_arrow_table()
        db.execute("DELETE FROM rows WHERE split IS NULL")
        _note(db, steps, step)
        table = described(db)
        (persons,) = db.execute("SELECT count(*) FROM person").fetchall()[0]
    if task["on_few_events"] == "fail":
        _stop_if_few(table, task["min_events"], site)
    write_parquet(table, cohort)
    if concepts is not None:
        for text in warnings_of("the task", site, sets):
            logger.warning("warning: %s", text)
        write_json(sets, concepts)
    split = pc.index_in(table["split"], value_set=pa.array(SPLITS)).to_numpy()
    parts = count_parts(table["person_id"].to_numpy(), table["label"].to_numpy(), split, len(SPLITS))
    shown = shown_steps([counts for _, counts in steps], parts, persons, min_cell_count)
    with atomic_file(attrition) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(ATTRITION)
        writer.writerows((step, *counts) for (step, _), counts in zip(steps, shown, strict=True))
    one_split = task["split"].get("persons") != "returning"
    write_parquet(split_table(before, shown[-2], shown[-1], one_split, min_cell_count), splits)


def described(db: duckdb.DuckDBPyConnection) -> pa.Table:
    """Return the table ``rows`` (person_id, index_date, label, split) as a cohort, persons as of the index date."""
    return db.sql(_COHORT).to_arrow_table().cast(SCHEMA)


def _make_rows(db: duckdb.DuckDBPyConnection, site: str, task: Mapping[str, Any]) -> None:
    """Make the table ``rows`` (person_id, index_date, label, given split) of all index events."""
    index, outcome = task["index"], task["outcome"]
    if index["value"] or outcome["value"]:
        open_records(db, site, AS_RECORDED)
    make_events(db, "starts", index, site)
    given = "s.split" if index["domain"] == "cohort" else "NULL"
    if outcome["domain"] == "cohort" and outcome["file"] is None:
        unlabelled = db.execute("SELECT count(*) FROM starts WHERE label IS NULL").fetchall()[0][0]
        if unlabelled:
            raise StudyError(
                f"{cohort_file(index['file'], site)}: rows have no label, but outcome.domain is `cohort` without "
                "`file`, which reads labels from this file"
            )
        db.execute(
            f"CREATE TEMP TABLE rows AS SELECT person_id, date AS index_date, label, {given} AS split FROM starts s"
        )
        db.execute("CREATE TEMP TABLE outcomes AS SELECT person_id, date FROM starts WHERE false")
        return
    make_events(db, "outcomes", outcome, site)
    first, last = outcome["days"]
    db.execute(
        f"""
        CREATE TEMP TABLE rows AS
        SELECT s.person_id, s.date AS index_date, (count(o.date) > 0)::TINYINT AS label, {given} AS split
        FROM starts s LEFT JOIN outcomes o
          ON o.person_id = s.person_id AND o.date BETWEEN s.date + {first} AND s.date + {last}
        GROUP BY ALL
        """
    )


def _inclusion(task: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the inclusion steps after the index event: each one's name, and the SQL that keeps its rows."""
    index, outcome = task["index"], task["outcome"]
    first, last = outcome["days"]
    steps = []
    if index["domain"] == "cohort":
        steps.append(("in the person table", "WHERE person_id IN (SELECT person_id FROM person)"))
    dead = "FROM death d WHERE d.person_id = rows.person_id AND d.death_date < index_date"
    steps.append(("alive at the index", f"WHERE NOT EXISTS ({dead})"))
    if index["washout"]:
        before = f"s.date BETWEEN index_date - {index['washout']} AND index_date - 1"
        steps.append(
            (
                f"no such event in the {index['washout']} days before",
                f"WHERE NOT EXISTS (FROM starts s WHERE s.person_id = rows.person_id AND {before})",
            )
        )
    if index["period"]:
        begin, end = index["period"]
        steps.append((f"from {begin} to {end}", f"WHERE index_date BETWEEN DATE '{begin}' AND DATE '{end}'"))
    if index["occurrence"] != "all":
        order = "DESC" if index["occurrence"] == "last" else ""
        pick = f"QUALIFY row_number() OVER (PARTITION BY person_id ORDER BY index_date {order}) = 1"
        ahead = LOOKS_AHEAD if index["occurrence"] == "last" else ""
        steps.append((f"{index['occurrence']} one of the person{ahead}", pick))
    observed = "FROM observation_period p WHERE p.person_id = rows.person_id AND"
    start = f"p.observation_period_start_date + {index['prior_observation']}"
    before = f", and for {index['prior_observation']} days before" if index["prior_observation"] else ""
    steps.append(
        (
            f"under observation at the index{before}",
            f"WHERE EXISTS ({observed} index_date BETWEEN {start} AND p.observation_period_end_date)",
        )
    )
    if index["age"]:
        youngest, oldest = index["age"]
        steps.append(
            (
                f"aged {youngest} to {oldest}",
                f"WHERE EXISTS (FROM person p WHERE p.person_id = rows.person_id "
                f"AND {_AGE} BETWEEN {youngest} AND {oldest})",
            )
        )
    if index["sex"]:
        concept = next(concept for concept, sex in SEX_CONCEPTS.items() if sex == index["sex"])
        steps.append(
            (
                index["sex"],
                f"WHERE EXISTS (FROM person p WHERE p.person_id = rows.person_id AND gender_concept_id = {concept})",
            )
        )
    if outcome["washout"]:
        before = f"o.date BETWEEN index_date - {outcome['washout']} AND index_date + {first - 1}"
        steps.append(
            (
                f"without the outcome in the {outcome['washout']} days before"
                + (f", nor up to day {first - 1}{LOOKS_AHEAD}" if first > 1 else ""),
                f"WHERE NOT EXISTS (FROM outcomes o WHERE o.person_id = rows.person_id AND {before})",
            )
        )
    if task["censoring"] != "keep":
        days = task["min_time_at_risk"]
        until = last if days is None else min(last, first + days - 1)
        stays = (
            f"label = 1 OR EXISTS ({observed} index_date BETWEEN p.observation_period_start_date AND "
            f"p.observation_period_end_date - {until})"
        )
        name = "observed to the end of the outcome window" if until == last else f"observed to day {until}"
        if task["censoring"] == "drop-unless-dead":
            stays += (
                " OR EXISTS (FROM death d WHERE d.person_id = rows.person_id "
                f"AND d.death_date BETWEEN index_date AND index_date + {until})"
            )
            name += ", dead by then"
        steps.append((f"{name}, or with the outcome{LOOKS_AHEAD}", f"WHERE {stays}"))
    return steps


def _stop_if_few(table: pa.Table, min_events: int, site: str) -> None:
    training = table["label"].filter(pc.equal(table["split"], "train")).to_numpy()
    for kind, label in (("events", 1), ("rows without the outcome", 0)):
        if (training == label).sum() < min_events:
            raise StudyError(
                f"the site {site} has fewer than {min_events} {kind} among its training rows, and the task says "
                "`on_few_events: fail`; `on_few_events: report` would mark the site's cells not estimable and go on"
            )


# a birthday is a month and a day, compared as such: who is born on 29 February is a year older on 1 March; without a
# month, July is assumed
_BIRTHDAY = "CASE WHEN month_of_birth IS NULL THEN 701 ELSE month_of_birth * 100 + coalesce(day_of_birth, 1) END"
_AGE = f"greatest(year(index_date) - year_of_birth - (month(index_date) * 100 + day(index_date) < {_BIRTHDAY})::INT, 0)"
_SEX = " ".join(f"WHEN {concept} THEN '{name}'" for concept, name in SEX_CONCEPTS.items())
_COHORT = f"""
    SELECT row_number() OVER (ORDER BY person_id, index_date) - 1 AS row_id, person_id, index_date, label, split,
           CASE gender_concept_id {_SEX} ELSE 'unknown' END AS sex, {_AGE} AS age,
           coalesce(nullif(c.concept_name, ''), nullif(race_source_value, ''), 'unknown') AS race
    FROM rows JOIN person USING (person_id)
    LEFT JOIN concept c ON c.concept_id = race_concept_id AND race_concept_id <> 0
    ORDER BY row_id
"""


def _note(db: duckdb.DuckDBPyConnection, steps: list[tuple[str, Counts]], step: str) -> None:
    of_class = ", ".join(f"count(DISTINCT person_id) FILTER (label = {label})" for label in (1, 0))
    counts = f"SELECT count(DISTINCT person_id), count(*), coalesce(sum(label), 0), {of_class} FROM rows"
    steps.append((step, Counts(*np.array(db.execute(counts).fetchall()[0], dtype=np.int64)[:, None])))
