"""Tables of text and vector."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table

Matrix = NDArray[np.float32]


class UnusableVectorsError(StudyError):
    """Some ``texts`` got a vector that says nothing. The message names none: a hospital may have written them."""

    def __init__(self, message: str, texts: Sequence[str]) -> None:
        super().__init__(message)
        self.texts = list(texts)


def vector_table(texts: Sequence[str], vectors: Matrix) -> pa.Table:
    """Table of text and vector (a fixed-size list of float32) from a matrix of shape (texts, width)."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1), pa.float32())
    return pa.table(
        {
            "text": pa.array(texts, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    )


def read_vectors(path: Path) -> tuple[list[str], Matrix]:
    """Texts of an embedding table and their vectors, shape (texts, width)."""
    table = read_table(path)
    column = table["vector"].combine_chunks()
    return table["text"].to_pylist(), np.asarray(column.flatten()).reshape(len(table), column.type.list_size)
