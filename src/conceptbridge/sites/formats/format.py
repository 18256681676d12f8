"""The file formats of an extract by name, and what each of them declares and does.

A format is one subclass of ``Format`` in a module of its own: in this package, or in another one that names it as an
entry point of the group ``conceptbridge.formats``. Planning a run imports these modules, so they import nothing heavy
at their top.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from conceptbridge.core.errors import StudyError
from conceptbridge.core.registry import Registry
from conceptbridge.core.sql import identifier
from conceptbridge.sites.cdm import ALL_TABLES, REQUIRED, in_place_of
from conceptbridge.sites.layout import Layout
from conceptbridge.sites.number_dates import read_number_dates

if TYPE_CHECKING:
    import duckdb

MORE_FIELDS = "it has more fields than the header"


@dataclass(frozen=True)
class Place:
    """Where a table stands: ``member`` is its name inside an archive or a database, else empty.

    A table in parts is a folder, and ``parts`` its files.
    """

    file: Path
    format: str
    member: str = ""
    parts: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}: {self.member}" if self.member else str(self.file)

    @property
    def name(self) -> str:
        """The place without its folder."""
        return f"{self.file.name}: {self.member}" if self.member else self.file.name


@dataclass(frozen=True)
class Source:
    """A raw table: ``columns`` maps a CDM column to its SQL and DuckDB type; ``position`` numbers its rows.

    Without ``position`` the rows are read once and numbered as they come. ``layout`` is that of a text file.
    """

    table: str
    place: Place
    relation: str
    columns: dict[str, tuple[str, str]]
    position: str | None
    layout: Layout | None = None
    #: column -> what its header says instead
    repaired: dict[str, str] = field(default_factory=dict)
    #: column -> what all of its values have in common, and is noted
    noted: dict[str, str] = field(default_factory=dict)


class StoredTable(NamedTuple):
    """A CDM table at ``place``, which is in ``files`` (several for a table in parts), and how it is to be opened:
    ``folder`` takes what has to be copied first, ``reading`` has headerless and cdm_version."""

    table: str
    place: Place
    files: Sequence[Path]
    folder: Path
    reading: Mapping[str, Any]


class Format:
    """One way of storing tables. A subclass sets the attributes and writes ``open``, and ``members`` where it holds
    more than one table."""

    name: ClassVar[str]
    #: what it is, in messages
    title: ClassVar[str]
    #: ends of its files' names, in lower case
    suffixes: ClassVar[tuple[str, ...]] = ()
    #: what a file holds: one "table", named by the file; an archive of "files", each of which is such a table; or a
    #: database of "tables"
    holds: ClassVar[Literal["table", "files", "tables"]] = "table"

    def recognises(self, file: Path) -> bool:
        """Whether an archive or a database is of this format, by its content."""
        return file.name.lower().endswith(self.suffixes)

    def members(self, file: Path) -> Iterable[tuple[str, str]]:
        """Name and member of each file or table in an archive or a database. Raises StudyError when it is damaged."""
        return ()

    def open(self, db: "duckdb.DuckDBPyConnection", stored: StoredTable) -> Source:
        """Open a table. Raises StudyError when a file is damaged or lacks a column that every row needs."""
        raise NotImplementedError

    def rejected(self, db: "duckdb.DuckDBPyConnection", source: Source) -> dict[str, tuple[int, int]]:
        """Reason -> number and first line of the rows that were skipped when ``source`` was read."""
        return {}


def relation_source(
    db: "duckdb.DuckDBPyConnection",
    table: str,
    place: Place,
    relation: str,
    position: str | None,
    numbers_as_text: bool = False,
) -> Source:
    """The source of a DuckDB relation whose columns have names, in any case.

    Dates that are numbers are read as what most of them are plausible as; with ``numbers_as_text`` so is text.

    Raises StudyError when a column that every row needs is missing, or one is there twice.
    """
    described = db.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    columns: dict[str, tuple[str, str]] = {}
    repaired = in_place_of(table, [str(name).strip().lower() for name, *_ in described])
    timed = {time: day for day, time in repaired.items()}
    for name, kind, *_ in described:
        column = timed.get(name.strip().lower(), name.strip().lower())
        if column in ALL_TABLES[table]:
            if column in columns:
                raise twice(place, column)
            columns[column] = (identifier(name), kind)
    for column in REQUIRED[table]:
        if column not in columns:
            told = ", ".join(str(row[0]).lower() for row in described if row[0] != "file_row_number")
            raise StudyError(f"{place}: the column {column} is missing (found {told}); export it, every row needs it")
    noted = {}
    for column, (sql, kind) in columns.items():
        if ALL_TABLES[table][column] == "DATE":
            read = read_number_dates(db, relation, sql, kind, numbers_as_text)
            if read:
                columns[column], noted[column] = (read[0], "VARCHAR"), read[1]
    return Source(table, place, relation, columns, position, repaired=repaired, noted=noted)


def twice(place: Place, column: str) -> StudyError:
    """The error of a column that stands in a table twice."""
    return StudyError(f"{place}: has the column {column} twice, in different case; keep one")


FORMATS = Registry(
    "file format",
    "conceptbridge.formats",
    {
        "parquet": "conceptbridge.sites.formats.parquet:Parquet",
        "text": "conceptbridge.sites.formats.text:Text",
        "zip": "conceptbridge.sites.formats.zip:Zip",
        "sqlite": "conceptbridge.sites.formats.sqlite:SQLite",
        "duckdb": "conceptbridge.sites.formats.duckdb:DuckDB",
    },
)


def find_format(name: str) -> Format:
    """The format of that name. Raises StudyError when there is none, or it cannot be imported."""
    return FORMATS.find(name, Format)()


def formats(holds: str) -> list[Format]:
    """The formats whose files hold this: "table", "files" or "tables"."""
    return [one for one in map(find_format, FORMATS) if one.holds == holds]


def format_of(name: str) -> tuple[Format, str] | None:
    """The format of a file that holds one table, and the end of its name by which it is known; None for any other."""
    last = name.lower().rsplit("/", 1)[-1]
    known = [(one, suffix) for one in formats("table") for suffix in one.suffixes]
    return max(
        ((one, suffix) for one, suffix in known if last.endswith(suffix)), key=lambda match: len(match[1]), default=None
    )
