"""Read the few rows that are needed of a large table, such as those of an Athena download."""

from pathlib import Path

import duckdb

from conceptbridge.sites.cdm import REQUIRED
from conceptbridge.sites.formats.format import Place
from conceptbridge.sites.refused import REJECTED_BITS, naming, reject_values
from conceptbridge.sites.source import open_source, rejected, typed


def read_wanted(db: duckdb.DuckDBPyConnection, table: str, place: Place, work: Path, wanted: str) -> int:
    """Make the table ``wanted_{table}`` of the rows that the SQL ``wanted`` holds for; files are unpacked in ``work``.

    Returns how many rows were skipped because they cannot be read. Raises StudyError for a damaged file, or a value
    that cannot be read correctly.
    """
    with naming(place, table):
        source = open_source(db, table, place, work, {})
        unreadable = " OR ".join(f"{column} IS NULL" for column in REQUIRED[table])
        db.execute(
            f"CREATE TABLE wanted_{table} AS SELECT *, {unreadable} AS unreadable FROM ({typed(source)}) "
            f"WHERE {wanted} OR {unreadable} OR {REJECTED_BITS} <> 0"
        )
        skipped = sum(count for count, _ in rejected(db, source).values()) if source.layout else 0
    bits = db.execute(f"SELECT coalesce(bit_or({REJECTED_BITS}), 0) FROM wanted_{table}").fetchall()[0][0]
    reject_values(db, source, int(bits))
    unread = db.execute(f"SELECT count(*) FROM wanted_{table} WHERE unreadable").fetchall()[0][0]
    db.execute(f"DELETE FROM wanted_{table} WHERE unreadable")
    return skipped + int(unread)
