"""Take in the predictions of another model, made elsewhere, as an arm of the study."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from conceptbridge.core.atomic_files import atomic_folder, write_json, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.evaluate.predictions import SPLITS, read_cohort, rows_of
from conceptbridge.evaluate.schemas import ELSEWHERE
from conceptbridge.sites.listing import listed_columns, read_listing

#: what the columns of the file may be called: ours, then those of MEDS
_PERSON, _DAY = ("person_id", "subject_id"), ("index_date", "prediction_time", "time")
_PROBABILITY = ("probability", "predicted_boolean_probability")
_SEED = "seed"


def write_external(file: Path, cohort: Path, out: Path) -> None:
    """Write the predictions in ``file`` of a cohort's validation and test rows to ``out``, as an arm's folder.

    The file (Parquet or text with a header) has a person, a day or time, a probability, and, where there are several
    runs of the model, a seed. Other rows than the cohort's are ignored.

    Raises StudyError, naming the file and how many rows, if a value cannot be read, a probability is missing, not a
    number or outside 0 to 1, a row is there twice, or a validation or test row has no prediction.
    """
    expected = rows_of(table := read_cohort(cohort)).of(*SPLITS)
    inside = np.isin(table["split"].to_numpy(zero_copy_only=False).astype(str), SPLITS)
    wanted = table.select(["row_id", "person_id", "index_date", "split", "label"]).filter(pa.array(inside))
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        _read(db, file)
        db.register("wanted", wanted)
        db.execute(
            "CREATE TABLE found AS SELECT w.row_id, p.seed, p.probability FROM predicted p "
            "JOIN wanted w ON w.person_id = p.person_id AND w.index_date = p.day"
        )
        seeds = [int(seed) for (seed,) in db.execute("SELECT DISTINCT seed FROM predicted ORDER BY seed").fetchall()]
        for seed in seeds or [1]:
            (rows,) = db.execute("SELECT count(*) FROM found WHERE seed = ?", [seed]).fetchall()[0]
            if rows < len(expected.row_id):
                of_seed = f" of seed {seed}" if len(seeds) > 1 else ""
                raise StudyError(
                    f"{file}: {len(expected.row_id) - rows} of {len(expected.row_id)} validation and test rows have no "
                    f"prediction{of_seed}; predict every row of the cohort (person_id and index_date in {cohort})"
                )
        result = db.sql(
            f"""
            SELECT '{ELSEWHERE}' AS source, seed::INTEGER AS seed, row_id, w.split, w.label, probability
            FROM found JOIN wanted w USING (row_id) ORDER BY seed, row_id
            """
        ).to_arrow_table()
    with atomic_folder(out) as folder:
        write_parquet(result, folder / "predictions.parquet")
        reason = None if len(expected.row_id) else "no validation or test rows"
        write_json({"sources": {ELSEWHERE: {"reason": reason}}}, folder / "arm.json")


def _read(db: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Make the table ``predicted`` (person_id, day, seed, probability)."""
    relation, kinds = listed_columns(db, file, (*_PERSON, *_DAY, *_PROBABILITY, _SEED))
    columns = {}
    for name, known, kind in (
        ("person_id", _PERSON, "BIGINT"),
        ("day", _DAY, "DATE"),
        ("probability", _PROBABILITY, "DOUBLE"),
    ):
        column = next((one for one in known if one in kinds), None)
        if column is None:
            raise StudyError(f"{file}: a column {' or '.join(known)} is missing (found {', '.join(kinds)})")
        columns[name] = (column, kinds[column], kind)
    if _SEED in kinds:
        columns[_SEED] = (_SEED, kinds[_SEED], "BIGINT")
    rows = read_listing(db, file, relation, columns, list(columns))
    seed = "seed" if _SEED in kinds else "1::BIGINT AS seed"
    db.execute(f"CREATE TABLE predicted AS SELECT person_id, day, {seed}, probability FROM ({rows})")
    outside = db.execute("SELECT count(*) FROM predicted WHERE NOT probability BETWEEN 0 AND 1").fetchall()[0][0]
    if outside:
        raise StudyError(f"{file}: {outside} probabilities are outside 0 to 1; give probabilities, not scores")
    twice = "SELECT count(*) FROM (SELECT 1 FROM predicted GROUP BY person_id, day, seed HAVING count(*) > 1)"
    if count := db.execute(twice).fetchall()[0][0]:
        raise StudyError(f"{file}: {count} rows have two predictions (of one person, day and seed); keep one")
