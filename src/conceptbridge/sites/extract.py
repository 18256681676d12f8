"""Find out which CDM table of an extract stands in which file, database or archive.

Every plan of the workflow runs this, so nothing heavy is imported at the top.
"""

import re
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.cdm import DOMAINS, TABLES

#: suffix of a table file -> its kind
SUFFIXES = {".parquet": "parquet", ".csv": "text", ".tsv": "text", ".csv.gz": "text", ".tsv.gz": "text"}
# person_1, person-00000-of-00012, person.part-3, person000000000001
_NUMBERED = re.compile(rf"({'|'.join(TABLES)})[._-]*(?:part[._-]*)?\d+(?:[._-].*)?")
DATABASES = (".duckdb", ".db", ".sqlite", ".sqlite3")
#: tables that every cohort needs
ALWAYS = ("person", "observation_period")


@dataclass(frozen=True)
class Place:
    """Where a table stands: ``member`` is its name inside a zip archive or a database, else empty.

    A table in parts is a folder, and ``parts`` are its files.
    """

    file: Path
    kind: str  # parquet | text | duckdb | sqlite
    member: str = ""
    parts: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}: {self.member}" if self.member else str(self.file)

    @property
    def name(self) -> str:
        """The place without its folder."""
        return f"{self.file.name}: {self.member}" if self.member else self.file.name


def find_tables(extract: Path) -> dict[str, Place]:
    """Return table name -> place, for the CDM tables of a folder, a zip archive or a database; names in any case.

    Raises StudyError if the extract does not exist, cannot be opened, holds no CDM table, holds one twice, or has parts
    of one where they cannot be told from other files.
    """
    if not extract.exists():
        raise StudyError(
            f"{extract}: does not exist; an extract is a folder or zip of CDM tables (Parquet, CSV, TSV, gzipped or "
            "not), or a DuckDB or SQLite file"
        )
    places: dict[str, Place] = {}
    for table, place in _places(extract):
        if table in places:
            raise StudyError(f"{extract}: has {table} twice, in {places[table].name} and {place.name}; keep one")
        places[table] = place
    if not places:
        raise StudyError(f"{extract}: has no CDM table (person.parquet, PERSON.csv, person.csv.gz ...)")
    return {table: places[table] for table in TABLES if table in places}


def extract_files(tables: Mapping[str, Place]) -> list[Path]:
    """Return the files in which the tables stand, each once."""
    return sorted({file for place in tables.values() for file in place.parts or (place.file,)})


def check_needs(site: str, extract: Path, tables: Mapping[str, Place], tasks: Mapping[str, Any]) -> None:
    """Raise StudyError if the extract of ``site`` lacks a table that a task's cohort needs."""
    for name, task in tasks.items():
        for table in (*ALWAYS, *(_table_of(task[part]["domain"]) for part in ("index", "outcome"))):
            if table not in tables:
                raise StudyError(
                    f"{extract}: the task {name} needs the table {table}, and {site}'s extract does not have it (found "
                    f"{', '.join(tables)}); add it, or leave out the site or the task"
                )


def _table_of(domain: str) -> str:
    return DOMAINS[domain].table if domain in DOMAINS else {"visit": "visit_occurrence", "death": "death"}[domain]


def _places(extract: Path) -> Iterator[tuple[str, Place]]:
    if extract.is_dir():
        for file in sorted(extract.iterdir()):
            if file.is_dir():
                if file.name.lower() in TABLES:
                    yield file.name.lower(), _in_parts(file)
            elif file.name.lower().endswith(DATABASES):
                yield from _in_database(file)
            else:
                _reject_part(extract, file.name)
                yield from ((table, Place(file, kind)) for table, kind in _named([file.name]).values())
    elif zipfile.is_zipfile(extract):
        with zipfile.ZipFile(extract) as archive:
            for member in archive.namelist():
                _reject_part(extract, member)
            for member, (table, kind) in _named(archive.namelist()).items():
                yield table, Place(extract, kind, member)
    elif extract.name.lower().endswith(DATABASES):
        yield from _in_database(extract)
    else:
        raise StudyError(
            f"{extract}: is not a zip file, and its name does not end in {', '.join(DATABASES)}; give the folder that "
            "holds the tables"
        )


def _named(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return file name -> table and kind, for the names that a CDM table can have."""
    named = {}
    for name in names:
        last = name.lower().rsplit("/", 1)[-1]
        suffix = next((s for s in SUFFIXES if last.endswith(s)), None)
        if suffix and last.removesuffix(suffix) in TABLES:
            named[name] = (last.removesuffix(suffix), SUFFIXES[suffix])
    return named


def _in_parts(folder: Path) -> Place:
    """Return the place of a table that is a folder of parts; files that writers leave there (_SUCCESS) do not count."""
    parts = sorted(file for file in folder.iterdir() if not file.name.startswith((".", "_")))
    inner = next((f for f in sorted(folder.iterdir()) if f.is_dir()), None)
    if inner:
        raise StudyError(
            f"{folder}: contains a folder, {inner.name}; the files of a partitioned or versioned table cannot be read "
            "by themselves. Export the table as one file, or as plain parts."
        )
    kinds = {file: next((k for s, k in SUFFIXES.items() if file.name.lower().endswith(s)), None) for file in parts}
    odd = next((file for file, kind in kinds.items() if kind is None or kind != kinds[parts[0]]), None)
    if odd or not parts:
        fault = f"{odd.name} is not a part of the table" if odd else "is empty"
        raise StudyError(
            f"{folder}: {fault}; a folder named after a table holds its parts, either all Parquet or all text "
            f"({', '.join(SUFFIXES)})"
        )
    return Place(folder, str(kinds[parts[0]]), parts=tuple(parts))


def _reject_part(extract: Path, name: str) -> None:
    """Raise StudyError for a file that looks like one part of a table: ignoring it would lose rows silently."""
    *folders, last = name.lower().split("/")
    suffix = next((s for s in SUFFIXES if last.endswith(s)), None)
    if not suffix:
        return
    inside = folders[-1] if folders and folders[-1] in TABLES and last.removesuffix(suffix) not in TABLES else None
    numbered = _NUMBERED.fullmatch(last.removesuffix(suffix))
    if inside or (numbered and numbered[1] in TABLES):
        table = inside or (numbered and numbered[1])
        raise StudyError(
            f"{extract}: {name} looks like a part of {table}. Put all parts in a folder named after the table "
            f"({table}/{last}) in an unpacked extract, or remove this file."
        )


def _in_database(file: Path) -> Iterator[tuple[str, Place]]:
    with file.open("rb") as start:
        head = start.read(16)
    if head == b"SQLite format 3\0":
        try:
            with sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True) as db:
                names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
            db.close()
        except sqlite3.Error as error:
            raise StudyError(f"{file}: this SQLite file cannot be opened: {error}; copy it again") from error
        yield from ((name.lower(), Place(file, "sqlite", name)) for name in names if name.lower() in TABLES)
    elif head[8:12] == b"DUCK":
        import duckdb  # slow to import, and only needed for such a file

        try:
            with duckdb.connect(str(file), read_only=True) as base:
                query = "SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL"
                rows = base.execute(query).fetchall()
        except duckdb.Error as error:
            fault = str(error).splitlines()[0]
            raise StudyError(f"{file}: this DuckDB file cannot be opened: {fault}; close or copy it") from error
        for schema, name in rows:
            if name.lower() in TABLES:
                yield name.lower(), Place(file, "duckdb", f"{schema}.{name}")
    else:
        raise StudyError(f"{file}: is neither a SQLite nor a DuckDB file; copy it again, or remove it")
