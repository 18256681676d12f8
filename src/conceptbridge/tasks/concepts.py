"""Read concept sets: from the config, from an OHDSI / ATLAS concept-set JSON file, or from CSV.

Every plan of the workflow runs this, so nothing heavy is imported here.
"""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from conceptbridge.core.errors import StudyError

YES, NO = ("true", "yes", "y", "1"), ("false", "no", "n", "0", "")
#: columns of a CSV and keys of a JSON file, in lower case and without separators
ID = ("conceptid",)
DESCENDANTS = ("descendants", "includedescendants")
EXCLUDED = ("exclude", "excluded", "isexcluded")
MAPPED = ("mapped", "includemapped")


class Item(NamedTuple):
    """One concept of a set."""

    concept_id: int
    descendants: bool
    excluded: bool


def concept_items(spec: Mapping[str, Any]) -> list[Item]:
    """Return the items of an event's concept set: ``concepts`` (ids, or a file's name), ``exclude``, ``descendants``.

    ``descendants`` applies to the ids of the config, and to files that do not have it themselves.
    Raises StudyError if the file does not exist or is not a concept set.
    """
    concepts, default = spec["concepts"], bool(spec["descendants"])
    if isinstance(concepts, str):
        items = read_concept_set(Path(concepts), default)
    else:
        items = [Item(int(concept), default, False) for concept in concepts]
    return items + [Item(int(concept), default, True) for concept in spec["exclude"]]


def read_concept_set(file: Path, descendants: bool = True) -> list[Item]:
    """Read a concept set: ATLAS's JSON (an expression, or a set that has one), or a CSV with the column concept_id.

    A CSV may have the columns ``descendants`` and ``exclude``; without the first, the argument applies. Raises
    StudyError if the file does not exist, cannot be read, names no concept, or asks for mapped concepts (which need
    source vocabularies that an extract does not have).
    """
    if not file.is_file():
        raise StudyError(f"the concept set {file} does not exist")
    try:
        if file.suffix.lower() == ".json":
            rows, default = _expression(json.loads(file.read_text(encoding="utf-8-sig"))), False
        else:
            with file.open(newline="", encoding="utf-8-sig") as lines:
                rows, default = [dict(row) for row in csv.DictReader(lines)], descendants
        items = [_item(row, default) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"{file} is not a concept set ({error}); give an ATLAS concept-set expression (JSON), or a CSV with "
            "concept_id"
        ) from error
    if not any(not item.excluded for item in items):
        raise StudyError(f"the concept set {file} includes no concept")
    return items


def _expression(content: Any) -> list[dict[str, Any]]:
    while isinstance(content, dict):
        if "PrimaryCriteria" in content:
            names = ", ".join(repr(one.get("name")) for one in content.get("ConceptSets", [])) or "none"
            raise ValueError(
                f"it is a cohort definition, with the concept sets {names}: export one of these from ATLAS, or "
                "generate the cohort and hand it in with `domain: cohort`"
            )
        content = content["items"] if "items" in content else content["expression"]
    return [{**item["concept"], **{key: value for key, value in item.items() if key != "concept"}} for item in content]


def _item(row: Mapping[str, Any], descendants: bool) -> Item:
    if None in row:
        raise ValueError(f"the row of {next(iter(row.values()))!r} has more fields than the header")
    values = {key.lower().replace("_", "").replace(" ", ""): value for key, value in row.items() if key}
    concept = next((values[key] for key in ID if key in values), None)
    if concept is None:
        raise ValueError("no concept_id")
    if _flag(values, MAPPED, False):
        raise ValueError(f"concept {concept} asks for mapped concepts; resolve them in ATLAS and export the result")
    return Item(_whole(concept), _flag(values, DESCENDANTS, descendants), _flag(values, EXCLUDED, False))


def _whole(value: Any) -> int:
    """Return an id, read as strictly as one of an extract: neither 12.6 nor 1.2E+01 nor 1_2 is one."""
    word = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?([0-9]{1,18}|[0-9]{1,15}\.0*)", word):
        raise ValueError(f"the concept_id {value!r} is not a whole number")
    return int(word.partition(".")[0])


def _flag(values: Mapping[str, Any], names: tuple[str, ...], default: bool) -> bool:
    value = next((values[name] for name in names if values.get(name) is not None), default)
    word = str(value).strip().lower()
    if word not in YES + NO:
        raise ValueError(f"{value!r} is neither true nor false")
    return word in YES
