"""Parquet: one file per table, or one per part of it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import literal
from conceptbridge.sites.formats.format import Format, Source, StoredTable, relation_source, twice

if TYPE_CHECKING:
    import duckdb

CODECS = ("snappy", "gz", "gzip", "zstd", "zst", "brotli", "br", "lz4", "lz4raw")


class Parquet(Format):
    """Typed columns; DuckDB reads them."""

    name = "parquet"
    title = "Parquet"
    #: some writers put the compression before the end
    suffixes = (".parquet", ".pq", ".parq", *(f".{codec}.parquet" for codec in CODECS))

    def open(self, db: "duckdb.DuckDBPyConnection", stored: StoredTable) -> Source:
        """Open the files; those of a table in parts have to have the same columns."""
        import pyarrow.parquet as pq

        position = _position(stored.files) if stored.place.parts else "file_row_number"
        source = relation_source(db, stored.table, stored.place, scan(stored.files), position)
        # DuckDB renames the second of two columns that differ in case alone
        same = Counter(name.lower() for name in pq.read_schema(stored.files[0]).names)
        for column in source.columns:
            if same[column] > 1:
                raise twice(stored.place, column)
        return source


def scan(files: Sequence[Path]) -> str:
    """The DuckDB relation of Parquet files one after the other, with ``file_row_number``."""
    listed = ", ".join(map(literal, files))
    return f"read_parquet([{listed}], binary_as_string=true, file_row_number=true)"


def _position(files: Sequence[Path]) -> str:
    """SQL that numbers the rows of all parts of a table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    before, first = [0], None
    for part in files:
        try:
            footer = pq.read_metadata(part)
        except (OSError, pa.ArrowException) as error:
            raise StudyError(f"{part}: cannot be read as Parquet ({error}); copy or export it again") from error
        schema = footer.schema.to_arrow_schema()
        if not schema.equals(first or schema):
            raise StudyError(
                f"{part}: its columns or their types differ from {files[0].name}; export all parts of the table "
                "in the same way"
            )
        first = schema
        before.append(before[-1] + footer.num_rows)
    return f"file_row_number + {before}[file_index::BIGINT + 1]"
