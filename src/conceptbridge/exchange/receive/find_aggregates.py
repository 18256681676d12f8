"""Find out whether an aggregate results file belongs to the study. Every plan of the workflow runs this."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import check_fields, differences, read_about, shown

ABOUT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["site", "role", "simulated", "study", "version"],
    "properties": {
        "site": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"},
        "role": {"enum": ["both", "source", "target"]},
        "simulated": {"type": "boolean"},
        "study": {"type": "object"},
        "version": {"type": "string", "maxLength": 100},
    },
}
"""The manifest of an aggregate results file; ``study`` is what all sites must have in common."""


def find_aggregates(file: Path, site: str, role: str, study: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the aggregate results file of ``site`` says of itself; its tables are not read.

    Raises StudyError if the file does not exist, or is of another site, role or study. The message names the first
    setting that differs from ``study``.
    """
    where = f"config: sites.{site}.results_file: {file}"
    if not file.is_file():
        raise StudyError(f"{where}: the file does not exist")
    about = read_about(file, "results")
    check_fields(about, ABOUT, f"{file}: manifest.json: about")
    if about["site"] != site:
        raise StudyError(f"{where}: is the results file of {about['site']}")
    if (about["role"] == "source") != (role == "source"):
        raise StudyError(
            f"{where}: {site} took part with the role `{about['role']}`; set `role: {about['role']}` here as well"
        )
    for key, theirs, ours in differences(about["study"], study):
        raise StudyError(
            f"{where}: the site's settings differ from this study's: {shown(key)} is {_short(theirs)} there and "
            f"{_short(ours)} here"
        )
    return about


def _short(value: Any) -> str:
    return "not given" if value is None else shown(str(value))
