"""Read values as they are written in YAML or on a command line: a schema says what each of them is meant to be."""

import re
from datetime import date, datetime, time
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.core.schema import branches, resolve

_WHOLE, _NUMBER = r"[+-]?\d+", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def as_meant(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "config") -> Any:
    """Return ``value`` with its parts as the schema has them, where that changes no meaning.

    A date without quotes becomes text; text a number, or true or false; a whole number a name; one value a list of one.
    Nested values of ``--config`` arrive as text. What is still wrong then is left to ``schema.check``.

    Raises StudyError for a key that YAML does not read as text: 1, no, on.
    """
    schema = resolve(schema, root)
    if isinstance(value, dict):
        return _keys_as_meant(value, schema, root, at)
    for branch in schema.get("anyOf", []):  # one value, or a list of them
        of_list = branch.get("type") == "array"
        if of_list == isinstance(value, list):
            return as_meant(value, branch, root, at)
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if isinstance(value, list):
        return [as_meant(item, schema.get("items", {}), root, f"{at}.{n}") for n, item in enumerate(value)]
    if isinstance(value, date):
        midnight = isinstance(value, datetime) and value.timetz() == time()
        return str(value.date() if isinstance(value, datetime) and midnight else value)
    if "array" in types and _is_one(value, schema, root) and schema.get("minItems", 1) < 2:
        return [as_meant(value, schema.get("items", {}), root, at)]
    if isinstance(value, str) and "string" not in types and value not in schema.get("enum", []):
        return _from_text(value.strip(), types, value)
    if isinstance(value, int) and not isinstance(value, bool) and "string" in types and "integer" not in types:
        return str(value)
    if isinstance(value, float) and value.is_integer() and "integer" in types:
        return int(value)
    return value


def _keys_as_meant(value: dict[Any, Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> dict[str, Any]:
    known = schema.get("properties", {})
    for branch in branches(schema, value):
        known = known | branch.get("properties", {})
    extra = schema.get("additionalProperties")
    result = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise StudyError(f"{at}: YAML reads the key {_written(key)} as {key!r}, not as a name; put it in quotes")
        sub = known.get(key, extra if isinstance(extra, dict) else {})
        result[key] = as_meant(item, sub, root, f"{at}.{key}")
    return result


def _is_one(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a value that is no list can be the only one of a list: a name, a number, an id."""
    items = resolve(schema.get("items", {}), root)
    kinds = items.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, str):
        text = "string" in kinds or "enum" in items
        return text if "string" not in schema.get("type", []) else bool(re.fullmatch(_WHOLE, value.strip()))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and bool({"integer", "number"} & set(kinds))


def _from_text(text: str, types: list[str], value: str) -> Any:
    if "integer" in types and re.fullmatch(_WHOLE, text):
        return int(text)
    if "number" in types and re.fullmatch(_NUMBER, text):
        return float(text)
    if "boolean" in types and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    return None if "null" in types and text.lower() in ("null", "none", "~", "") else value


def _written(key: Any) -> str:
    return {True: "yes, on or true", False: "no, off or false"}[key] if isinstance(key, bool) else str(key)
