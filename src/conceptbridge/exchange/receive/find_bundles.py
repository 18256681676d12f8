"""Which bundles a folder has, and whether they are for this study; read whenever the workflow is planned."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import check_fields, read_about, shown
from conceptbridge.learn.registry import LEARNERS

#: task, name of the embedding, learner
Model = tuple[str, str, str]

_NAME = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}
#: what the manifest of a bundle says of it, but for the names of learners
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
    """The JSON schema of what the manifest of a bundle says of it."""
    return _ABOUT | {"properties": _ABOUT["properties"] | {"learner": {"enum": list(LEARNERS)}}}


def find_bundles(folder: Path, source: str, wanted: Mapping[Model, Mapping[str, Any]]) -> dict[Model, Path]:
    """The bundles in ``folder`` that ``source`` has sent and the study has a use for.

    ``wanted``: what a bundle of each of the study's models has to say of itself. Raises StudyError when the folder has
    none of that source, two of one model, or one that does not fit this study; what the study does not ask for is left
    alone.
    """
    if not folder.is_dir():
        raise StudyError(f"{folder}: there is no such folder (config: sites.{source}.bundles)")
    found: dict[Model, Path] = {}
    senders: set[str] = set()
    for path in sorted(folder.glob("*.zip")):
        about = read_about(path, "bundle")
        check_fields(about, about_schema(), f"{path}: manifest.json: about")
        senders.add(about["source"])
        model = (about["task"], about["embedding"]["name"], about["learner"])
        if about["source"] != source or model not in wanted:
            continue
        check_bundle(about, wanted[model], path)
        if model in found:
            raise StudyError(f"{path}: is a second bundle of {', '.join(model)} from {source}, beside {found[model]}")
        found[model] = path
    if source not in senders:
        others = f"; its bundles are of {', '.join(sorted(senders))}" if senders else ""
        raise StudyError(f"{folder}: there is no bundle from {source} (config: sites.{source}.bundles){others}")
    return found


def check_bundle(about: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> None:
    """Raise StudyError, naming the first field that differs, where a bundle does not say of itself what it has to.

    ``expected`` has any of the fields of ``about_schema``.
    """
    at = f"{path}: manifest.json: about"
    check_fields(about, about_schema(), at)
    for field, found, wanted in _differing({key: about[key] for key in expected}, expected):
        if field == "embedding.fingerprint":
            raise StudyError(
                f"{at}: {field}: it was made with another {about['embedding']['name']} ({shown(found)[:12]}) than this "
                f"study's ({wanted[:12]}); give the study the catalogue entry that is in the bundle's card.md"
            )
        raise StudyError(f"{at}: {field}: is {shown(repr(found))} in the bundle and {wanted!r} in this study")


def _differing(found: Any, wanted: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The fields at which two values differ, the deepest they can be named; ``entry`` of an embedding is for people."""
    if isinstance(found, dict) and isinstance(wanted, Mapping):
        for key in sorted({*found, *wanted} - {"entry"}):
            missing = "nothing"
            yield from _differing(found.get(key, missing), wanted.get(key, missing), f"{at}.{key}" if at else key)
    elif found != wanted or isinstance(found, bool) != isinstance(wanted, bool):
        yield at, found, wanted
