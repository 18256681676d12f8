"""A site's clinical records of all domains as one relation, each with its concept, state and value."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from conceptbridge.core.sql import literal
from conceptbridge.sites.cdm import DOMAINS, TABLES
from conceptbridge.sites.memory import MEMORY_MB, database

#: concept ids from here on are a site's own; so are negative ones, such as ids that did not fit into 32 bits
LOCAL = 2_000_000_000
#: the vocabulary of codes of a MEDS data set, which are local concepts
MEDS_CODES = "MEDS"


def is_local(concept: str) -> str:
    """Return SQL that is true for a site's own concept."""
    return f"({concept} >= {LOCAL} OR {concept} < 0)"


#: OMOP value concepts (SNOMED and LOINC answers) with a state of their own
VALUE_STATES = {
    "present": (4181412, 45879438, 4188539, 45877994),
    "absent": (4132135, 45884086, 4188540, 45878245),
    "positive": (9191, 45884084, 4126681, 45877985),
    "negative": (9189, 45878583, 9190, 45880296),
    "low": (4267416,),
    "normal": (4069590,),
    "high": (4328749,),
}
#: the same in words, for value concepts of other vocabularies and for values as text
NAME_STATES = {
    "yes": "present",
    "no": "absent",
    "detected": "positive",
    "not detected": "negative",
    **{state: state for state in VALUE_STATES},
}
#: state of a coded value whose concept has no name
UNNAMED = "unnamed value"

RANGE_STATES = ("low", "normal", "high")
#: states of a value without a reference range, and the training quantiles at which they are cut
BIN_STATES = ("very low", "low", "middle", "high", "very high")
BIN_CUTS = (0.1, 0.3, 0.7, 0.9)
BINNED = "binned"

#: OMOP operators of a number that is a bound and no value: a laboratory writes < 0.04 where it finds nothing
OPERATORS = {4171756: "<", 4171754: "<=", 4172704: ">", 4171755: ">="}

SEX_CONCEPTS = {8507: "male", 8532: "female"}
#: kinds of visits besides the visit concepts (``visit_types``)
ANY_VISIT, NO_VISIT = -2, -1
VISIT_TYPE = f"CASE WHEN {is_local('v.visit_concept_id')} THEN {LOCAL} ELSE coalesce(v.visit_concept_id, 0) END"
#: where fewer diagnoses have a known status, the site does not record it
MIN_STATUS_SHARE = 0.01
#: age band -> first and last year of age
AGE_BANDS = {
    "0 to 4 years": (0, 4),
    "5 to 17 years": (5, 17),
    "18 to 44 years": (18, 44),
    "45 to 64 years": (45, 64),
    "65 to 79 years": (65, 79),
    "80 years or more": (80, 200),
}

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

#: no roll-up: every concept stands for itself
AS_RECORDED = {"drug": "none", "condition": 0}

#: UCUM units as OMOP has them: concepts, spellings, and the unit that their values are converted to
UNITS = "units.csv"
#: conversion of a unit of mass for one analyte, by a pattern of the concept's name (factors: SI conversion tables)
ANALYTES = "analytes.csv"

#: numbers processed at once: bounds the memory; not a setting, so that the same rows give the same bytes
CHUNK = 2_000_000


@contextmanager
def site_database(
    cdm: Path, threads: int, near: Path, memory_mb: int = MEMORY_MB
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a database in memory with a view of each typed table in ``cdm``; it spills next to the file ``near``.

    Of the ``memory_mb`` of its job the database may hold half. Raises StudyError where that is too little.
    """
    near.parent.mkdir(parents=True, exist_ok=True)
    spill = near.parent / f".{near.name}.spill"
    with database(threads, memory_mb, spill) as db:
        for table in TABLES:
            db.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet({literal(str(cdm / f'{table}.parquet'))})")
        yield db


@contextmanager
def joins_as_written(db: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Plan queries so that the table behind each JOIN is held in memory, and the rows before it pass by.

    DuckDB expects few rows of long conditions on records, and would hold the records.
    """
    db.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
    try:
        yield
    finally:
        db.execute("RESET disabled_optimizers")


def open_records(db: duckdb.DuckDBPyConnection, site: str, roll_up: Mapping[str, Any]) -> None:
    """Make a view of the records of each domain (``condition_records`` ...) and of all of them (``records``).

    Columns: domain, person_id, date, visit_id, concept_id, source (the record's own text), state, value and unit
    (harmonised), value_concept, local_value (the state is the name of a site's own concept), condition_status, and what
    a limit is compared with (``MEASURED``). A number with an operator (``OPERATORS``) is a bound: it has no value, and
    a state of its range only if every number that it allows has that state.
    ``state`` is ``binned`` if only training rows can decide where the cuts fall. Records without concept and text are
    left out. The table ``rolled`` (domain, concept_id, ancestor) has what ``roll_up`` makes of a concept: drugs become
    their ingredients, conditions their ancestors that many levels up, if the site's concept_ancestor has any.
    """
    _value_states(db)
    _measured_units(db)
    for name, d in DOMAINS.items():
        status = "condition_status_concept_id" if name == "condition" else "NULL::BIGINT"
        base = (
            f"'{name}' AS domain, person_id, {d.date} AS date, visit_occurrence_id AS visit_id, "
            f"coalesce({d.concept}, 0) AS concept_id, trim({d.source}) AS source"
        )
        if d.values:
            select = f"SELECT {base}, {_valued(db, name)}"
        else:
            select = (
                f"SELECT {base}, 'present' AS state, NULL::DOUBLE AS value, NULL::VARCHAR AS unit, "
                f"NULL::BIGINT AS value_concept, false AS local_value, {status} AS condition_status, {_NOT_MEASURED} "
                f"FROM {d.table}"
            )
        db.execute(f"CREATE VIEW {name}_records AS FROM ({select}) WHERE concept_id <> 0 OR source <> ''")
    db.execute("CREATE VIEW records AS " + " UNION ALL ".join(f"FROM {name}_records" for name in DOMAINS))
    _rolled(db, roll_up)


def visit_types(db: duckdb.DuckDBPyConnection, conditions: str, visits: str) -> dict[int, tuple[int, int]]:
    """Return type of visit -> how many diagnoses its visits have, and how many of them with a known status.

    ``conditions`` and ``visits`` are tables in SQL. A type is a visit concept: 0 without one, ``LOCAL`` all of the
    site's own, ``NO_VISIT`` for diagnoses that belong to no visit of the visit table. Where no diagnosis has a status,
    all are of ``ANY_VISIT``.
    """
    known = "count(*) FILTER (coalesce(condition_status_concept_id, 0) <> 0)"
    rows, with_status = db.execute(f"SELECT count(*), {known} FROM {conditions}").fetchall()[0]
    if not with_status:
        return {ANY_VISIT: (int(rows), 0)} if rows else {}
    counts = db.execute(
        f"""
        SELECT CASE WHEN v.visit_occurrence_id IS NULL THEN {NO_VISIT} ELSE {VISIT_TYPE} END, count(*), {known}
        FROM {conditions} c LEFT JOIN {visits} v
          ON v.visit_occurrence_id = c.visit_occurrence_id AND v.person_id = c.person_id
        GROUP BY 1 ORDER BY 1
        """
    )
    return {int(kind): (int(rows), int(with_status)) for kind, rows, with_status in counts.fetchall()}


def records_status(diagnoses: int, with_status: int) -> bool:
    """Say whether visits of a type record what a diagnosis is: at least 1 in 100 of its diagnoses has a status."""
    return with_status >= MIN_STATUS_SHARE * diagnoses and with_status > 0


def concept_key(site: str) -> str:
    """Return SQL of a concept's key: local or unmapped concepts of two hospitals never have the same key."""
    here = literal(site)
    return (
        f"CASE WHEN {is_local('concept_id')} THEN {here} || '/' || concept_id "
        f"WHEN concept_id = 0 THEN {here} || '/' || domain || ':' || source ELSE concept_id::VARCHAR END"
    )


def in_order(db: duckdb.DuckDBPyConnection, query: str, width: int) -> Iterator[list[NDArray[Any]]]:
    """Yield the rows of ``query`` in ascending order, in pieces of about ``CHUNK``: an array for each column.

    The first column has whole numbers without nulls; those with the same quotient by ``width`` are in one piece. A
    null in another one, of floating-point numbers, is NaN. Out of core: the database sorts, on disk if needed.
    """
    kept: list[NDArray[Any]] = []
    for batch in db.sql(f"FROM ({query}) ORDER BY ALL").to_arrow_reader(1 << 20):
        columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        kept = [np.concatenate(pair) for pair in zip(kept, columns, strict=True)] if kept else columns
        # where a piece ends depends only on the numbers, not on the batches
        while len(kept[0]) >= CHUNK and kept[0][-1] >= (end := (kept[0][CHUNK - 1] // width + 1) * width):
            cut = int(np.searchsorted(kept[0], end))
            yield [column[:cut] for column in kept]
            kept = [column[cut:] for column in kept]
    if kept and len(kept[0]):
        yield kept


def first_of_each(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where sorted ``values`` differ from the one before."""
    first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


def _value_states(db: duckdb.DuckDBPyConnection) -> None:
    by_concept = " ".join(
        f"WHEN value_concept IN ({', '.join(map(str, ids))}) THEN '{state}'" for state, ids in VALUE_STATES.items()
    )
    by_name = " ".join(f"WHEN '{name}' THEN '{state}'" for name, state in NAME_STATES.items())
    used = " UNION ".join(
        f"SELECT value_as_concept_id FROM {d.table} WHERE value_as_concept_id <> 0"
        for d in DOMAINS.values()
        if d.values
    )
    db.execute(
        f"""
        CREATE TABLE value_states AS
        SELECT value_concept, {is_local("value_concept")} AND state = name AS local_value, state FROM (
            SELECT value_concept, name,
                   CASE {by_concept} ELSE CASE name {by_name} ELSE
                        coalesce(nullif(name, ''), '{UNNAMED}') END END AS state
            FROM (SELECT used.value_concept, lower(trim(
                         regexp_replace(concept_name, ' \\((qualifier value|finding)\\)$', ''))) AS name
                  FROM ({used}) AS used(value_concept) LEFT JOIN concept ON concept_id = value_concept))
        """
    )


def _measured_units(db: duckdb.DuckDBPyConnection) -> None:
    """Make the table of (concept, unit as recorded) in use, with the unit that its values are converted to."""
    here = Path(__file__)
    for name, file in (("units", UNITS), ("analytes", ANALYTES)):
        db.execute(f"CREATE TABLE {name} AS FROM read_csv({literal(str(here.with_name(file)))}, header=true)")
    used = " UNION ".join(
        f"SELECT coalesce({d.concept}, 0) AS concept_id, {UNIT_CONCEPT}, {UNIT_TEXT} FROM {d.table} "
        "WHERE value_as_number IS NOT NULL"
        for d in DOMAINS.values()
        if d.values
    )
    db.execute(f"CREATE TABLE measured_units AS {harmonised(used)}")


def harmonised(used: str) -> str:
    """Return SQL of what the units of ``used`` (concept_id, unit_concept, unit_text) are converted to.

    It adds unit, known, factor and shift: a value becomes value * factor + shift. A unit that the tables do not know
    stays as it is; its values are kept apart. Where the conversion is one of an analyte, ``analyte`` is its row in the
    table, ``half_digit`` half of the last digit in which values are usually given before it, and ``half_digit_after``
    after it, both in the new unit.
    """
    return f"""
        WITH used AS ({used}), known AS (
            SELECT concepts.concept, NULL AS spelling, canonical, factor, shift
            FROM units, unnest(string_split(concepts::VARCHAR, '|')) AS concepts(concept)
            UNION ALL SELECT NULL, texts.spelling, canonical, factor, shift
            FROM units, unnest(string_split(texts, '|')) AS texts(spelling)
        ), generic AS (
            SELECT used.*, lower(c.concept_name) AS name, k.canonical, k.factor, k.shift
            FROM used LEFT JOIN concept c USING (concept_id)
            LEFT JOIN known k ON k.concept = unit_concept::VARCHAR OR (unit_concept = 0 AND k.spelling = unit_text)
        )
        SELECT concept_id, unit_concept, unit_text,
               coalesce(a.canonical, g.canonical, CASE WHEN unit_concept <> 0 THEN 'concept ' || unit_concept
                                                       ELSE unit_text END) AS unit,
               g.canonical IS NOT NULL AS known,
               coalesce(g.factor, 1) * coalesce(a.factor, 1) AS factor,
               coalesce(g.shift, 0) * coalesce(a.factor, 1) + coalesce(a.shift, 0) AS shift,
               a.rowid AS analyte, a.digit * a.factor / 2 AS half_digit, a.canonical_digit / 2 AS half_digit_after
        FROM generic g
        LEFT JOIN analytes a ON a.unit = g.canonical AND regexp_matches(name, '\\b(' || a.analyte || ')\\b')
        -- a name can match two analytes: the one it begins with, then the first of the table
        QUALIFY row_number() OVER (PARTITION BY concept_id, unit_concept, unit_text
                                   ORDER BY NOT regexp_matches(name, '^(' || a.analyte || ')\\b'), a.rowid) = 1
    """


UNIT_CONCEPT = "coalesce(unit_concept_id, 0) AS unit_concept"
#: a unit's own text counts only if the unit has no concept
UNIT_TEXT = """CASE WHEN coalesce(unit_concept_id, 0) <> 0 THEN ''
                     ELSE coalesce(lower(trim(unit_source_value)), '') END AS unit_text"""


def bound(table: str) -> str:
    """Return SQL of the operator of a row's number: one of ``OPERATORS``; null where the number is a value.

    A laboratory's own text counts where no operator is coded: < 0.04, >=50.
    """
    if "operator_concept_id" not in TABLES[table]:
        return "NULL::VARCHAR"
    coded = " ".join(f"WHEN {concept} THEN '{operator}'" for concept, operator in OPERATORS.items())
    written = "replace(replace(regexp_extract(value_source_value, '^\\s*([<>]=?|\u2264|\u2265)\\s*[0-9.]', 1), "
    written += "'\u2264', '<='), '\u2265', '>=')"
    sign = "left(ltrim(value_source_value), 1)"  # looked at first: it is much cheaper than the expression
    return (
        "CASE WHEN value_as_number IS NULL THEN NULL "
        f"WHEN coalesce(operator_concept_id, 0) <> 0 THEN CASE operator_concept_id {coded} END "
        f"WHEN {sign} = '<' OR {sign} = '>' OR {sign} = '\u2264' OR {sign} = '\u2265' THEN nullif({written}, '') END"
    )


def usable_range(table: str) -> str:
    """Return SQL of whether a row's reference range can be right: not 0 alone, and its ends in order."""
    if "range_low" not in TABLES[table]:
        return "false"
    return (
        "(coalesce(range_low, 0) <> 0 OR coalesce(range_high, 0) <> 0) "
        "AND (range_low IS NULL OR range_high IS NULL OR range_low < range_high)"
    )


def _valued(db: duckdb.DuckDBPyConnection, domain: str) -> str:
    """Return columns and source of the records of a domain with values, as SQL.

    Bounds and ranges are looked at row by row only where there are odd ones: the records are read several times.
    """
    d = DOMAINS[domain]
    low, high = ("range_low", "range_high") if "range_low" in TABLES[d.table] else ("NULL::DOUBLE", "NULL::DOUBLE")
    operator, usable = bound(d.table), usable_range(d.table)
    bounds, ranges = db.execute(
        f"SELECT count({operator}), count(*) FILTER (({low} IS NOT NULL OR {high} IS NOT NULL) AND NOT ({usable})) "
        f"FROM {d.table} WHERE value_as_number IS NOT NULL"
    ).fetchall()[0]
    operator = operator if bounds else "NULL::VARCHAR"
    if ranges:
        low, high = (f"CASE WHEN {usable} THEN {end} END" for end in (low, high))
    words = "value_as_string" if domain == "observation" else "value_source_value"
    written = " ".join(f"WHEN '{name}' THEN '{state}'" for name, state in NAME_STATES.items())
    plain = f"lower(trim(regexp_replace({words}, ' \\((qualifier value|finding)\\)$', '')))"
    of_bound = f"WHEN bound IS NOT NULL THEN {_BOUND_STATE}" if bounds else ""
    value = "value_as_number * u.factor + u.shift"
    return f"""
        CASE WHEN value_as_concept_id <> 0 THEN v.state {of_bound}
             WHEN value_as_number < low THEN 'low' WHEN value_as_number > high THEN 'high'
             WHEN value_as_number IS NOT NULL AND (low IS NOT NULL OR high IS NOT NULL) THEN 'normal'
             WHEN value_as_number IS NOT NULL THEN '{BINNED}'
             WHEN {words} IS NOT NULL THEN CASE {plain} {written} ELSE 'present' END
             ELSE 'present' END AS state,
        {f"CASE WHEN bound IS NULL THEN {value} END" if bounds else value} AS value, u.unit,
        value_as_concept_id AS value_concept,
        coalesce(v.local_value, false) AS local_value, NULL::BIGINT AS condition_status,
        value_as_number AS number, bound, u.factor, u.shift, u.analyte, u.half_digit
        FROM (SELECT *, {UNIT_CONCEPT}, {UNIT_TEXT}, {operator} AS bound, {low} AS low, {high} AS high
              FROM {d.table}) r
        LEFT JOIN value_states v ON v.value_concept = value_as_concept_id
        LEFT JOIN measured_units u ON u.concept_id = coalesce({d.concept}, 0)
              AND u.unit_concept = r.unit_concept AND u.unit_text = r.unit_text
    """


#: the state that all numbers have which a bound allows; a range from 0 is of what cannot be negative
_BOUND_STATE = """CASE WHEN bound = '<' AND value_as_number <= low OR bound = '<=' AND value_as_number < low THEN 'low'
                  WHEN bound = '>' AND value_as_number >= high OR bound = '>=' AND value_as_number > high THEN 'high'
                  WHEN bound IN ('<', '<=') AND value_as_number <= high AND coalesce(low, 0) = 0 THEN 'normal'
                  WHEN bound IN ('>', '>=') AND value_as_number >= low AND high IS NULL THEN 'normal'
                  ELSE 'present' END"""
#: of a record without a value: the number as recorded, its operator, and how it was converted
MEASURED = {
    "number": "DOUBLE",
    "bound": "VARCHAR",
    "factor": "DOUBLE",
    "shift": "DOUBLE",
    "analyte": "BIGINT",
    "half_digit": "DOUBLE",
}
_NOT_MEASURED = ", ".join(f"NULL::{kind} AS {column}" for column, kind in MEASURED.items())


def _rolled(db: duckdb.DuckDBPyConnection, roll_up: Mapping[str, Any]) -> None:
    db.execute("CREATE TABLE rolled (domain VARCHAR, concept_id BIGINT, ancestor BIGINT)")
    rules = []
    if roll_up["drug"] == "ingredient":
        rules.append(("drug", "concept_class_id = 'Ingredient'"))
    if roll_up["condition"]:
        rules.append(("condition", f"min_levels_of_separation = {roll_up['condition']}"))
    for domain, rule in rules:
        d = DOMAINS[domain]
        db.execute(
            f"""
            INSERT INTO rolled
            SELECT DISTINCT '{domain}', descendant_concept_id, ancestor_concept_id
            FROM concept_ancestor JOIN concept ON concept_id = ancestor_concept_id
            WHERE descendant_concept_id IN (SELECT {d.concept} FROM {d.table}) AND {rule}
            """
        )
