"""Dates that are stored as numbers: which encoding a column has is decided from all of its values."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

#: encoding -> SQL of the date of a number {n}. Where several fit as well, the first does
ENCODINGS = {
    "yyyymmdd": "CASE WHEN {n} BETWEEN 1e7 AND 1e8 THEN TRY(strptime({n}::BIGINT::VARCHAR, '%Y%m%d'))::DATE END",
    "seconds since 1970": "TRY(DATE '1970-01-01' + floor({n} / 86400)::INTEGER)",
    "milliseconds since 1970": "TRY(DATE '1970-01-01' + floor({n} / 86400e3)::INTEGER)",
    "microseconds since 1970": "TRY(DATE '1970-01-01' + floor({n} / 86400e6)::INTEGER)",
    "nanoseconds since 1970": "TRY(DATE '1970-01-01' + floor({n} / 86400e9)::INTEGER)",
    "Julian days": "TRY(DATE '1970-01-01' + floor({n} - 2440587.5)::INTEGER)",
    "days since 1970": "TRY(DATE '1970-01-01' + floor({n})::INTEGER)",
    "days of a spreadsheet": "TRY(DATE '1899-12-30' + floor({n})::INTEGER)",
}
#: the years of most extracts, and those in which people live. Into 1970 falls every small number of seconds, and a
#: small number of days counts from a patient's own first day
_RECENT, _EVER = "year({d}) BETWEEN 1980 AND 2040", "year({d}) BETWEEN 1900 AND 2299 AND year({d}) <> 1970"
_LATER = {
    "days since 1970": "year({d}) BETWEEN 1980 AND 2299",
    "days of a spreadsheet": "year({d}) BETWEEN 1930 AND 2299",
}
_NUMBERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE"}
_NUMBERS |= {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}


def read_number_dates(
    db: "duckdb.DuckDBPyConnection", relation: str, column: str, kind: str, as_text: bool
) -> tuple[str, str] | None:
    """Return how to read the dates of a column, and what is noted of it; None if its numbers are not to be read so.

    ``kind`` is the DuckDB type of ``column`` (SQL); with ``as_text`` it is text that can hold numbers, as a copy of a
    SQLite table does. The first part is SQL of the dates as text, and of the values that make no date as they are.
    """
    if kind == "VARCHAR" and as_text:
        plain = f"regexp_full_match({column}, '-?[0-9]+(\\.[0-9]*)?(e[+]?[0-9]+)?')"
        number, stored = (
            f"CASE WHEN {column} NOT LIKE '%-%-%' AND {plain} THEN TRY_CAST({column} AS DOUBLE) END",
            column,
        )
    elif kind in _NUMBERS or kind.startswith("DECIMAL"):
        number, stored = f"{column}::DOUBLE", f"{column}::VARCHAR"
    else:
        return None
    encoding = _encoding(db, relation, number)
    if encoding is None:
        return None
    date = ENCODINGS[encoding].format(n=f"({number})")
    return f"coalesce(({date})::VARCHAR, {stored})", f"is a number: read as {encoding}"


def _encoding(db: "duckdb.DuckDBPyConnection", relation: str, number: str) -> str | None:
    """Return the encoding that makes plausible dates of most numbers; None without numbers, or if none does.

    Numbers that are days as eight digits are yyyymmdd. Else that encoding counts with which the most values fall into
    the years of most extracts, or else into any year in which people live.
    """
    dates = {name: sql.format(n="n") for name, sql in ENCODINGS.items()}
    asked = [f"{dates['yyyymmdd']} IS NOT NULL", "n BETWEEN 1900 AND 2299"]
    asked += [_RECENT.format(d=f"({sql})") for sql in dates.values()]
    asked += [_LATER.get(name, _EVER).format(d=f"({sql})") for name, sql in dates.items()]
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in asked)
    query = f"SELECT count(*), {counts} FROM (SELECT {number} AS n FROM {relation}) WHERE isfinite(n)"
    total, days, years, *fitting = (int(count) for count in db.execute(query).fetchall()[0])
    if total == 0 or 2 * years > total:  # a year alone is no day
        return None
    if 2 * days > total:
        return "yyyymmdd"
    names = list(ENCODINGS)
    for counted in (fitting[: len(names)], fitting[len(names) :]):
        if 2 * max(counted) > total:
            return names[counted.index(max(counted))]
    return None
