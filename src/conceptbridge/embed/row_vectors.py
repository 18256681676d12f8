"""The table of vectors of a cohort's rows: one row per prediction, in the cohort's order."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.embed.vectors import Matrix
from conceptbridge.study.backends import SiteFiles
from conceptbridge.study.embeddings import Embedding

_COLUMNS = ["row_id", "vector"]


def write_row_vectors(
    embedding: Embedding,
    rows: SiteFiles,
    file: Path | None,
    windows: Sequence[tuple[int, int]],
    cache: Path,
    out: Path,
    threads: int = 1,
) -> None:
    """Write the vectors of a cohort's rows to ``out``; see ``Backend.represent``.

    Raises StudyError if the file lacks a row, has one twice or has a number that is none.
    """
    vectors = embedding.backend.represent(embedding.parent, rows, file, windows, cache, threads)
    width = embedding.spec.get("width", vectors.shape[1])
    if len(vectors) and vectors.shape[1] != width:
        raise StudyError(f"{file or embedding.name}: vectors of width {vectors.shape[1]}, and `width` says {width}")
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1), pa.float32())
    row_id = read_table(rows[0], columns=["row_id"])["row_id"]
    columns = [row_id, pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])]
    write_parquet(pa.table(columns, names=_COLUMNS), out)


def holds_row_vectors(table: Path) -> bool:
    """Whether a table has vectors of rows, not of texts."""
    return bool(pq.read_schema(table).names == _COLUMNS)


def read_row_vectors(table: Path) -> tuple[NDArray[np.int64], Matrix]:
    """The rows' ids and vectors, shape (rows, width)."""
    read = read_table(table)
    column = read["vector"].combine_chunks()
    return read["row_id"].to_numpy(), np.asarray(column.flatten()).reshape(len(read), column.type.list_size)
