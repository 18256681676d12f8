"""SQL that reads a raw column as its declared type, and says of each value whether it could be read.

DuckDB's own casts are too lenient: they read 12.6 as 13, and 1.74E+18 as an ordinary number.
"""

import re
from dataclasses import dataclass

from conceptbridge.core.sql import literal

#: what scripts, databases and spreadsheets write for a missing value; spaces around it and its case do not count
NULLS = (
    *("", "null", "\\n", "nan", "none", "n/a", "#n/a", "<na>", "(null)", "<null>", "[null]", "undefined"),
    *("#null!", "#value!", "#ref!", "#num!", "#name?", "#div/0!"),
)
#: the same, only as it is written: Na is sodium
EXACT_NULLS = ("NA", "NaT")
#: those that are never a name
PLAIN_NULLS = ("", "NULL", "null", "\\N")
_LONGEST = max(map(len, NULLS))
_NULL = rf"\s*((?i:{'|'.join(map(re.escape, filter(None, NULLS)))})|{'|'.join(EXACT_NULLS)})?\s*"

#: verdicts on a value; 0 says nothing
UNREADABLE = 1  # left empty
REPAIRED = 2  # a whole number written as a decimal one: 12.0
REJECTED = 3  # digits are lost, or day and month cannot be told apart: the file must not be read

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_WIDE = {"UBIGINT", "HUGEINT", "UHUGEINT"}
_TIMESTAMPS = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
# below this every whole number has its own float
_EXACT = {"FLOAT": 2**24, "DOUBLE": 2**53}

_WHOLE = r"^\s*([+-]?(?:\d+|\d{1,15}\.0*))\s*$"
_LOST = r"\s*[+-]?(\d+([.,]\d*)?[eE]\+?\d+|\d{16,}\.0*)\s*"
_DATE_FORMS = ["%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%m/%d/%Y"]
_TIME = r"(?:[T ]\s*\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?:[AaPp][Mm])?)?\s*(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?\s*"
_DATE = (
    rf"^\s*(\d{{4}}-\d{{2}}-\d{{2}}|\d{{8}}(?:\.0+)?|\d{{4}}/\d{{1,2}}/\d{{1,2}}|\d{{1,2}}/\d{{1,2}}/\d{{4}}){_TIME}$"
)
_DAY_FIRST = rf"\s*(?:1[3-9]|2\d|3[01])/(?:0?[1-9]|1[0-2])/\d{{4}}{_TIME}"


@dataclass(frozen=True)
class Reading:
    """How a column is read, in three steps of SQL that each see the names of the earlier ones.

    ``raw`` is the value as stored, named r; ``value`` the typed value, named v; ``verdict`` the verdict on it.
    """

    raw: str
    value: str
    verdict: str = "0"


def read_column(column: str, stored: str, kind: str, r: str = "r", v: str = "v", words: bool = False) -> Reading:
    """Return how to read ``column`` (quoted SQL) of DuckDB type ``stored`` as ``kind``; ``r`` and ``v`` name its steps.

    ``kind`` is BIGINT, INTEGER, DOUBLE, DATE or VARCHAR. A date with a time becomes the date as it is written; with a
    time zone, the date in UTC. With ``words``, text such as None is text: it is the name of a concept, too.
    """
    unreadable = f"CASE WHEN {r} IS NOT NULL AND {v} IS NULL THEN {UNREADABLE} ELSE 0 END"
    if kind == "DATE":
        if stored in {"DATE", *_TIMESTAMPS}:
            return Reading(column, f"CASE WHEN isfinite({r}) THEN {r}::DATE END")
        if stored == "TIMESTAMP WITH TIME ZONE":
            return Reading(f"{column} AT TIME ZONE 'UTC'", f"CASE WHEN isfinite({r}) THEN {r}::DATE END")
        plain = f"length({r}) = 10 AND TRY_CAST({r} AS DATE)::VARCHAR = {r}"
        other = f"try_strptime(regexp_replace(regexp_extract({r}, '{_DATE}', 1), '\\.0+$', ''), {_DATE_FORMS})"
        return Reading(
            _text(column, stored),
            f"CASE WHEN {plain} THEN TRY_CAST({r} AS DATE) WHEN {r} IS NOT NULL THEN {other}::DATE END",
            f"CASE WHEN {r} IS NULL OR length({r}) = 10 AND {v}::VARCHAR = {r} THEN 0 "
            f"WHEN regexp_full_match({r}, '{_DAY_FIRST}') THEN {REJECTED} "
            f"WHEN {v} IS NULL THEN {UNREADABLE} ELSE 0 END",
        )
    if kind == "DOUBLE":
        if stored in _INTEGERS | _WIDE | set(_EXACT) or stored.startswith("DECIMAL"):
            return Reading(f"{column}::DOUBLE", f"CASE WHEN isfinite({r}) THEN {r} END")
        number = f"TRY_CAST({r} AS DOUBLE)"
        return Reading(_text(column, stored), f"CASE WHEN isfinite({number}) THEN {number} END", unreadable)
    if kind == "VARCHAR":
        return Reading(_text(column, stored, words), r)
    if stored in _INTEGERS:
        return Reading(column, f"TRY_CAST({r} AS {kind})", "0" if kind == "BIGINT" else unreadable)
    if stored in _WIDE or stored.startswith("DECIMAL"):
        return Reading(column, f"CASE WHEN {r} = trunc({r}) THEN TRY_CAST({r} AS {kind}) END", unreadable)
    if stored in _EXACT:
        return Reading(
            f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END",
            f"CASE WHEN {r} = trunc({r}) AND abs({r}) < {_EXACT[stored]} THEN TRY_CAST({r} AS {kind}) END",
            f"CASE WHEN {r} IS NULL THEN 0 WHEN abs({r}) >= {_EXACT[stored]} THEN {REJECTED} "
            f"WHEN {v} IS NULL THEN {UNREADABLE} ELSE {REPAIRED} END",
        )
    whole = f"TRY_CAST({r} AS {kind})"
    other = f"TRY_CAST(split_part(regexp_extract({r}, '{_WHOLE}', 1), '.', 1) AS {kind})"
    return Reading(
        _text(column, stored),
        f"CASE WHEN {whole}::VARCHAR = {r} THEN {whole} WHEN {r} IS NOT NULL THEN {other} END",
        f"CASE WHEN {v} IS NOT NULL THEN CASE WHEN contains({r}, '.') THEN {REPAIRED} ELSE 0 END "
        f"WHEN {r} IS NULL THEN 0 WHEN regexp_full_match({r}, '{_LOST}') THEN {REJECTED} ELSE {UNREADABLE} END",
    )


def is_null_sql(text: str) -> str:
    """Return SQL that is true where ``text`` is a spelling of a missing value."""
    return f"regexp_full_match({text}, {literal(_NULL)})"


def _text(column: str, stored: str, words: bool = False) -> str:
    if stored in _EXACT:  # text that a program took for numbers: 65363002.0
        whole = f"{column} = trunc({column}) AND abs({column}) < {_EXACT[stored]}"
        text = f"CASE WHEN {whole} THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END"
        return f"CASE WHEN NOT isnan({column}) THEN {text} END"
    if stored.startswith("DECIMAL"):
        return f"CASE WHEN {column} = trunc({column}) THEN {column}::HUGEINT::VARCHAR ELSE {column}::VARCHAR END"
    text = column if stored == "VARCHAR" else f"{column}::VARCHAR"
    if words:
        return f"CASE WHEN {' AND '.join(f'{text} <> {literal(null)}' for null in PLAIN_NULLS)} THEN {text} END"
    # most values are empty, begin with a digit, or are longer than any spelling with some blanks around it
    plain = f"{text} BETWEEN '0' AND ':' OR strlen({text}) > {_LONGEST + 8}"
    return f"CASE WHEN {text} = '' THEN NULL WHEN {plain} THEN {text} WHEN NOT {is_null_sql(text)} THEN {text} END"
