"""Read a handed-in cohort, or a list of patients."""

from collections.abc import Mapping
from typing import Any

import duckdb

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.listing import listed_columns, read_listing
from conceptbridge.tasks.check import cohort_file

_COLUMNS = ("person_id", "index_date", "label", "split", "subject_id", "cohort_start_date", "cohort_definition_id")


def handed_in(db: duckdb.DuckDBPyConnection, spec: Mapping[str, Any], site: str) -> str:
    """Return SQL of a handed-in cohort: an OMOP cohort table, or person_id, index_date[, label][, split].

    Ids, dates and labels are read as those of an extract are: 12.6 is no person and 0.6 no label. Raises StudyError if
    the file cannot be read so, lacks a column, or has two labels or splits for a person and day.
    """
    file = cohort_file(spec["file"], site)
    relation, kinds = listed_columns(db, file, _COLUMNS)
    person, day = ("subject_id", "cohort_start_date") if "subject_id" in kinds else ("person_id", "index_date")
    for column in (person, day):
        if column not in kinds:
            raise StudyError(
                f"{file}: the column {column} is missing (found {', '.join(kinds)}); a cohort has person_id and "
                "index_date (label and split are optional), or is an OMOP cohort table"
            )
    if spec.get("definition") is not None:
        if "cohort_definition_id" not in kinds:
            raise StudyError(
                f"{file}: has no column cohort_definition_id, so cohort {spec['definition']} cannot be found"
            )
        definition = {"id": ("cohort_definition_id", kinds["cohort_definition_id"], "BIGINT")}
        ids = read_listing(db, file, relation, definition, ["id"])
        db.execute(f"CREATE OR REPLACE TEMP TABLE definitions AS {ids}")
        relation = f"(FROM {relation} WHERE row IN (SELECT row FROM definitions WHERE id = {int(spec['definition'])}))"
    columns = {"person_id": (person, kinds[person], "BIGINT"), "date": (day, kinds[day], "DATE")}
    given = {"label": "BIGINT", "split": "VARCHAR"}
    columns |= {name: (name, kinds[name], kind) for name, kind in given.items() if name in kinds}
    rows = read_listing(db, file, relation, columns, ("person_id", "date"))
    label = "label" if "label" in kinds else "NULL::BIGINT AS label"
    split = "split" if "split" in kinds else "NULL::VARCHAR AS split"
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE handed_in AS SELECT DISTINCT person_id, date, {label}, {split} FROM ({rows})"
    )
    bad = db.execute("SELECT count(*) FROM handed_in WHERE label NOT IN (0, 1)").fetchall()[0][0]
    if bad:
        raise StudyError(f"{file}: column label: has a label that is not 0 or 1 (0: without the outcome, 1: with it)")
    twice = db.execute(
        "SELECT count(*) FROM (SELECT person_id FROM handed_in GROUP BY person_id, date HAVING count(*) > 1)"
    )
    if twice.fetchall()[0][0]:
        raise StudyError(f"{file}: a person has two labels or splits on one day; keep one")
    return "SELECT person_id, date, label::TINYINT AS label, split FROM handed_in"
