"""Write the CDM tables of a MEDS data set.

MEDS has no domains, visits or observation periods: every event with a time is an observation, and a subject is observed
from the first to the last of them.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import duckdb

from conceptbridge.core.atomic_files import atomic_folder, write_json
from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import copy_as_parquet, literal
from conceptbridge.sites.converters.meds import CODES
from conceptbridge.sites.memory import database
from conceptbridge.sites.records import LOCAL, MEDS_CODES

logger = logging.getLogger(__name__)

BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
#: codes of a subject's sex and race, as MIMIC's and OMOP's extractions write them
_SEX = "(?i)^(gender|sex)/+(m|male|f|female|8507|8532)$"
_RACE = "(?i)^race/+(.+)$"
#: half of what the job is given is the database's (``memory.database``)
_MEMORY_MB = 2000
#: parents of parents and so on are followed so far
_LEVELS = 30


def write_meds(folder: Path, shards: Sequence[Path], out: Path) -> None:
    """Write the tables of the data set in ``folder`` to ``out``, and to ``out/meds.json`` what was counted.

    A code is the local concept whose id is a hash of it: the same at every site. Its name is its description; without
    one, the code's own words. ``parent_codes`` become ancestors. Events without a time are left out, except those that
    tell a subject's sex or race. A subject without a birth is no person: reading the tables drops the events.

    Raises StudyError if a shard is no MEDS table, an event has no subject or code, or no subject has a birth.
    """
    with atomic_folder(out) as made:
        with database(1, _MEMORY_MB, made / "spill") as db:
            _open(db, folder, shards)
            counts, about_subjects = _subjects(db, folder)
            counts |= _codes(db, folder, about_subjects)
            for table, query in _queries(about_subjects).items():
                copy_as_parquet(db, query, made / f"{table}.parquet")
        write_json(counts, made / "meds.json")
    logger.info(", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items()))


def concept_of(code: str) -> str:
    """Return SQL of the concept of a code: local, the same everywhere, and exact as a floating-point number."""
    return f"({LOCAL} + ('0x' || left(md5({code}), 13))::BIGINT)"


def _open(db: duckdb.DuckDBPyConnection, folder: Path, shards: Sequence[Path]) -> None:
    """Make the view ``events``, in the order of the files."""
    files = ", ".join(literal(file) for file in shards)
    scan = f"read_parquet([{files}], union_by_name=true)"
    try:
        kinds = {str(row[0]): str(row[1]) for row in db.execute(f"DESCRIBE FROM {scan}").fetchall()}
    except duckdb.Error as error:
        raise StudyError(f"{folder}/data: cannot be read ({str(error).splitlines()[0]})") from None
    for column in ("subject_id", "time", "code"):
        if column not in kinds:
            raise StudyError(
                f"{folder}/data: the column {column} is missing (found {', '.join(kinds)}); MEDS data have subject_id, "
                "time and code"
            )
    if kinds["subject_id"] not in ("BIGINT", "INTEGER", "UBIGINT", "UINTEGER"):
        raise StudyError(f"{folder}/data: subject_id is {kinds['subject_id']}, not a whole number")
    number = "numeric_value::DOUBLE" if "numeric_value" in kinds else "NULL::DOUBLE"
    text = "text_value::VARCHAR" if "text_value" in kinds else "NULL::VARCHAR"
    unit = "unit::VARCHAR" if "unit" in kinds else "NULL::VARCHAR"
    db.execute(
        f"""
        CREATE VIEW events AS SELECT subject_id::BIGINT AS subject_id, time::TIMESTAMP AS time, code::VARCHAR AS code,
               {number} AS number, {text} AS text, {unit} AS unit
        FROM {scan}
        """
    )


def _subjects(db: duckdb.DuckDBPyConnection, folder: Path) -> tuple[dict[str, int], str]:
    """Make the tables ``used`` (code) and ``subjects``. Return counts, and SQL of the codes that tell of a subject."""
    db.execute("CREATE TABLE used AS SELECT DISTINCT code FROM events WHERE code IS NOT NULL ORDER BY code")
    sex, race = _demographic(db, _SEX), _demographic(db, _RACE)
    counted = f"time IS NOT NULL AND code NOT IN ('{BIRTH}', '{DEATH}')"
    db.execute(
        f"""
        CREATE TABLE subjects AS
        SELECT subject_id, min(time) FILTER (code = '{BIRTH}') AS born, min(time) FILTER (code = '{DEATH}') AS died,
               min(time::DATE) FILTER ({counted}) AS first, max(time::DATE) FILTER ({counted}) AS last,
               min(code) FILTER (code IN ({sex})) AS sex, min(code) FILTER (code IN ({race})) AS race,
               count(*) AS events, count(*) FILTER (code IS NULL) AS nameless,
               count(*) FILTER (time IS NULL AND code NOT IN ({sex}, {race})) AS static
        FROM events GROUP BY subject_id ORDER BY subject_id
        """
    )
    total, births, nobody, nameless, events, static, deaths = db.execute(
        "SELECT count(*), count(born), count_if(subject_id IS NULL), sum(nameless), sum(events), sum(static), "
        "count(died) FROM subjects"
    ).fetchall()[0]
    if nobody or nameless:
        lacking = "subject_id" if nobody else "code"
        raise StudyError(f"{folder}/data: has events without a {lacking}; every event needs it")
    if not births:
        raise StudyError(f"{folder}/data: no subject has the event {BIRTH}, so nobody's age is known")
    counts = {
        "subjects": int(total),
        "subjects_without_a_birth_left_out": int(total - births),
        "deaths": int(deaths),
        "events": int(events),
        "events_without_a_time_left_out": int(static),
    }
    return counts, f"'{BIRTH}', '{DEATH}', {sex}, {race}"


def _demographic(db: duckdb.DuckDBPyConnection, pattern: str) -> str:
    """Return SQL of the codes in use that match ``pattern``, as a list that is never empty."""
    rows = db.execute(f"SELECT code FROM used WHERE regexp_matches(code, {literal(pattern)}) ORDER BY code").fetchall()
    return ", ".join(["''", *(literal(code) for (code,) in rows)])


def _codes(db: duckdb.DuckDBPyConnection, folder: Path, about_subjects: str) -> dict[str, int]:
    """Make the tables ``above`` (code, ancestor, level) of the codes in use, and ``codes`` of both with their names.

    Those ``about_subjects`` are none of them.
    """
    db.execute(f"DELETE FROM used WHERE code IN ({about_subjects})")
    file = folder / CODES
    if file.is_file():
        kinds = {str(row[0]) for row in db.execute(f"DESCRIBE FROM {literal(file)}").fetchall()}
        described = "description" if "description" in kinds else "NULL::VARCHAR"
        above = "parent_codes" if "parent_codes" in kinds else "NULL::VARCHAR[]"
        db.execute(
            f"CREATE TABLE told AS SELECT code, nullif(trim(any_value({described})), '') AS description, "
            f"any_value({above}) AS parents FROM {literal(file)} WHERE code IS NOT NULL GROUP BY code"
        )
    else:
        db.execute("CREATE TABLE told (code VARCHAR, description VARCHAR, parents VARCHAR[])")
    db.execute(
        "CREATE TABLE parents AS SELECT DISTINCT code, unnest(parents) AS parent FROM told WHERE parents IS NOT NULL"
    )
    db.execute("DELETE FROM parents WHERE parent IS NULL OR parent = code")
    # one level at a time, so that a circle of parents ends
    db.execute("CREATE TABLE above AS SELECT code, code AS ancestor, 0 AS level FROM used")
    for level in range(1, _LEVELS):
        db.execute(
            f"INSERT INTO above SELECT DISTINCT a.code, p.parent, {level} "
            "FROM above a JOIN parents p ON p.code = a.ancestor "
            f"WHERE a.level = {level - 1} AND (a.code, p.parent) NOT IN (SELECT (code, ancestor) FROM above)"
        )
        if not db.execute(f"SELECT count(*) FROM above WHERE level = {level}").fetchall()[0][0]:
            break
    db.execute(
        f"""
        CREATE TABLE codes AS SELECT code, {concept_of("code")} AS concept_id, description
        FROM (SELECT DISTINCT ancestor AS code FROM above) LEFT JOIN told USING (code) ORDER BY concept_id
        """
    )
    if db.execute("SELECT count(*) - count(DISTINCT concept_id) FROM codes").fetchall()[0][0]:
        raise StudyError(f"{folder}: two codes have the same hash; rename one of them")
    total, unnamed, untold = db.execute(
        "SELECT count(*), count_if(description IS NULL), count_if(code NOT IN (SELECT code FROM told)) "
        "FROM codes WHERE code IN (FROM used)"
    ).fetchall()[0]
    return {
        "codes": int(total),
        "codes_named_by_their_own_words": int(unnamed),
        "codes_not_in_the_metadata": int(untold),
    }


def _queries(about_subjects: str) -> dict[str, str]:
    """Return the table -> its rows. Events stay in the order of the files: a join would not keep it."""
    sex = f"regexp_extract(lower(sex), {literal(_SEX)}, 2)"
    return {
        "person": f"""
            SELECT subject_id AS person_id, CASE WHEN {sex} IN ('m', 'male', '8507') THEN 8507
                   WHEN {sex} IN ('f', 'female', '8532') THEN 8532 ELSE 0 END::BIGINT AS gender_concept_id,
                   year(born)::INTEGER AS year_of_birth, month(born)::INTEGER AS month_of_birth,
                   day(born)::INTEGER AS day_of_birth, regexp_extract(race, {literal(_RACE)}, 1) AS race_source_value
            FROM subjects WHERE born IS NOT NULL ORDER BY subject_id""",
        "observation_period": """
            SELECT subject_id AS observation_period_id, subject_id AS person_id, first AS observation_period_start_date,
                   last AS observation_period_end_date
            FROM subjects WHERE born IS NOT NULL AND first IS NOT NULL ORDER BY subject_id""",
        "observation": f"""
            SELECT row_number() OVER () AS observation_id, subject_id AS person_id,
                   {concept_of("code")} AS observation_concept_id, time::DATE AS observation_date,
                   number AS value_as_number, text AS value_as_string, unit AS unit_source_value
            FROM events
            WHERE time IS NOT NULL AND code NOT IN ({about_subjects})""",
        "death": """
            SELECT subject_id AS person_id, died::DATE AS death_date
            FROM subjects WHERE died IS NOT NULL AND born IS NOT NULL ORDER BY subject_id""",
        "concept": f"""
            SELECT concept_id, coalesce(description, replace(code, '//', ' ')) AS concept_name,
                   'Observation' AS domain_id, '{MEDS_CODES}' AS vocabulary_id, code AS concept_code
            FROM codes ORDER BY concept_id""",
        "concept_ancestor": f"""
            SELECT {concept_of("ancestor")} AS ancestor_concept_id, {concept_of("code")} AS descendant_concept_id,
                   level AS min_levels_of_separation
            FROM above ORDER BY ALL""",
    }
