"""An extract in an object store (S3, Google Cloud Storage, Azure): its tables are copied here."""

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.converters.converter import Converter, Settings
from conceptbridge.sites.table_names import table_named_by

#: the addresses that a site's ``extract`` can have, by how they begin
SCHEMES = ("s3", "gs", "abfss")


class Remote(Converter):
    """Each object's ETag is part of the job's settings: one that is replaced copies the extract again."""

    name = "remote"
    title = "an extract in an object store (`extract: s3://...` is the same)"
    schema: ClassVar[Mapping[str, Any]] = {
        "description": "The same as `extract: s3://...` ([docs/doors.md](../docs/doors.md)).",
        "title": "address",
        "type": "string",
        "minLength": 1,
        "x-default": "none",
    }
    tables = tuple(TABLES)

    def resolve(self, settings: Mapping[str, Any] | str, data: Path) -> Settings:
        """The address. What is there is listed when a job's settings are made."""
        return dict(settings) if isinstance(settings, Mapping) else {"address": settings}

    def main_input(self, settings: Mapping[str, Any] | str) -> str:
        """The address."""
        return str(settings if isinstance(settings, str) else settings["address"])

    def inputs(self, settings: Mapping[str, Any]) -> list[str]:
        """No file of this machine."""
        return []

    def check(self, settings: Mapping[str, Any], site: str) -> None:
        """The address must hold no password, and a table of the CDM must be there."""
        address = str(settings["address"])
        scheme, _, rest = address.partition("://")
        host = rest.partition("/")[0]
        with_key = "?" in rest or ("@" in host and (scheme != "abfss" or ":" in host))
        if scheme not in SCHEMES or with_key:
            forms = ", ".join(f"{one}://..." for one in SCHEMES)
            raise StudyError(
                f"config: sites.{site}.extract: write {forms} with bucket and folder alone; keys and endpoints stand "
                "in the environment or in files of this machine (docs/doors.md)"
            )
        if not listed(address):
            raise StudyError(
                f"{address}: has no CDM table (person.parquet, PERSON.csv ...) (config: sites.{site}.extract)"
            )

    def told(self, settings: Mapping[str, Any]) -> Settings:
        """The address, and the ETag of each object that is copied."""
        return {**settings, "objects": dict(listed(str(settings["address"])))}

    def only(self, told: Mapping[str, Any], tables: Collection[str]) -> Settings:
        """The objects of these tables."""
        objects = {name: tag for name, tag in told["objects"].items() if table_named_by(name.split("/")[0]) in tables}
        return {**told, "objects": objects}

    def convert(self, settings: Mapping[str, Any], out: Path) -> None:
        """Copy the objects, each as it is, to the folder ``out``."""
        from conceptbridge.sites.converters.remote_files import copy_objects

        copy_objects(str(settings["address"]), settings["objects"], out)


@cache
def listed(address: str) -> tuple[tuple[str, str], ...]:
    """Return the objects below an address that hold tables, or seem to, with their ETags.

    Raises StudyError, without a secret, when they cannot be listed.
    """
    from conceptbridge.sites.converters.remote_files import list_objects

    return tuple((name, tag) for name, tag in list_objects(address) if table_named_by(name.split("/")[0]))
