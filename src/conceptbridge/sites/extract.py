"""Find out which CDM table of an extract stands in which file, database or archive.

Every plan of a run asks this, so nothing heavy is imported at the top.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.cdm import DOMAINS, TABLES
from conceptbridge.sites.formats.format import Place, format_of, formats
from conceptbridge.sites.table_names import table_named_by

# person_1, person-00000-of-00012, person.part-3, person000000000001
_NUMBERED = re.compile(rf"({'|'.join(TABLES)})[._-]*(?:part[._-]*)?\d+(?:[._-].*)?")
#: what every cohort is made from
ALWAYS = ("person", "observation_period")


def find_tables(extract: Path, wanted: Collection[str] = tuple(TABLES)) -> dict[str, Place]:
    """Return table name -> place, for the ``wanted`` ones of a folder, a zip archive or a database; names in any case.

    Raises StudyError if the extract does not exist, cannot be opened, holds no CDM table, holds one twice, or has parts
    of one where they cannot be told from other files.
    """
    if not extract.exists():
        files, archives, databases = ([one.title for one in formats(kind)] for kind in ("table", "files", "tables"))
        raise StudyError(
            f"{extract}: does not exist; an extract is a folder or {' or '.join(archives)} of CDM "
            f"tables ({', '.join(files)}), or a {' or '.join(databases)} file"
        )
    places: dict[str, Place] = {}
    for table, place in _places(extract, wanted):
        if table in places:
            raise StudyError(f"{extract}: has {table} twice, in {places[table].name} and {place.name}; keep one")
        places[table] = place
    if not places:
        raise StudyError(f"{extract}: has no CDM table (person.parquet, PERSON.csv, person.csv.gz ...)")
    return {table: places[table] for table in wanted if table in places}


def extract_files(tables: Mapping[str, Place]) -> list[Path]:
    """Return the files in which the tables stand, each once."""
    return sorted({file for place in tables.values() for file in place.parts or (place.file,)})


def check_needs(site: str, extract: Path, tables: Mapping[str, Place], tasks: Mapping[str, Any]) -> None:
    """Raise StudyError if the extract of ``site`` lacks a table that a task's cohort needs."""
    for name, task in tasks.items():
        for table in tables_of(task):
            if table not in tables:
                raise StudyError(
                    f"{extract}: the task {name} needs the table {table}, and {site}'s extract does not have it (found "
                    f"{', '.join(tables)}); add it, or leave out the site or the task"
                )


def tables_of(task: Mapping[str, Any]) -> list[str]:
    """Return the tables that the cohort of a task is made from."""
    return list(dict.fromkeys((*ALWAYS, *_tables_of(task["index"]), *_tables_of(task["outcome"]))))


def _tables_of(event: Mapping[str, Any]) -> list[str]:
    """Return the tables that an index event or an outcome is found in: a handed-in cohort has its own file."""
    domain = event["domain"]
    if domain == "cohort":
        return []
    table = DOMAINS[domain].table if domain in DOMAINS else {"visit": "visit_occurrence", "death": "death"}[domain]
    return [table, *(["visit_occurrence"] if event.get("visits") else [])]


def _suffixes(holds: str) -> list[str]:
    return list(dict.fromkeys(suffix for one in formats(holds) for suffix in one.suffixes))


def _places(extract: Path, wanted: Collection[str]) -> Iterator[tuple[str, Place]]:
    archive = None if extract.is_dir() else next((one for one in formats("files") if one.recognises(extract)), None)
    if extract.is_dir():
        for file in sorted(extract.iterdir()):
            if file.is_dir():
                # Spark writes a table as the folder person.parquet
                if table := file.name.lower() if file.name.lower() in wanted else _table_of_file(file.name, wanted):
                    yield table, _in_parts(file)
                else:
                    _reject_unread(extract, file.name)
            elif file.name.lower().endswith(tuple(_suffixes("tables"))):
                yield from _in_database(file, wanted)
            else:
                _reject_part(extract, file.name)
                yield from ((table, Place(file, kind)) for table, kind in _named([file.name], wanted).values())
    elif archive is not None:
        names = [name for name, _ in archive.members(extract) if not name.endswith("/")]
        for name in names:
            _reject_part(extract, name)
        for name, (table, _) in _named(names, wanted).items():
            yield table, Place(extract, archive.name, name)
    elif extract.name.lower().endswith(tuple(_suffixes("tables"))):
        yield from _in_database(extract, wanted)
    else:
        raise StudyError(
            f"{extract}: is not a {' or '.join(one.title for one in formats('files'))} file, and its name "
            f"does not end in {', '.join(_suffixes('tables'))}; give the folder that holds the tables"
        )


def _named(names: Iterable[str], wanted: Collection[str]) -> dict[str, tuple[str, str]]:
    """File name -> table and format, for the names that a CDM table can have."""
    named = {}
    for name in names:
        if (table := _table_of_file(name, wanted)) and (known := format_of(name)):
            named[name] = (table, known[0].name)
    return named


def _table_of_file(name: str, wanted: Collection[str]) -> str | None:
    last = name.lower().rsplit("/", 1)[-1]
    known = format_of(last)
    stem = last.removesuffix(known[1]) if known else ""
    return stem if stem in wanted else None


def _in_parts(folder: Path) -> Place:
    """Return the place of a table that is a folder of parts; files that writers leave there (_SUCCESS) do not count."""
    parts = sorted(file for file in folder.iterdir() if not file.name.startswith((".", "_")))
    inner = next((f for f in sorted(folder.iterdir()) if f.is_dir()), None)
    if inner:
        raise StudyError(
            f"{folder}: contains a folder, {inner.name}; the files of a partitioned or versioned table cannot be read "
            "by themselves. Export the table as one file, or as plain parts."
        )
    formats = {file: known[0].name if (known := format_of(file.name)) else None for file in parts}
    odd = next((file for file, one in formats.items() if one is None or one != formats[parts[0]]), None)
    if odd or not parts:
        problem = f"{odd.name} is not a part of the table" if odd else "is empty"
        raise StudyError(
            f"{folder}: {problem}; a folder named after a table holds its parts, all of one format "
            f"({', '.join(_suffixes('table'))})"
        )
    return Place(folder, str(formats[parts[0]]), parts=tuple(parts))


def _reject_part(extract: Path, name: str) -> None:
    """Raise StudyError for a file that looks like a table, or a part of one, in a form that is not read: passing it
    over would lose rows silently."""
    *folders, last = name.lower().split("/")
    if last.startswith("._") or "__macosx" in folders:  # what macOS puts beside each file
        return
    known = format_of(last)
    if known is None:
        _reject_unread(extract, name)
        return
    stem = last.removesuffix(known[1])
    inside = folders[-1] if folders and folders[-1] in TABLES and stem not in TABLES else None
    numbered = _NUMBERED.fullmatch(stem)
    if inside or (numbered and numbered[1] in TABLES):
        table = inside or (numbered and numbered[1])
        raise StudyError(
            f"{extract}: {name} looks like a part of {table}. Put all parts in a folder named after the table "
            f"({table}/{last}) in an unpacked extract, or remove this file."
        )
    if stem not in TABLES:
        _reject_unread(extract, name)


def _reject_unread(extract: Path, name: str) -> None:
    """Raise StudyError for a file or folder whose name has a table's name in it, beside other words."""
    last = name.rsplit("/", 1)[-1]
    if table := table_named_by(last):
        forms = ", ".join(one.title for one in formats("table"))
        raise StudyError(
            f"{extract}: {name} looks like the table {table}, but would not be read: a table is one file ({forms}) "
            f"whose name is {table} and its ending, or a folder {table} of such parts. Rename, unpack or convert it, "
            "or move it out of the extract."
        )


def _in_database(file: Path, wanted: Collection[str]) -> Iterator[tuple[str, Place]]:
    database = next((one for one in formats("tables") if one.recognises(file)), None)
    if database is None:
        titles = " nor a ".join(one.title for one in formats("tables"))
        raise StudyError(f"{file}: is neither a {titles} file; copy it again, or remove it")
    members = list(database.members(file))
    names = {name.lower() for name, _ in members}
    for name, member in members:
        if name.lower() in wanted:
            yield name.lower(), Place(file, database.name, member)
        elif (table := table_named_by(name)) and table not in names:
            raise StudyError(
                f"{file}: {member} looks like the table {table}, and there is no table of that name; rename it, or "
                f"make a view {table}, or drop it"
            )
