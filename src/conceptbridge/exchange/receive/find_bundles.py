"""Find the bundles in a folder that fit the study. Every plan of the workflow runs this."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import check_fields, differences, read_about, shown
from conceptbridge.learn.registry import LEARNERS

#: task, name of the embedding, learner
Model = tuple[str, str, str]

_NAME = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}
#: what a bundle's manifest says of it, except the names of learners
_ABOUT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        *("source", "task", "definition", "embedding", "learner", "seeds", "min_cell_count", "version", "reason")
    ],
    "properties": {
        "source": _NAME,
        "task": _NAME,
        "definition": {"type": "object"},
        "embedding": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "fingerprint", "backend", "entry"],
            "properties": {
                "name": _NAME,
                "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "backend": _NAME,
                "entry": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
            },
        },
        "learner": {"type": "string"},
        "seeds": {"type": "integer", "minimum": 1, "maximum": 1000},
        "min_cell_count": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
        "version": {"type": "string", "maxLength": 100},
        "reason": {"type": ["string", "null"], "maxLength": 500},
    },
}


def about_schema() -> dict[str, Any]:
    """Return the JSON schema of what a bundle's manifest says of it."""
    return _ABOUT | {"properties": _ABOUT["properties"] | {"learner": {"enum": list(LEARNERS)}}}


def find_bundles(folder: Path, source: str, wanted: Mapping[Model, Mapping[str, Any]]) -> dict[Model, Path]:
    """Return the bundles in ``folder`` that ``source`` has sent and the study asks for.

    ``wanted``: what a bundle of each of the study's models must say of itself. Bundles that the study does not ask for
    are ignored. Raises StudyError if the folder has no bundle of that source, two of one model, or one that does not
    fit this study.
    """
    if not folder.is_dir():
        raise StudyError(f"{folder}: the folder does not exist (config: sites.{source}.bundles)")
    bundles: dict[Model, Path] = {}
    senders: set[str] = set()
    for path in sorted(folder.glob("*.zip")):
        about = read_about(path, "bundle")
        check_fields(about, about_schema(), f"{path}: manifest.json: about")
        senders.add(about["source"])
        model = (about["task"], about["embedding"]["name"], about["learner"])
        if about["source"] != source or model not in wanted:
            continue
        check_bundle(about, wanted[model], path)
        if model in bundles:
            raise StudyError(f"{path}: is a second bundle of {', '.join(model)} from {source}, like {bundles[model]}")
        bundles[model] = path
    if source not in senders:
        others = f"; it has bundles from {', '.join(sorted(senders))}" if senders else ""
        raise StudyError(f"{folder}: has no bundle from {source} (config: sites.{source}.bundles){others}")
    return bundles


def check_bundle(about: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> None:
    """Raise StudyError, naming the first field that differs, if a bundle does not say of itself what is ``expected``.

    ``expected`` has any of the fields of ``about_schema``. The catalogue ``entry`` of the embedding is not compared.
    """
    at = f"{path}: manifest.json: about"
    check_fields(about, about_schema(), at)
    for field, theirs, ours in differences({key: about[key] for key in expected}, expected, "nothing", ("entry",)):
        if field == "embedding.fingerprint":
            raise StudyError(
                f"{at}: {field}: the bundle's {about['embedding']['name']} ({shown(theirs)[:12]}) is not this study's "
                f"({ours[:12]}); give the study the catalogue entry in the bundle's card.md"
            )
        raise StudyError(f"{at}: {field}: is {shown(repr(theirs))} in the bundle and {ours!r} in this study")
