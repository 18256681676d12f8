"""The files of an extract: which CDM table stands in which."""

from pathlib import Path

from conceptbridge.errors import StudyError
from conceptbridge.sites.cdm import TABLES

SUFFIXES = (".parquet", ".csv", ".csv.gz")


def table_files(extract: Path) -> dict[str, Path]:
    """Table name -> file, for the CDM tables that the folder ``extract`` holds; names in any case.

    Raises StudyError when the folder is not there, holds no CDM table, or holds one twice.
    """
    if not extract.is_dir():
        raise StudyError(f"{extract}: there is no such folder; an extract is a folder of CDM tables")
    found: dict[str, Path] = {}
    for file in sorted(extract.iterdir()):
        name = file.name.lower()
        suffix = next((s for s in SUFFIXES if name.endswith(s)), None)
        table = name.removesuffix(suffix) if suffix else ""
        if table in TABLES:
            if table in found:
                raise StudyError(f"{extract}: {table} is there twice, {found[table].name} and {file.name}; keep one")
            found[table] = file
    if not found:
        raise StudyError(f"{extract}: no CDM table is in this folder (person.parquet, PERSON.csv, person.csv.gz ...)")
    return found
