"""Give each row of a cohort its split, by time, by a hash of the person, or as it was handed in.

No rule looks at what a person does after the index: a row stays or goes by its own date and by its person's id.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import literal

SPLITS = ("train", "validation", "test")
#: the splits of a MEDS data set
MEDS_SPLITS = {"train": "train", "tuning": "validation", "held_out": "test"}


def make_splits(db: duckdb.DuckDBPyConnection, split: Mapping[str, Any], window_end: int) -> str:
    """Set the column ``split`` of the table ``rows``, null where the row is in none, and name what the others are in.

    ``window_end`` is the last day of the outcome window: a training or validation row whose window reaches into the
    next period is in no split. Raises StudyError if a handed-in cohort has no usable splits.
    """
    if split["by"] == "given":
        if split.get("file"):
            _read_given(db, Path(split["file"]))
        _check_given(db)
        return "in the split that was handed in"
    if split["by"] == "hash":
        _set(db, _of_person(split["shares"], split["seed"]))
        return "in the split of the person"
    starts = [date.fromisoformat(split[name]) for name in ("validation", "test")]
    period = _cases([f"index_date < DATE '{start}'" for start in starts])
    embargo = [start - timedelta(days=window_end) for start in starts]
    within = f"index_date < CASE {period} WHEN 'train' THEN DATE '{embargo[0]}' ELSE DATE '{embargo[1]}' END"
    stays = f"({period} = 'test' OR {within})"
    if split["persons"] == "returning":
        _set(db, f"CASE WHEN {stays} THEN {period} END")
        return "outcome window within the period of the index"
    person = _of_person(split.get("shares") or _shares(db, period), split["seed"])
    _set(db, f"CASE WHEN {stays} AND {period} = {person} THEN {period} END")
    return "in the period that the person was drawn for, outcome window within it"


def _cases(conditions: list[str]) -> str:
    first, second = conditions
    return f"(CASE WHEN {first} THEN 'train' WHEN {second} THEN 'validation' ELSE 'test' END)"


def _of_person(shares: list[float], seed: int) -> str:
    """Return SQL of a person's split: the same whatever rows and persons are added."""
    u = f"('0x' || substr(md5('{seed}:' || person_id), 1, 8))::UBIGINT / 4294967296.0"
    return _cases([f"{u} < {shares[0]!r}", f"{u} < {shares[0] + shares[1]!r}"])


def _shares(db: duckdb.DuckDBPyConnection, period: str) -> list[float]:
    """Return the periods' shares of all rows."""
    rows: dict[str, int] = dict(db.execute(f"SELECT {period}, count(*) FROM rows GROUP BY ALL").fetchall())
    return [rows.get(name, 0) / max(sum(rows.values()), 1) for name in SPLITS]


def _set(db: duckdb.DuckDBPyConnection, rule: str) -> None:
    db.execute(f"CREATE OR REPLACE TEMP TABLE rows AS SELECT * REPLACE ({rule} AS split) FROM rows")


def _read_given(db: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Give each row the split of its subject in a MEDS data set; a row of a subject without one leaves the cohort.

    Raises StudyError if the file is not of this form.
    """
    names = " ".join(f"WHEN {literal(theirs)} THEN {literal(ours)}" for theirs, ours in MEDS_SPLITS.items())
    try:
        db.execute(
            f"CREATE OR REPLACE TEMP TABLE given AS SELECT DISTINCT subject_id::BIGINT AS person_id, "
            f"CASE split {names} ELSE split END AS split FROM read_parquet({literal(file)})"
        )
    except duckdb.Error as error:
        raise StudyError(f"{file}: needs the columns subject_id and split ({str(error).splitlines()[0]})") from None
    twice = "SELECT count(*) FROM (SELECT person_id FROM given GROUP BY person_id HAVING count(*) > 1)"
    if db.execute(twice).fetchall()[0][0]:
        raise StudyError(f"{file}: has subjects in more than one split; give each one split")
    db.execute(
        "CREATE OR REPLACE TEMP TABLE rows AS "
        "SELECT rows.* EXCLUDE split, given.split FROM rows JOIN given USING (person_id)"
    )


def _check_given(db: duckdb.DuckDBPyConnection) -> None:
    named = ", ".join(f"'{name}'" for name in SPLITS)
    other = db.execute(f"SELECT count(*) FROM rows WHERE split IS NULL OR split NOT IN ({named})").fetchall()[0][0]
    if other:
        raise StudyError(f"some rows of the handed-in cohort have a split that is not one of {', '.join(SPLITS)}")
    twice = "SELECT count(*) FROM (SELECT person_id FROM rows GROUP BY person_id HAVING count(DISTINCT split) > 1)"
    if db.execute(twice).fetchall()[0][0]:
        raise StudyError("the handed-in cohort has persons in more than one split; give each person one split")
