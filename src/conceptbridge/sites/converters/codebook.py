"""Read the codebook of a findings table: what its columns and values mean. Every plan of the workflow runs this."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import nearest

STATES = ("present", "absent", "missing")
#: the value of an empty field
EMPTY = ""


@dataclass(frozen=True)
class Meaning:
    """What a value means: a finding's ``code`` in a ``state`` (present or absent), or ``missing``: nobody looked.

    A missing value's code and state are used if the site reads missing as absent; with code None it stays missing.
    """

    code: str | None
    state: str
    missing: bool = False
    age: int | None = None  # years


@dataclass(frozen=True)
class Diagnosis:
    """A condition: its OMOP concept, or None for a condition of the codebook's own."""

    concept_id: int | None
    name: str


@dataclass(frozen=True)
class Codebook:
    """``columns``: column -> value -> meaning. ``diagnoses``: value of ``label`` -> condition or None."""

    name: str
    columns: dict[str, dict[str, Meaning]]
    names: dict[str, str]
    label: str
    diagnoses: dict[str, Diagnosis | None]
    ignored: frozenset[str]

    @property
    def codes(self) -> list[str]:
        """The findings' codes, in the codebook's order."""
        every = (meaning.code for values in self.columns.values() for meaning in values.values())
        return list(dict.fromkeys(code for code in every if code is not None))


def read_codebook(path: Path, names: Path | None = None) -> Codebook:
    """Read a codebook, and the names of its codes from the lines ``CODE: name`` of the file ``names``.

    Raises StudyError, naming file and key, if a file cannot be read, has an unknown key or word, or a code has no name.
    """
    try:
        book = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StudyError(f"{path}: the codebook cannot be read ({error})") from error
    top = _keys(book, str(path), ("columns", "diagnosis"), ("values", "ignored"))
    shared = _mapping(top.get("values", {}), f"{path}: values")
    known = _read_names(names) if names else {}
    columns: dict[str, dict[str, Meaning]] = {}
    for column, given in _mapping(top["columns"], f"{path}: columns").items():
        at = f"{path}: columns.{column}"
        spec = _keys(given or {}, at, (), ("name", "values"))
        if "name" in spec:
            known[column] = str(spec["name"])
        values = _mapping(spec.get("values", shared), f"{at}.values")
        columns[column] = {
            value: _meaning(column, meaning, f"{at}.values.{value}", known) for value, meaning in values.items()
        }
        columns[column].setdefault(EMPTY, _of_empty(columns[column]))
    diagnosis = _keys(top["diagnosis"], f"{path}: diagnosis", ("column", "values"), ())
    diagnoses = {
        value: None if condition is None else _diagnosis(condition, f"{path}: diagnosis.values.{value}")
        for value, condition in _mapping(diagnosis["values"], f"{path}: diagnosis.values").items()
    }
    ignored = frozenset(map(str, top.get("ignored", [])))
    codebook = Codebook(path.stem, columns, known, str(diagnosis["column"]), diagnoses, ignored)
    for code in codebook.codes:
        if code not in known:
            where = names if names else "a file of names (`names` of the site's findings)"
            raise StudyError(f"{path}: the code {code} has no name; give it one there (`name:`) or in {where}")
    return codebook


def _meaning(column: str, given: Any, at: str, known: dict[str, str]) -> Meaning:
    """A value is a state of its column (a word), or a finding of its own (a mapping with its code)."""
    if isinstance(given, str):
        if given not in STATES:
            raise StudyError(f"{at}: {given!r} is not one of {', '.join(STATES)}{nearest(given, STATES)}")
        return Meaning(column, "absent", missing=True) if given == "missing" else Meaning(column, given)
    spec = _keys(given, at, ("code",), ("name", "missing", "age"))
    if "name" in spec:
        known[str(spec["code"])] = str(spec["name"])
    return Meaning(str(spec["code"]), "present", bool(spec.get("missing")), spec.get("age"))


def _of_empty(values: Mapping[str, Meaning]) -> Meaning:
    """An empty field is the column's missing value; without one, only a column with an absent state can be absent."""
    stated = [meaning for meaning in values.values() if meaning.missing]
    absent = [meaning.code for meaning in values.values() if meaning.state == "absent"]
    return stated[0] if stated else Meaning(absent[0] if absent else None, "absent", missing=True)


def _diagnosis(given: Any, at: str) -> Diagnosis:
    spec = _keys(given, at, ("name",), ("concept_id",))
    return Diagnosis(spec.get("concept_id"), str(spec["name"]))


def _read_names(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: the names of the findings cannot be read ({error})") from error
    pairs = [line.split(":", 1) for line in lines if line.strip()]
    if any(len(pair) < 2 for pair in pairs):
        raise StudyError(f"{path}: every line must be `CODE: name`")
    return {code.strip(): name.strip() for code, name in pairs}


def _keys(value: Any, at: str, needed: tuple[str, ...], allowed: tuple[str, ...]) -> dict[str, Any]:
    spec = _mapping(value, at)
    for key in needed:
        if key not in spec:
            raise StudyError(f"{at}: the key {key!r} is missing")
    for key in spec:
        if key not in needed + allowed:
            valid = needed + allowed
            raise StudyError(f"{at}: unknown key {key!r}{nearest(key, valid)}; known keys: {', '.join(valid)}")
    return spec


def _mapping(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StudyError(f"{at}: expected keys with values, found {value!r}")
    return {str(key): item for key, item in value.items()}
