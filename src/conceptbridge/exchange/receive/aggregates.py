"""Whether an aggregate results file is of the study; read whenever the workflow is planned."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import check_fields, read_about, shown

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
"""What the manifest of an aggregate results file says of it; ``study`` is what all sites have to have in common."""


def find_aggregates(file: Path, site: str, role: str, study: Mapping[str, Any]) -> dict[str, Any]:
    """What the aggregate results file of ``site`` says of itself; its tables are not read.

    Raises StudyError where there is none, it is of another site, or of another study than ``study``: the first setting
    that differs is named.
    """
    where = f"config: sites.{site}.results_file: {file}"
    if not file.is_file():
        raise StudyError(f"{where}: there is no such file")
    about = read_about(file, "results")
    check_fields(about, ABOUT, f"{file}: manifest.json: about")
    if about["site"] != site:
        raise StudyError(f"{where}: is the results file of {about['site']}")
    if (about["role"] == "source") != (role == "source"):
        raise StudyError(
            f"{where}: {site} took part with the role `{about['role']}`; say `role: {about['role']}` here, too"
        )
    for key, theirs, ours in _differing(about["study"], study):
        raise StudyError(
            f"{where}: made with another setting than this study's: {shown(key)} is {_short(theirs)} there and "
            f"{_short(ours)} here"
        )
    return about


def _differing(theirs: Any, ours: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            yield from _differing(theirs.get(key), ours.get(key), f"{at}.{key}" if at else str(key))
    elif theirs != ours:
        yield at, theirs, ours


def _short(value: Any) -> str:
    return "not given" if value is None else shown(str(value))
