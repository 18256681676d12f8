"""A MEDS data set (Medical Event Data Standard): events of subjects, each with a time and a code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.converters.converter import Converter, Settings

_FOLDER = "Instead of an extract, the folder of a MEDS data set, below `data` ([docs/doors.md](../docs/doors.md))."
_CODES = "Name of a data set's codes. Sites with the same name share them."
CODES, SPLITS = "metadata/codes.parquet", "metadata/subject_splits.parquet"


class Meds(Converter):
    """Every subject becomes a person, every code a local concept, every event with a time an observation."""

    name = "meds"
    title = "a MEDS data set"
    schema: ClassVar[Mapping[str, Any]] = {
        "description": _FOLDER,
        "title": "folder",
        "type": ["string", "object"],
        "minLength": 1,
        "required": ["folder"],
        "additionalProperties": False,
        "properties": {
            "folder": {"description": _FOLDER, "title": "folder", "type": "string", "minLength": 1},
            "codes": {"description": _CODES, "title": "name", "type": "string", "minLength": 1, "default": "meds"},
        },
    }
    tables = ("person", "observation_period", "observation", "death", "concept", "concept_ancestor")

    def resolve(self, settings: Mapping[str, Any] | str, data: Path) -> Settings:
        """The folder below ``data``, and the name of its codes."""
        given = {"folder": settings} if isinstance(settings, str) else settings
        folder = data / Path(given["folder"]).expanduser()
        return {"folder": str(folder), "codes": given.get("codes", "meds")}

    def inputs(self, settings: Mapping[str, Any]) -> list[str]:
        """The shards of ``data``, the codes' names and the subjects' splits."""
        folder = Path(settings["folder"])
        metadata = [folder / name for name in (CODES, SPLITS)]
        return [str(file) for file in [*shards(folder), *(file for file in metadata if file.is_file())]]

    def main_input(self, settings: Mapping[str, Any] | str) -> str:
        """The folder."""
        return str(settings if isinstance(settings, str) else settings["folder"])

    def owner(self, settings: Mapping[str, Any], site: str) -> str:
        """Sites whose codes have the same name share them."""
        return str(settings["codes"])

    def check(self, settings: Mapping[str, Any], site: str) -> None:
        """The folder has to have shards of events."""
        folder = Path(settings["folder"])
        if not shards(folder):
            raise StudyError(
                f"{folder}: is no MEDS data set: it has no data/*.parquet (config: sites.{site}.meds). Give the folder "
                "that contains data/ and metadata/"
            )

    def splits(self, settings: Mapping[str, Any]) -> str | None:
        """The subjects' splits: train, tuning and held_out."""
        file = Path(settings["folder"], SPLITS)
        return str(file) if file.is_file() else None

    def warnings(self, site: str) -> list[str]:
        """MEDS has events, and no visit that begins and ends."""
        return [
            f"{site} is a MEDS data set, whose events belong to no visit: what was recorded during a visit that is "
            "still open at the index cannot be told there, and the guard `open_visit` keeps nothing back"
        ]

    def convert(self, settings: Mapping[str, Any], out: Path) -> None:
        """Write the tables, and what was counted to ``out/meds.json``."""
        from conceptbridge.sites.converters.meds_tables import write_meds

        write_meds(Path(settings["folder"]), [Path(file) for file in shards(Path(settings["folder"]))], out)


def shards(folder: Path) -> list[Path]:
    """The files of events, at any depth, in the order of their paths; hidden ones do not count."""
    files = (folder / "data").rglob("*.parquet")
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))
