"""Read the vectors that another model has made of persons, for the rows of a cohort."""

from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.embed.vectors import Matrix
from conceptbridge.sites.listing import listed_columns, read_listing

#: what the columns of the file may be called: ours, then those of MEDS
PERSON, DAY = ("person_id", "subject_id"), ("index_date", "prediction_time", "time")
#: rows of the file that are read at once
_TOGETHER = 20_000


class _Vectors(NamedTuple):
    """The columns that hold the vectors: one of lists, or one for each number."""

    columns: list[str]
    lists: bool


def read_representations(file: Path, cohort: Path) -> Matrix:
    """The vectors in the Parquet ``file`` of all rows of a cohort, in its order: shape (rows, width).

    The file has a person, a day or time, and the vector: its one list column, or all its columns of floating-point
    numbers. Other rows than the cohort's are ignored.

    Raises StudyError, naming the file and how many rows, if there is a row of the cohort that it lacks or has twice, a
    number that is missing or not finite, or vectors of several widths.
    """
    if file.suffix != ".parquet":
        raise StudyError(f"{file}: vectors are read from Parquet (.parquet); write them as such a file")
    at = _places(file, cohort)
    parquet = pq.ParquetFile(file)
    held = _vector_columns(file, parquet.schema_arrow)
    result: Matrix | None = None
    row_of = np.full(parquet.metadata.num_rows, -1, np.int64)
    row_of[at] = np.arange(len(at))
    first = 0
    for batch in parquet.iter_batches(_TOGETHER, columns=held.columns):
        rows = row_of[first : first + len(batch)]
        first += len(batch)
        if not (rows >= 0).any():
            continue
        numbers = _matrix(file, batch.take(pa.array(np.flatnonzero(rows >= 0))), held)
        if result is None:
            result = np.zeros((len(at), numbers.shape[1]), np.float32)
        if numbers.shape[1] != result.shape[1]:
            raise _widths(file)
        result[rows[rows >= 0]] = numbers
    result = np.zeros((0, 1), np.float32) if result is None else result
    if broken := int((~np.isfinite(result).all(axis=1)).sum()):
        raise StudyError(
            f"{file}: the vectors of {broken} of {len(result)} rows have a number that is missing, NaN or infinite"
        )
    return result


def _places(file: Path, cohort: Path) -> NDArray[np.int64]:
    """Where in the file each row of the cohort is."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        relation, kinds = listed_columns(db, file, (*PERSON, *DAY))
        columns = {}
        for name, known, kind in (("person_id", PERSON, "BIGINT"), ("day", DAY, "DATE")):
            column = next((one for one in known if one in kinds), None)
            if column is None:
                raise StudyError(
                    f"{file}: a column {' or '.join(known)} is missing (found {', '.join(list(kinds)[:9])})"
                )
            columns[name] = (column, kinds[column], kind)
        db.register("wanted", read_table(cohort, columns=["row_id", "person_id", "index_date"]))
        db.execute(
            "CREATE TABLE found AS SELECT w.row_id, min(f.row) AS row, count(f.row) AS times FROM wanted w "
            f"LEFT JOIN ({read_listing(db, file, relation, columns, list(columns))}) f "
            "ON w.person_id = f.person_id AND w.index_date = f.day GROUP BY w.row_id"
        )
        rows, lacking, twice = db.execute(
            "SELECT count(*), count(*) FILTER (times = 0), count(*) FILTER (times > 1) FROM found"
        ).fetchall()[0]
        if lacking:
            raise StudyError(
                f"{file}: {lacking} of {rows} rows have no vector; give one for every row of the cohort, training rows "
                f"too (person_id and index_date in {cohort})"
            )
        if twice:
            raise StudyError(f"{file}: {twice} of {rows} rows have two vectors (of one person and day); keep one")
        found = db.sql("SELECT row - 1 AS row FROM found ORDER BY row_id").to_arrow_table()
    return np.asarray(found["row"].to_numpy())


def _vector_columns(file: Path, schema: pa.Schema) -> _Vectors:
    lists = [field.name for field in schema if pa.types.is_list(field.type) or _is_fixed(field.type)]
    lists += [field.name for field in schema if pa.types.is_large_list(field.type)]
    if len(lists) > 1:
        raise StudyError(f"{file}: has several list columns ({', '.join(lists)}); keep the one with the vectors")
    if lists:
        return _Vectors(lists, True)
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    if not floats:
        raise StudyError(f"{file}: has no vectors: neither a list column nor columns of floating-point numbers")
    return _Vectors(floats, False)


def _is_fixed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _matrix(file: Path, batch: pa.RecordBatch, held: _Vectors) -> Matrix:
    """The vectors of a batch; a number that is missing becomes NaN."""
    if not held.lists:
        columns = [column.cast(pa.float32()).to_numpy(zero_copy_only=False) for column in batch.columns]
        return np.column_stack(columns).astype(np.float32, copy=False)
    column = batch.column(0)
    flat = column.flatten()
    if column.null_count or not _is_number(flat.type) or len(flat) % max(len(column), 1):
        raise StudyError(f"{file}: rows of the cohort have an empty vector") if column.null_count else _widths(file)
    lengths = {column.type.list_size} if _is_fixed(column.type) else set(column.value_lengths().unique().to_pylist())
    if len(lengths) > 1:
        raise _widths(file)
    numbers = flat.cast(pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return np.asarray(numbers.reshape(len(column), -1))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _widths(file: Path) -> StudyError:
    return StudyError(f"{file}: its vectors are not numbers of one width")
