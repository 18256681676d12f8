"""A site's clinical records of all domains as one relation, each with its concept's key and its state."""

from pathlib import Path

import duckdb

from conceptbridge.sites.cdm import DOMAINS, TABLES

#: ids from here on are a site's own
LOCAL = 2_000_000_000

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
#: the same by name, for value concepts of other vocabularies
NAME_STATES = {"yes": "present", "no": "absent", "detected": "positive", "not detected": "negative"}

RANGE_STATES = ("low", "normal", "high")
#: states of a value without a reference range, and the training quantiles at which they are cut
BIN_STATES = ("very low", "low", "middle", "high", "very high")
BIN_CUTS = (0.1, 0.3, 0.7, 0.9)
BINNED = "binned"

SEX_CONCEPTS = {8507: "male", 8532: "female"}
#: age band -> first and last year of age
AGE_BANDS = {
    "0 to 4 years": (0, 4),
    "5 to 17 years": (5, 17),
    "18 to 44 years": (18, 44),
    "45 to 64 years": (45, 64),
    "65 to 79 years": (65, 79),
    "80 years or more": (80, 200),
}


def open_site(db: duckdb.DuckDBPyConnection, cdm: Path, site: str) -> None:
    """Make views of the site's typed tables in ``db``, and the view ``records``.

    ``records``: domain, person_id, date, concept_id, source (the record's own text), concept (the concept's key:
    its id; qualified by the site where the id is local or 0), state, value, unit_concept_id, condition_status.
    ``state`` is ``binned`` where only training rows can say where the cuts fall. Records without concept and text
    are left out.
    """
    for table in TABLES:
        db.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{_text(str(cdm / f'{table}.parquet'))}')")
    parts = []
    for name, d in DOMAINS.items():
        value = (
            "value_as_concept_id, value_as_number, unit_concept_id"
            if d.values
            else "NULL::BIGINT, NULL::DOUBLE, NULL::BIGINT"
        )
        bounds = "range_low, range_high" if "range_low" in TABLES[d.table] else "NULL::DOUBLE, NULL::DOUBLE"
        status = "condition_status_concept_id" if name == "condition" else "NULL::BIGINT"
        parts.append(
            f"SELECT '{name}', person_id, {d.date}, coalesce({d.concept}, 0), trim({d.source}), "
            f"{value}, {bounds}, {status} FROM {d.table}"
        )
    columns = "domain, person_id, date, concept_id, source, value_concept, value, unit_concept_id, low, high"
    value_names = "SELECT concept_id AS value_concept, lower(concept_name) AS value_name FROM concept"
    db.execute(
        f"""
        CREATE VIEW records AS
        SELECT domain, person_id, date, concept_id, source, {concept_key(site)} AS concept,
               {_state()} AS state, value, coalesce(unit_concept_id, 0) AS unit_concept_id, condition_status
        FROM ({" UNION ALL ".join(parts)}) AS r({columns}, condition_status)
        LEFT JOIN ({value_names}) USING (value_concept)
        WHERE concept_id <> 0 OR source <> ''
        """
    )


def concept_key(site: str) -> str:
    """SQL of a concept's key: two hospitals' local or unmapped concepts are never the same one."""
    here = _text(site)
    return (
        f"CASE WHEN concept_id >= {LOCAL} THEN '{here}/' || concept_id "
        f"WHEN concept_id = 0 THEN '{here}/' || domain || ':' || source ELSE concept_id::VARCHAR END"
    )


def descendants(db: duckdb.DuckDBPyConnection, concepts: list[int], include: bool) -> list[int]:
    """The concepts themselves and, if asked for, all their descendants in the site's concept_ancestor."""
    found = set(concepts)
    if include:
        rows = db.execute(
            "SELECT descendant_concept_id FROM concept_ancestor WHERE list_contains(?, ancestor_concept_id)",
            [concepts],
        ).fetchall()
        found |= {row[0] for row in rows}
    return sorted(found)


def _state() -> str:
    by_concept = " ".join(
        f"WHEN value_concept IN ({', '.join(map(str, ids))}) THEN '{state}'" for state, ids in VALUE_STATES.items()
    )
    by_name = " ".join(f"WHEN value_name = '{name}' THEN '{state}'" for name, state in NAME_STATES.items())
    return (
        f"CASE {by_concept} {by_name} WHEN value_concept > 0 AND value_name <> '' THEN value_name "
        "WHEN value < low THEN 'low' WHEN value > high THEN 'high' "
        f"WHEN value IS NOT NULL AND (low IS NOT NULL OR high IS NOT NULL) THEN 'normal' "
        f"WHEN value IS NOT NULL THEN '{BINNED}' ELSE 'present' END"
    )


def _text(value: str) -> str:
    return value.replace("'", "''")
