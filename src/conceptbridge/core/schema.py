"""Check a value against its JSON schema, and fill in the schema's defaults."""

from copy import deepcopy
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import nearest


def check(value: Any, schema: dict[str, Any], what: str) -> None:
    """Raise StudyError for the most relevant fault of ``value`` against ``schema``, in one message."""
    error = best_match(Draft202012Validator(schema).iter_errors(value))
    if error is not None:
        raise StudyError(f"{what}: {_message(error)}")


def fill_defaults(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """Write the ``default`` of every absent property into ``value``, in place."""
    if "$ref" in schema:
        schema = _resolve(schema["$ref"], root)
    for branch in schema.get("oneOf", []):
        if Draft202012Validator({**branch, "$defs": root.get("$defs", {})}).is_valid(value):
            fill_defaults(value, branch, root)
    if not isinstance(value, dict):
        return
    properties = schema.get("properties", {})
    for key, sub in properties.items():
        if key not in value and "default" in sub:
            value[key] = deepcopy(sub["default"])
    extra = schema.get("additionalProperties")
    for key, item in value.items():
        sub = properties.get(key, extra if isinstance(extra, dict) else None)
        # `cnn:` alone asks for the defaults; null is a value only where it is the default
        if item is None and "default" not in (sub or {}):
            value[key] = item = {}
        if sub is not None:
            fill_defaults(item, sub, root)


def _message(error: ValidationError) -> str:
    expected: Any = error.validator_value
    schema: Any = error.schema
    value: Any = error.instance
    at = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{at}: " if at else ""
    if error.validator == "additionalProperties":
        known = schema.get("properties", {})
        unknown = [key for key in value if key not in known]
        listed = ", ".join(map(repr, unknown))
        return f"{prefix}unknown key {listed}{nearest(str(unknown[0]), known)}; known keys: {', '.join(known)}"
    if error.validator == "required":
        missing = next(key for key in expected if key not in value)
        return f"{prefix}the key {missing!r} is missing"
    if error.validator in ("enum", "const"):
        valid = expected if error.validator == "enum" else [expected]
        return f"{prefix}{value!r} is not one of {', '.join(map(str, valid))}{nearest(str(value), valid)}"
    return f"{prefix}{error.message}"


def _resolve(reference: str, root: dict[str, Any]) -> dict[str, Any]:
    node: Any = root
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return dict(node)
