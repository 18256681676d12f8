"""Read a table that is handed in beside an extract (a cohort, a list of patients) as strictly as the extract itself."""

import csv
import io
from collections.abc import Collection, Mapping
from pathlib import Path

import duckdb

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import identifier, literal
from conceptbridge.sites.formats.format import format_of
from conceptbridge.sites.layout import find_delimiter, quotes_of, read_start
from conceptbridge.sites.refused import why_rejected
from conceptbridge.sites.typed import REJECTED, UNREADABLE, read_column

_KINDS = {"BIGINT": "a whole number", "DOUBLE": "a number", "DATE": "a date; write YYYY-MM-DD", "VARCHAR": "text"}


def listed_columns(db: duckdb.DuckDBPyConnection, file: Path, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """Open a Parquet or delimited text file with a header: its DuckDB relation, and column -> type of those ``known``.

    Names of columns are in lower case; nothing is guessed from the values. Raises StudyError if the file cannot be read
    or has a column twice.
    """
    form = format_of(file.name)
    try:
        if form and form[0].name == "parquet":
            scan = f"read_parquet({literal(file)}, binary_as_string=true)"
            names = [(str(name), str(kind)) for name, kind, *_ in db.execute(f"DESCRIBE FROM {scan}").fetchall()]
        else:
            scan, names = _text(file, known)
    except duckdb.Error as error:
        raise StudyError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from error
    lower = [name.strip().lower() for name, _ in names]
    for name in known:
        if lower.count(name) > 1:
            raise StudyError(f"{file}: has the column {name} twice; keep one")
    columns = ", ".join(
        f"{identifier(name)} AS {identifier(low)}"
        for (name, _), low in zip(names, lower, strict=True)
        if low in known or lower.count(low) == 1
    )
    kinds = {low: kind for low, (_, kind) in zip(lower, names, strict=True)}
    return f"(SELECT {columns}, row_number() OVER () AS row FROM {scan})", kinds


def read_listing(
    db: duckdb.DuckDBPyConnection,
    file: Path,
    relation: str,
    columns: Mapping[str, tuple[str, str, str]],
    required: Collection[str],
) -> str:
    """Return SQL of ``row`` and the typed columns: new name -> (name in ``relation``, type there, type wanted).

    Raises StudyError for the first value that cannot be read correctly, and for a ``required`` one that is missing. It
    names the row and the column, never a value that can be an id or a date.
    """
    raw, values, verdicts = [], [], []
    for n, (name, (column, stored, kind)) in enumerate(columns.items()):
        sql, stored = _number(identifier(column), stored, kind)
        reading = read_column(sql, stored, kind, f"r{n}", f"v{n}")
        raw.append(f"{reading.raw} AS r{n}")
        values.append(f"{reading.value} AS v{n}")
        verdicts.append((n, name, column, kind, reading.verdict))
    inner = f"SELECT *, {', '.join(values)} FROM (SELECT row, {', '.join(raw)} FROM {relation})"
    for n, name, column, kind, verdict in verdicts:
        missing = f"v{n} IS NULL" if name in required else "false"
        try:
            found = db.execute(
                f"SELECT row, r{n}, verdict FROM (SELECT *, {verdict} AS verdict FROM ({inner})) "
                f"WHERE verdict IN ({UNREADABLE}, {REJECTED}) OR {missing} ORDER BY row LIMIT 1"
            ).fetchone()
        except duckdb.Error as error:
            raise StudyError(f"{file}: cannot be read ({_without_values(error)})") from error
        if found:
            row, value, said = found
            why = why_rejected(value, kind) if said == REJECTED else f"is not {_KINDS[kind]}"
            why = "is empty" if value is None else why
            raise StudyError(f"{file}: row {row} of the data, column {column}: {why}")
    return f"SELECT row, {', '.join(f'v{n} AS {name}' for n, name, *_ in verdicts)} FROM ({inner})"


def _text(file: Path, known: Collection[str]) -> tuple[str, list[tuple[str, str]]]:
    text, encoding, _ = read_start(file)
    if not text.strip():
        raise StudyError(f"{file}: the file is empty")
    delimiter, names = find_delimiter(text, set(known))
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    quote = "'\"'" if quotes_of(file, text, encoding, delimiter, len(names)) else "''"
    columns = ", ".join(f"'c{n}': 'VARCHAR'" for n in range(len(names)))
    scan = (
        f"read_csv({literal(file)}, auto_detect=false, columns={{{columns}}}, header=false, skip=1, "
        f"delim={literal(delimiter)}, quote={quote}, escape={quote}, encoding='{encoding}', nullstr='\x01', "
        "strict_mode=true, null_padding=false)"
    )
    renamed = ", ".join(f"c{n} AS {identifier(name or f'unnamed {n}')}" for n, name in enumerate(names))
    return f"(SELECT {renamed} FROM {scan})", [(name or f"unnamed {n}", "VARCHAR") for n, name in enumerate(names)]


def _number(column: str, stored: str, kind: str) -> tuple[str, str]:
    """A label may be stored as true and false."""
    return (f"{column}::TINYINT", "TINYINT") if stored == "BOOLEAN" and kind == "BIGINT" else (column, stored)


def _without_values(error: Exception) -> str:
    """The first sentence of a message of DuckDB, which may quote a row behind it."""
    return str(error).splitlines()[0].split("Original Line")[0].split(":", 1)[0]
