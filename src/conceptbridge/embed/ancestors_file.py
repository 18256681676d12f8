"""The file of a site's ancestors, read without a database."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.core.read_parquet import read_table

SCHEMA = pa.schema([("key", pa.string()), ("also", pa.list_(pa.string()))])

#: token -> the tokens that it is as well, by key
Ancestors = dict[str, list[str]]


def holds_ancestors(table: Path) -> bool:
    """Whether a site's table holds ancestors, not vectors."""
    return bool(pq.read_schema(table).names == SCHEMA.names)


def read_ancestors(table: Path) -> Ancestors:
    """What each token is as well."""
    return dict(zip(*read_table(table, columns=SCHEMA.names).to_pydict().values(), strict=True))
