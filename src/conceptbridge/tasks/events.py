"""Find the events of a task at a site: the dates on which its index event, or its outcome, is recorded."""

from collections.abc import Mapping
from typing import Any

import duckdb

from conceptbridge.core.sql import literal
from conceptbridge.sites.cdm import DOMAINS, Domain
from conceptbridge.sites.records import MEDS_CODES, harmonised
from conceptbridge.tasks.concepts import concept_items
from conceptbridge.tasks.handed_in import handed_in

#: what a value may be short of a limit, as a share of it: conversions round, and 32-bit columns have seven digits
TOLERANCE = 1e-6
VISIT = Domain("visit_occurrence", "visit_concept_id", "visit_start_date", "visit_source_value")


def make_concepts(db: duckdb.DuckDBPyConnection, table: str, spec: Mapping[str, Any]) -> None:
    """Make ``table`` (concept_id): an event's concept set, with descendants from the site's concept_ancestor."""
    items = concept_items(spec) if spec["concepts"] else []
    db.execute("CREATE OR REPLACE TEMP TABLE items (concept_id BIGINT, descendants BOOLEAN, excluded BOOLEAN)")
    if items:
        rows = ", ".join(f"({i.concept_id}, {i.descendants}, {i.excluded})" for i in items)
        db.execute(f"INSERT INTO items VALUES {rows}")
    if spec.get("codes"):
        db.execute(f"INSERT INTO items {coded_items(spec)}")
    db.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {table} AS
        WITH resolved AS (
            SELECT concept_id, excluded FROM items
            UNION SELECT descendant_concept_id, excluded FROM items
            JOIN concept_ancestor ON ancestor_concept_id = concept_id WHERE descendants)
        SELECT concept_id FROM resolved GROUP BY concept_id HAVING NOT bool_or(excluded)
        """
    )


def coded_items(spec: Mapping[str, Any]) -> str:
    """Return SQL of the concepts of an event's ``codes`` at a MEDS site, which is one for each: its id, whether with
    descendants, and that it is not excluded. Other sites have none."""
    codes = ", ".join(map(literal, spec["codes"]))
    return (
        f"SELECT concept_id, {bool(spec['descendants'])}, false FROM concept "
        f"WHERE vocabulary_id = '{MEDS_CODES}' AND concept_code IN ({codes})"
    )


def make_events(db: duckdb.DuckDBPyConnection, table: str, spec: Mapping[str, Any], site: str) -> None:
    """Make ``table`` (person_id, date; distinct) of the events that ``spec`` asks for.

    A value is compared with the site's records (``open_records``). The table of a handed-in cohort also has the columns
    label and split, null if its file lacks them. Raises StudyError if a handed-in cohort cannot be read.
    """
    domain = spec["domain"]
    if domain == "cohort":
        db.execute(f"CREATE TEMP TABLE {table} AS {handed_in(db, spec, site)}")
        return
    if domain == "death":
        db.execute(f"CREATE TEMP TABLE {table} AS SELECT DISTINCT person_id, death_date AS date FROM death")
        return
    make_concepts(db, f"{table}_concepts", spec)
    where = f"concept_id IN (FROM {table}_concepts)"
    if domain == "visit":
        date = "coalesce(visit_end_date, visit_start_date)" if spec.get("at") == "end" else "visit_start_date"
        source = (
            f"(SELECT person_id, {date} AS date, visit_concept_id AS concept_id, visit_occurrence_id AS visit_id "
            "FROM visit_occurrence)"
        )
    elif spec["value"]:
        source = f"{domain}_records"
        where += f" AND {_value(db, spec['value'], f'{table}_concepts')}"
    else:
        d = DOMAINS[domain]
        source = (
            f"(SELECT person_id, {d.date} AS date, {d.concept} AS concept_id, visit_occurrence_id AS visit_id "
            f"FROM {d.table})"
        )
    if spec.get("codes") and domain != "observation":  # at a MEDS site every event is an observation
        make_concepts(db, f"{table}_codes", {**spec, "concepts": [], "exclude": []})
        d = DOMAINS["observation"]
        columns = "person_id, date, concept_id, visit_id"
        recorded = (
            f"SELECT {columns} FROM (SELECT person_id, {d.date} AS date, {d.concept} AS concept_id, "
            f"visit_occurrence_id AS visit_id FROM {d.table}) WHERE concept_id IN (FROM {table}_codes)"
        )
        if spec["value"]:
            recorded = f"SELECT * FROM observation_records WHERE concept_id IN (FROM {table}_codes)"
            columns = "*"
        source = f"(SELECT {columns} FROM {source} UNION ALL {recorded})"
    if spec["visits"]:
        make_concepts(db, f"{table}_visits", {"concepts": spec["visits"], "descendants": True, "exclude": []})
        where += (
            " AND (person_id, visit_id) IN (SELECT (person_id, visit_occurrence_id) FROM visit_occurrence "
            f"WHERE visit_concept_id IN (FROM {table}_visits))"
        )
    db.execute(f"CREATE TEMP TABLE {table} AS SELECT DISTINCT person_id, date FROM {source} r WHERE {where}")


def _value(db: duckdb.DuckDBPyConnection, value: Mapping[str, Any], concepts: str) -> str:
    """Return SQL of the condition on a value: in one of the states, and within limits in the same unit."""
    parts = []
    if value["states"]:
        parts.append(f"state IN ({', '.join(map(literal, value['states']))})")
    limits = [(key, value[key]) for key in ("at_least", "at_most") if value[key] is not None]
    if limits:
        asked = (
            f"SELECT concept_id, 0 AS unit_concept, lower(trim({literal(value['unit'])})) AS unit_text FROM {concepts}"
        )
        db.execute(f"CREATE TEMP TABLE {concepts}_unit AS {harmonised(asked)}")
        within = " AND ".join(_within(key, float(limit)) for key, limit in limits)
        parts.append(
            f"EXISTS (FROM {concepts}_unit a WHERE a.concept_id = r.concept_id AND a.unit = r.unit AND {within})"
        )
    return " AND ".join(parts)


def _within(key: str, limit: float) -> str:
    """Return SQL of whether a record (r) keeps a limit, compared in its own unit; ``a`` converts the limit.

    The tolerance is a millionth; where one of the two is a mass and the other an amount of substance, half of the last
    digit in which the record's unit is usually given: 126 mg/dL of glucose are 7.0 mmol/L. A bound keeps a limit if
    every number that it allows does.
    """
    own = f"(({limit!r} * a.factor + a.shift - r.shift) / r.factor)"
    rounding = (
        f"({TOLERANCE!r} * greatest(abs(r.number), abs{own}) + {TOLERANCE!r} / 1000 * (abs(a.shift) + abs(r.shift)) "
        "/ r.factor + CASE WHEN a.analyte IS NOT DISTINCT FROM r.analyte THEN 0 "
        "ELSE coalesce(r.half_digit, a.half_digit_after) / r.factor END)"
    )
    if key == "at_least":
        return f"r.number >= {own} - {rounding} AND coalesce(r.bound IN ('>', '>='), true)"
    return f"r.number <= {own} + {rounding} AND coalesce(r.bound IN ('<', '<='), true)"
