"""A findings table and its codebook: one encounter per row, one coded column per finding, and a diagnosis."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from conceptbridge.sites.converters.codebook import Codebook, read_codebook
from conceptbridge.sites.converters.converter import Converter

_FILE = {"title": "file", "type": "string", "minLength": 1}
_NO_FILE = {"title": "file", "type": ["string", "null"], "minLength": 1, "default": None}


class Findings(Converter):
    """Every encounter becomes a person with one visit, every finding an observation, the diagnosis a condition."""

    name = "findings"
    title = "a findings table"
    schema: ClassVar[Mapping[str, Any]] = {
        "description": "Instead of an extract, a table with one encounter per row, one coded column per finding, and a "
        "diagnosis ([docs/extracts.md](../docs/extracts.md)).",
        "type": "object",
        "required": ["codebook", "train"],
        "additionalProperties": False,
        "properties": {
            "codebook": _FILE
            | {
                "description": "YAML file that says what the columns and values mean, relative to the working folder "
                "of the run. Sites with the same codebook share its concepts."
            },
            "names": _NO_FILE
            | {"description": "File of lines `CODE: name`, for codes that the codebook does not name, below `data`."},
            "train": _FILE | {"description": "The table, CSV or Parquet, below `data`."},
            "test": _NO_FILE
            | {"description": "A table of the same columns whose encounters are the test rows, below `data`."},
            "missing": {
                "description": "What a finding is that has no value.",
                "enum": ["missing", "absent"],
                "default": "missing",
            },
        },
    }
    files = ("codebook",)
    data_files = ("names", "train", "test")
    tables = ("person", "observation_period", "visit_occurrence", "condition_occurrence", "observation", "concept")

    def main_input(self, settings: Mapping[str, Any]) -> str:
        """The table of training encounters."""
        return str(settings["train"])

    def owner(self, settings: Mapping[str, Any], site: str) -> str:
        """Sites with the same codebook share its concepts."""
        return Path(settings["codebook"]).stem

    def check(self, settings: Mapping[str, Any], site: str) -> None:
        """The files have to be there, and the codebook must not have a mistake."""
        super().check(settings, site)
        self._codebook(settings)

    def convert(self, settings: Mapping[str, Any], out: Path) -> None:
        """Write the tables of the training encounters and, where there are some, the test encounters."""
        from conceptbridge.sites.converters.findings_table import write_findings

        files = {split: Path(settings[split]) for split in ("train", "test") if settings[split]}
        write_findings(files, self._codebook(settings), settings["missing"] == "absent", out)

    def _codebook(self, settings: Mapping[str, Any]) -> Codebook:
        return read_codebook(Path(settings["codebook"]), Path(settings["names"]) if settings["names"] else None)
