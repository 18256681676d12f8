"""Write the OMOP extract of a findings table.

The table has no dates, so every date is made up and only says which file an encounter comes from (``DAYS``). Findings
are on that day, the diagnosis is on the next.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from conceptbridge.core.atomic_files import atomic_folder, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import identifier, literal
from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.converters.codebook import EMPTY, Codebook, Diagnosis
from conceptbridge.sites.records import LOCAL

logger = logging.getLogger(__name__)

#: split -> the made-up day of its encounters
DAYS = {"train": date(2001, 1, 1), "validation": date(2002, 1, 1), "test": date(2003, 1, 1)}
#: one in this many training encounters is kept for validation
VALIDATION_ONE_IN = 5
#: age in years of an encounter whose table has no age
DEFAULT_AGE = 30

OUTPATIENT = 9202
ANSWERS = {"present": (4188539, "Yes"), "absent": (4188540, "No")}


def write_findings(files: Mapping[str, Path], codebook: Codebook, missing_is_absent: bool, out: Path) -> None:
    """Write the extract of the findings tables in ``files`` (``train``, optionally ``test``) to the folder ``out``.

    Every encounter is a person with one visit. A finding is an observation of a local concept with the value Yes or No.
    A missing finding is not recorded; with ``missing_is_absent`` it becomes what the codebook says. A fixed fifth of
    the training encounters is dated into the validation period.

    Raises StudyError if a file cannot be read, lacks a column of the codebook or has another one, has a value that the
    codebook lacks, or an encounter without a diagnosis.
    """
    with duckdb.connect() as db:
        first = 1
        parts = []
        for split, file in files.items():
            _open(db, f"{split}_table", file, codebook, first)
            (rows,) = db.execute(f"SELECT count(*) FROM {split}_table").fetchall()[0]
            parts.append(_encounters(split, int(rows), first))
            first += int(rows)
        db.register("encounter", pa.concat_tables(parts))
        db.execute("CREATE TABLE wide AS " + " UNION ALL BY NAME ".join(f"FROM {split}_table" for split in files))
        tables = _tables(db, codebook, missing_is_absent)
    logger.info("%d encounters, %d findings", len(tables["person"]), len(tables["observation"]))
    with atomic_folder(out) as folder:
        for name, table in tables.items():
            write_parquet(table, folder / f"{name}.parquet")


def concept_ids(codebook: Codebook) -> dict[str, int]:
    """Return the local concept of each code, and of each diagnosis without an OMOP concept (by its name)."""
    own = [d.name for d in codebook.diagnoses.values() if d is not None and d.concept_id is None]
    return {code: LOCAL + n for n, code in enumerate(dict.fromkeys([*codebook.codes, *own]), start=1)}


def _open(db: duckdb.DuckDBPyConnection, name: str, file: Path, codebook: Codebook, first: int) -> None:
    """Make the table ``name``: person_id from ``first`` on, and the codebook's columns as trimmed text."""
    path = literal(str(file))
    scan = (
        f"read_parquet({path})"
        if file.suffix.lower() == ".parquet"
        else f"read_csv({path}, header=true, all_varchar=true, nullstr='\x01')"
    )
    try:
        present = [str(row[0]) for row in db.execute(f"DESCRIBE FROM {scan}").fetchall()]
        wanted = [*codebook.columns, codebook.label]
        _check_columns(file, present, wanted, codebook)
        columns = ", ".join(f"coalesce(trim({identifier(c)}::VARCHAR), '') AS {identifier(c)}" for c in wanted)
        db.execute(
            f"CREATE TABLE {name} AS SELECT row_number() OVER () + {first - 1} AS person_id, {columns} FROM {scan}"
        )
    except duckdb.Error as error:
        raise StudyError(f"{file}: cannot be read as a findings table ({str(error).splitlines()[0]})") from error
    known = [(column, value) for column, values in codebook.columns.items() for value in values]
    known += [(codebook.label, value) for value in codebook.diagnoses]
    db.register("known", pa.table({"col": [c for c, _ in known], "value": [v for _, v in known]}))
    unknown = db.execute(
        f"""
        SELECT col, value, min(person_id) - {first} + 2 AS line
        FROM (UNPIVOT {name} ON COLUMNS(* EXCLUDE person_id) INTO NAME col VALUE value)
        ANTI JOIN known USING (col, value) GROUP BY ALL ORDER BY line, col, value LIMIT 1
        """
    ).fetchone()
    if unknown is None:
        return
    column, value, line = unknown
    if column == codebook.label and value == EMPTY:
        raise StudyError(
            f"{file}: line {line} has no diagnosis (column {column}). Remove such encounters; or, if empty means none "
            f'of the diagnoses, add `"":` under diagnosis.values of the codebook {codebook.name}.'
        )
    values = codebook.diagnoses if column == codebook.label else codebook.columns[column]
    raise StudyError(
        f"{file}: line {line}: the value {value!r} of the column {column} is not in the codebook {codebook.name}, "
        f"which has {', '.join(v for v in values if v != EMPTY)}; add its meaning there"
    )


def _check_columns(file: Path, present: list[str], wanted: list[str], codebook: Codebook) -> None:
    for column in present:
        if column not in wanted and column not in codebook.ignored:
            raise StudyError(
                f"{file}: the column {column} is not in the codebook {codebook.name}; add the meaning of its values "
                "there, or put it under `ignored`"
            )
    for column in wanted:
        if column not in present:
            raise StudyError(f"{file}: the column {column} of the codebook {codebook.name} is missing")


def _encounters(split: str, rows: int, first: int) -> pa.Table:
    """Return person_id and made-up day of each encounter; a fixed draw of the training rows is for validation."""
    split_of = np.full(rows, split, dtype=object)
    if split == "train":
        split_of[np.random.default_rng(0).permutation(rows)[: rows // VALIDATION_ONE_IN]] = "validation"
    days = pa.array([DAYS[one] for one in split_of], pa.date32())
    return pa.table({"person_id": pa.array(np.arange(first, first + rows), pa.int64()), "day": days})


def _tables(db: duckdb.DuckDBPyConnection, codebook: Codebook, missing_is_absent: bool) -> dict[str, pa.Table]:
    ids = concept_ids(codebook)
    meanings = [
        {
            "col": column,
            "value": value,
            "concept": None if meaning.code is None else ids[meaning.code],
            "answer": ANSWERS[meaning.state][0],
            "recorded": meaning.code is not None and (not meaning.missing or missing_is_absent),
            "age": meaning.age,
        }
        for column, values in codebook.columns.items()
        for value, meaning in values.items()
    ]
    kinds = {"col": "VARCHAR", "value": "VARCHAR", "concept": "BIGINT", "answer": "BIGINT", "recorded": "BOOLEAN"}
    _load(db, "meaning", kinds | {"age": "INTEGER"}, meanings)
    diagnoses = [
        {"value": value, "concept": ids[d.name] if d.concept_id is None else d.concept_id}
        for value, d in codebook.diagnoses.items()
        if d is not None
    ]
    _load(db, "condition", {"value": "VARCHAR", "concept": "BIGINT"}, diagnoses)
    _load(db, "named", TABLES["concept"], _concepts(codebook, ids))
    label = identifier(codebook.label)
    db.execute(
        f"""
        CREATE TABLE long AS SELECT person_id, col, value
        FROM (UNPIVOT (SELECT * EXCLUDE {label} FROM wide) ON COLUMNS(* EXCLUDE person_id) INTO NAME col VALUE value)
        """
    )
    queries = {
        "person": f"""
            SELECT person_id, 0 AS gender_concept_id, 0 AS race_concept_id,
                   year(day) - coalesce(age, {DEFAULT_AGE}) AS year_of_birth, 1 AS month_of_birth, 1 AS day_of_birth
            FROM encounter LEFT JOIN (SELECT person_id, max(age) AS age FROM long JOIN meaning USING (col, value)
                                      GROUP BY person_id) USING (person_id)""",
        "observation_period": """
            SELECT person_id, person_id AS observation_period_id, day AS observation_period_start_date,
                   day + 1 AS observation_period_end_date FROM encounter""",
        "visit_occurrence": f"""
            SELECT person_id, person_id AS visit_occurrence_id, {OUTPATIENT} AS visit_concept_id,
                   day AS visit_start_date, day + 1 AS visit_end_date FROM encounter""",
        "condition_occurrence": f"""
            SELECT person_id, person_id AS condition_occurrence_id, person_id AS visit_occurrence_id,
                   concept AS condition_concept_id, day + 1 AS condition_start_date, value AS condition_source_value
            FROM wide JOIN condition ON value = {label} JOIN encounter USING (person_id)""",
        "observation": """
            SELECT row_number() OVER (ORDER BY person_id, concept) AS observation_id, person_id,
                   person_id AS visit_occurrence_id, concept AS observation_concept_id, day AS observation_date,
                   answer AS value_as_concept_id, value AS value_as_string, col AS observation_source_value
            FROM long JOIN meaning USING (col, value) JOIN encounter USING (person_id) WHERE recorded""",
        "concept": "SELECT * FROM named",
    }
    order = {"concept": "concept_id", "observation": "observation_id"}
    return {
        name: db.sql(f"FROM ({query}) ORDER BY {order.get(name, 'person_id')}").to_arrow_table()
        for name, query in queries.items()
    }


def _concepts(codebook: Codebook, ids: Mapping[str, int]) -> list[dict[str, object]]:
    """Return the rows of the concept table: findings and own diagnoses in the codebook's words, and the rest."""
    rows = [(OUTPATIENT, "Outpatient Visit", "Visit", "Visit", "OP")]
    rows += [(concept, name, "Meas Value", "SNOMED", "") for concept, name in ANSWERS.values()]
    rows += [(ids[code], codebook.names[code], "Observation", codebook.name, code) for code in codebook.codes]
    own: dict[int, Diagnosis] = {}
    for diagnosis in codebook.diagnoses.values():
        if diagnosis is not None:
            concept = ids[diagnosis.name] if diagnosis.concept_id is None else diagnosis.concept_id
            own.setdefault(concept, diagnosis)
    rows += [
        (concept, d.name, "Condition", codebook.name if d.concept_id is None else "SNOMED", "")
        for concept, d in own.items()
    ]
    columns = ("concept_id", "concept_name", "domain_id", "vocabulary_id", "concept_code")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _load(
    db: duckdb.DuckDBPyConnection, name: str, kinds: Mapping[str, str], rows: Sequence[Mapping[str, object]]
) -> None:
    db.execute(f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in kinds.items())})")
    columns = {column: [row.get(column) for row in rows] for column in kinds}
    db.register("given", pa.table(columns))
    casts = ", ".join(f"{column}::{kind}" for column, kind in kinds.items())
    db.execute(f"INSERT INTO {name} SELECT {casts} FROM given")
