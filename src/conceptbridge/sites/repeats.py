"""Find the rows of a table that repeat an earlier row, or its key."""

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.checks import KEYS, OWN_IDS, verdict_sql

#: ids (8 bytes each) that are sorted at once
_IDS = 1 << 26
_MASK = (1 << 62) - 1


def find_repeats(
    db: duckdb.DuckDBPyConnection, table: str, relation: str, rows: str, reasons: list[tuple[str, str]]
) -> bool:
    """Make the table ``repeats`` (position, exact) and say whether it has rows.

    It holds the positions of rows that repeat an earlier kept row (``exact``), or only its key. ``relation`` is the
    table, ``rows`` the same with what is known of each row's person; ``reasons`` are those for which a row is dropped.
    """
    columns = ", ".join(TABLES[table])
    own_id = OWN_IDS.get(table)
    counts = db.execute(f"SELECT count(*), count({own_id or 'NULL'}) FROM {relation}").fetchall()[0]
    total, with_id = (int(n) for n in counts)
    # rows without an id of their own are compared by a hash first
    by = own_id if own_id and with_id == total else f"(hash({columns}) >> 1)::BIGINT"
    repeated = list(_repeated(db, relation, by, total))
    if not repeated:
        return False
    key = KEYS.get(table)
    db.register("repeated", {"id": np.concatenate(repeated)})
    db.execute(
        f"""
        CREATE OR REPLACE TABLE repeats AS
        WITH candidates AS (
            SELECT * FROM (SELECT *, {verdict_sql(reasons)} AS verdict FROM {rows})
            WHERE verdict = -1 AND {by} IN (SELECT id FROM repeated)
        ), numbered AS (
            SELECT position, {key or "NULL"} AS key,
                   row_number() OVER (PARTITION BY {columns} ORDER BY position) > 1 AS exact
            FROM candidates
        )
        SELECT position, true AS exact FROM numbered WHERE exact
        UNION ALL
        SELECT position, false FROM numbered WHERE NOT exact AND key IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY key ORDER BY position) > 1
        """
    )
    db.unregister("repeated")
    return bool(db.execute("SELECT count(*) FROM repeats").fetchall()[0][0])


def _repeated(db: duckdb.DuckDBPyConnection, relation: str, by: str, total: int) -> Iterator[NDArray[Any]]:
    """Yield the values that occur more than once; of a long table one slice of the values at a time."""
    slices = -(-total // _IDS)
    for part in range(slices):
        query = f"FROM {relation}" if slices == 1 else f"FROM {relation} WHERE (({by}) & {_MASK}) % {slices} = {part}"
        size = total if slices == 1 else int(db.execute(f"SELECT count(*) {query}").fetchall()[0][0])
        values, end = np.empty(size, dtype=np.int64), 0
        for batch in db.sql(f"SELECT {by} {query}").to_arrow_reader(1 << 20):
            values[end : end + len(batch)] = batch.columns[0].to_numpy()
            end += len(batch)
        if not np.all(values[1:] > values[:-1]):
            values.sort()
            yield np.unique(values[1:][values[1:] == values[:-1]])
