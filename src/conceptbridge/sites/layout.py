"""Find the layout of a table's text file: delimiter, quotes, and which field is which column."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.cdm import ALL_TABLES, REQUIRED, in_place_of
from conceptbridge.sites.quotes import quotes_are_syntax
from conceptbridge.sites.versions import COLUMNS, known_columns

DELIMITERS = ",\t;|"
SAMPLE = 1 << 20  # bytes
PACKED = (".gz", ".zst")

# as SQL clients write it: date(visit_start_date,'unixepoch'), CAST(person_id AS BIGINT)
_EXPRESSION = re.compile(r"\w+\s*\(\s*(\w+)\b.*\)", re.DOTALL)


@dataclass(frozen=True)
class Layout:
    """The column that each field holds, empty for a field that is not read, and how the file is written."""

    columns: tuple[str, ...]
    delimiter: str
    header: bool
    quoted: bool | None  # None: no field begins with a quote
    encoding: str
    surplus: int = 0  # fields beyond the header, in every row
    repaired: dict[str, str] = field(default_factory=dict)  # column -> what its header says


def read_layout(file: Path, table: str, headerless: bool = False, cdm_version: str | None = None) -> Layout:
    """Find the layout of ``file`` from its start; of a packed file the end is read, too, to see that it is whole, and
    of a file that is not separated by commas, to see whether its quotes are syntax.

    Raises StudyError if the file is empty or damaged, has no header and the site declares none, has a header that does
    not match its rows, or lacks a required column.
    """
    text, encoding, whole = read_start(file)
    if not text.strip():
        raise StudyError(f"{file}: the file is empty; export {table} again, at least with its header")
    known = known_columns(table) | {f"{column}time" for column, kind in ALL_TABLES[table].items() if kind == "DATE"}
    delimiter, first = find_delimiter(text, known)
    names = [_column(name, known) for name in first]
    timed = {time: day for day, time in in_place_of(table, names).items()}
    names = [timed.get(name, name) for name in names]
    if not any(names):
        columns, delimiter = _declared(file, table, text, headerless, cdm_version)
        layout = Layout(columns, delimiter, False, quotes_of(file, text, encoding, delimiter, len(columns)), encoding)
        return _fit(file, table, layout, _records(text, layout, whole))
    if headerless:
        raise StudyError(f"{file}: line 1 is a header ({first[0]} ...), but the site says `headerless: true`")
    for name, times in Counter(name for name in names if name in ALL_TABLES[table]).items():
        if times > 1:
            raise StudyError(f"{file}: line 1 names the column {name} {times} times; keep one")
    repaired = {
        name: header
        for name, header in zip(names, first, strict=True)
        if name in ALL_TABLES[table] and header.strip().lower() != name
    }
    layout = Layout(
        tuple(names),
        delimiter,
        True,
        quotes_of(file, text, encoding, delimiter, len(names)),
        encoding,
        repaired=repaired,
    )
    return _fit(file, table, layout, _records(text, layout, whole))


def read_start(file: Path) -> tuple[str, str, bool]:
    """Return the file's first part as text, its encoding, and whether that is the whole file."""
    data = b""
    for block in _blocks(file):
        if len(data) <= SAMPLE:
            data += block
        elif not file.name.lower().endswith(PACKED):
            break  # the checksum of a packed file stands at its end, and DuckDB does not check it
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    text = data[:SAMPLE].decode("utf-16" if encoding == "utf-16" else "utf-8-sig", errors="replace")
    return text, encoding, len(data) <= SAMPLE


def _blocks(file: Path) -> Iterator[bytes]:
    """Yield the unpacked content of a file. Raises StudyError where that is damaged."""
    name = file.name.lower()
    try:
        with _unpacked(file) as stream:
            size = SAMPLE + 1
            while block := stream.read(size):
                yield block
                size = 1 << 24
    except (OSError, EOFError, zlib.error) as error:
        kind = "gzip" if name.endswith(".gz") else "Zstandard"
        if not name.endswith(PACKED):
            raise
        raise StudyError(f"{file}: this {kind} file is damaged ({error}); copy or compress it again") from error


def _unpacked(file: Path) -> Any:
    name = file.name.lower()
    if name.endswith(".gz"):
        return gzip.open(file)
    if name.endswith(".zst"):
        import pyarrow as pa

        return pa.CompressedInputStream(str(file), "zstd")
    return file.open("rb")


def find_delimiter(text: str, known: set[str]) -> tuple[str, list[str]]:
    """Return the delimiter under which most names of the first line are columns, and those names."""
    best = [(0, ",", [""])]
    for delimiter in DELIMITERS:
        first = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [""])
        best.append((sum(_column(name, known) != "" for name in first), delimiter, first))
    _, delimiter, first = max(best, key=lambda candidate: candidate[0])
    return delimiter, first


def _column(name: str, known: set[str]) -> str:
    name = name.strip().strip('"').lower()
    if name in known:
        return name
    inside = _EXPRESSION.fullmatch(name)
    return inside[1] if inside and inside[1] in known else ""


def _declared(
    file: Path, table: str, text: str, headerless: bool, cdm_version: str | None
) -> tuple[tuple[str, ...], str]:
    widths = {d: len(next(csv.reader(io.StringIO(text, newline=""), delimiter=d))) for d in DELIMITERS}
    if not headerless or cdm_version is None:
        raise StudyError(
            f"{file}: line 1 is not a header of {table}: none of its {max(widths.values())} fields is the name of a "
            "column. Add a header; or, if the site's files follow the column order of a CDM version, set "
            "`headerless: true` and `cdm_version:` for the site."
        )
    columns = COLUMNS[cdm_version][table]
    delimiter = next((d for d, width in widths.items() if width == len(columns)), None)
    if delimiter is None:
        raise StudyError(
            f"{file}: line 1 has {max(widths.values())} fields, and {table} of CDM {cdm_version} has {len(columns)}; "
            "correct `cdm_version`, or add a header"
        )
    return columns, delimiter


def quotes_of(file: Path, text: str, encoding: str, delimiter: str, width: int) -> bool | None:
    """Whether fields are put in quotes. Files separated by commas always have them where they are needed."""
    if delimiter == ",":
        return True
    # all rows may be wider or narrower than the header
    widths = Counter(line.count(delimiter) + 1 for line in text.splitlines()[1:] if line and '"' not in line)
    known = {width, *(most for most, _ in widths.most_common(1))}
    blocks = _blocks(file)
    if encoding == "utf-16":
        blocks = (part.encode() for part in codecs.iterdecode(blocks, "utf-16", errors="replace"))
    return quotes_are_syntax(blocks, delimiter, known)


def _records(text: str, layout: Layout, whole: bool) -> list[list[str]]:
    lines = io.StringIO(text, newline="")
    if layout.quoted:
        rows = list(csv.reader(lines, delimiter=layout.delimiter))
    else:
        rows = list(csv.reader(lines, delimiter=layout.delimiter, quoting=csv.QUOTE_NONE))
    rows = rows[1:] if layout.header else rows
    # the last row of a sample may be cut off
    return [row for row in (rows if whole else rows[:-1]) if row]


def _fit(file: Path, table: str, layout: Layout, rows: list[list[str]]) -> Layout:
    """Return the layout that the rows really have, if all of them differ from the header in the same way."""
    width, widths = len(layout.columns), {len(row) for row in rows}
    if len(widths) == 1 and width not in widths:
        actual = widths.pop()
        layout = _wider(file, table, layout, actual) if actual > width else _narrower(file, layout, actual)
    missing = [column for column in REQUIRED[table] if column not in layout.columns]
    if missing:
        names = ", ".join(name for name in layout.columns if name)
        raise StudyError(f"{file}: the column {missing[0]} is missing (found {names}); export it, every row needs it")
    return layout


def _narrower(file: Path, layout: Layout, width: int) -> Layout:
    if any(layout.columns[width:]):
        raise StudyError(
            f"{file}: the header has {len(layout.columns)} columns and the rows have {width} fields (line 2), so it is "
            "unknown which field is which column; export the table again"
        )
    return replace(layout, columns=layout.columns[:width])


def _wider(file: Path, table: str, layout: Layout, width: int) -> Layout:
    """Every row has more fields than the header: a delimiter ends each line, or the rows are of another version.

    In the second case only the columns in the same position in that version are certain; the others are not read.
    """
    columns, surplus = layout.columns, width - len(layout.columns)
    for order in (tables[table] for tables in COLUMNS.values()):
        if len(order) == width:
            same = next((n for n, name in enumerate(columns) if name != order[n]), len(columns))
            columns = (*columns[:same], *[""] * (len(columns) - same))
    uncertain = [c for c in REQUIRED[table] if c in layout.columns and c not in columns]
    if uncertain:
        raise StudyError(
            f"{file}: the header has {len(columns)} columns and the rows have {width} fields (line 2), so it is "
            f"unknown which field is {uncertain[0]}; export the table again with a header that matches its rows"
        )
    return replace(layout, columns=columns, surplus=surplus)
