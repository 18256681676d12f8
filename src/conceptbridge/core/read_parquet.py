"""Read Parquet files without ``pyarrow.dataset``, which imports pandas: most jobs need nothing else of it."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_table(path: Path, columns: Sequence[str] | None = None, read_dictionary: Sequence[str] = ()) -> pa.Table:
    """Return the table of one file, or these of its columns in their order; a column that is not there is a KeyError.

    ``read_dictionary``: columns of strings to return as dictionaries.
    """
    with pq.ParquetFile(path, read_dictionary=list(read_dictionary)) as file:
        table = file.read(columns=columns)
    return table if columns is None else table.select(list(columns))
