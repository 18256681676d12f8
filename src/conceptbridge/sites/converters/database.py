"""A CDM in a database: the columns that a study reads are copied into Parquet files."""

import re
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.converters.converter import Converter, Settings
from conceptbridge.sites.databases.database import DATABASES, find_database

_NAME = {"title": "name", "type": "string", "minLength": 1}


class DatabaseCopy(Converter):
    """``as_of`` says which state of the database is meant: another date copies it again, and nothing else does."""

    name = "database"
    title = "a CDM in a database"
    schema: ClassVar[Mapping[str, Any]] = {
        "description": "Instead of an extract, a CDM in a database ([docs/doors.md](../docs/doors.md)).",
        "type": "object",
        "required": ["kind", "service", "schema", "as_of"],
        "additionalProperties": False,
        "properties": {
            "kind": _NAME | {"description": "`postgresql`, `sqlserver`, `odbc`, or one that another package brings."},
            "service": _NAME
            | {
                "description": "A name that files of this machine explain, with address, user and password; for "
                "PostgreSQL an entry of `~/.pg_service.conf`, for the others a data source of `~/.odbc.ini`."
            },
            "schema": _NAME | {"description": "The schema of the CDM's tables."},
            "vocabulary_schema": {
                "description": "The schema of `concept` and `concept_ancestor`, if it is another one.",
                "title": "name",
                "type": ["string", "null"],
                "minLength": 1,
                "default": None,
            },
            "without": {
                "description": "Tables of the CDM that the database does not have.",
                "title": "names of tables",
                "type": "array",
                "items": {"enum": list(TABLES)},
                "uniqueItems": True,
                "default": [],
            },
            "as_of": {
                "description": "The day whose state of the database is meant; another one copies the tables again.",
                "title": "date (YYYY-MM-DD)",
                "type": "string",
                "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            },
        },
    }
    tables = tuple(TABLES)

    def main_input(self, settings: Mapping[str, Any]) -> str:
        """The service and the schema, and which state of them."""
        return f"{settings['kind']} {settings['service']}, {settings['schema']}, as of {settings['as_of']}"

    def check(self, settings: Mapping[str, Any], site: str) -> None:
        """The kind has to be known, and the date one. Nothing connects."""
        find_database(settings["kind"])
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]*", settings["service"]):  # what it is can hold a password
            raise StudyError(
                f"config: sites.{site}.database.service: this is a name (letters, digits, `.`, `_` and `-`) and no "
                "address; the address, the user and the password stand in files of this machine (docs/doors.md)"
            )
        try:
            date.fromisoformat(settings["as_of"])
        except ValueError as error:
            raise StudyError(
                f"config: sites.{site}.database.as_of: {settings['as_of']!r} is not a date ({error})"
            ) from error

    def only(self, told: Mapping[str, Any], tables: Collection[str]) -> Settings:
        """The other tables are left in the database."""
        return {**told, "without": [name for name in TABLES if name in told["without"] or name not in tables]}

    def modules(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The module of the kind."""
        return (DATABASES[settings["kind"]],)

    def convert(self, settings: Mapping[str, Any], out: Path) -> None:
        """Copy the tables, all as they are at one moment where the kind can say that, and write what was copied to
        ``out/copied.json``."""
        from conceptbridge.sites.databases.copy import copy_tables

        copy_tables(find_database(settings["kind"]), settings, out)
