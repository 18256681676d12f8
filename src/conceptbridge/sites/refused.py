"""Refuse a table with a value that cannot be read correctly, or that cannot be opened: one message that says where."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.cdm import ALL_TABLES
from conceptbridge.sites.formats.format import Place, Source
from conceptbridge.sites.typed import REJECTED, read_column

#: SQL of the bits of ``faults`` (source.py) of values that are rejected
REJECTED_BITS = f"faults & (faults >> 1) & {0x5555555555555555}"


def reject_values(db: duckdb.DuckDBPyConnection, source: Source, faults: int) -> None:
    """Raise StudyError for the first value that cannot be read correctly.

    ``faults`` has the bits of all rows together; of each row, those of which both are set."""
    for n, (column, kind) in enumerate(ALL_TABLES[source.table].items()):
        if not faults >> (2 * n) & 1:
            continue
        reading = read_column(*source.columns[column], kind)
        row, value = db.execute(
            f"""
            SELECT row, r FROM (SELECT *, {reading.verdict} AS verdict FROM (
                SELECT *, {reading.value} AS v FROM (
                    SELECT row_number() OVER () AS row, {reading.raw} AS r FROM {source.relation})))
            WHERE verdict = {REJECTED} ORDER BY row LIMIT 1
            """
        ).fetchall()[0]
        raise StudyError(f"{source.place}: row {row} of the data, column {column}: {why_rejected(value, kind)}")


def why_rejected(value: object, kind: str) -> str:
    """Say what is wrong with a rejected value of a column of type ``kind``, and what to do; it quotes no id or date."""
    if kind == "DATE":
        return (
            f"this date has the day before the month ({_shape(value)}), so in other dates the two cannot be told "
            "apart; export dates as YYYY-MM-DD"
        )
    return (
        f"{_start(value)} went through a spreadsheet or a floating-point column and lost its last digits; export ids "
        "as whole numbers"
    )


def reject_lost(table: str, place: Place, dropped: Mapping[str, int]) -> None:
    """Raise StudyError: no row of a table can be kept. ``dropped`` has the reasons; the commonest is named."""
    reason = max(dropped, key=lambda one: dropped[one])
    share = "all" if len(dropped) == 1 else "most"
    raise StudyError(f"{place}: {reason} in {share} rows of {table}, and no row can be kept: {_advice(reason)}")


def _advice(reason: str) -> str:
    if reason.endswith("cannot be read"):
        return "the header does not match the columns, or the column is written in another way; export the table again"
    if "after the extract" in reason or "stands for no date" in reason:
        return (
            "set `last_date` for the site to the last day of its records if these dates are right (some extracts are "
            "shifted into the future), or correct them"
        )
    if "person" in reason:
        return "are both tables of the same extract? Correct the table, or remove it"
    return "correct the table, or remove it"


def _shape(value: object) -> str:
    """Return the value with every digit as 9: a log must not hold dates."""
    return "".join("9" if c.isdigit() else c for c in str(value))


def _start(value: object) -> str:
    """Return the value, or only its first digits if it is long enough to be an id."""
    return str(value) if sum(c.isdigit() for c in str(value)) <= 6 else f"{str(value)[:4]}..."


@contextmanager
def naming(place: Place, table: str) -> Iterator[None]:
    """Turn DuckDB's error about a file into one message that names the file."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        fault = str(error).splitlines()[0]
        raise StudyError(f"{place}: cannot be read as a {table} table: {fault}; copy or export it again") from error
