"""Check a value against its JSON schema, and fill in the schema's defaults."""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import nearest

_KINDS = {
    "object": "a section of keys",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def check(value: Any, schema: dict[str, Any], what: str) -> None:
    """Raise StudyError for a fault of ``value`` against ``schema``, in one sentence: key, what was found, what to do.

    Of several faults an unknown key comes first, as it can be a missing one misspelt, and a missing one last.
    """
    order = {"additionalProperties": 0, "required": 2}
    faults = [fault for error in Draft202012Validator(schema).iter_errors(value) for fault in _of_its_branch(error)]
    if faults:
        first = min(faults, key=lambda fault: (order.get(str(fault.validator), 1), len(fault.absolute_path)))
        raise StudyError(f"{what}: {_message(first)}")


def fill_defaults(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    """Write the ``default`` of every absent property into ``value``, in place."""
    schema = resolve(schema, root)
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


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that a reference stands for, or the schema itself."""
    if "$ref" not in schema:
        return schema
    node: Any = root
    for part in schema["$ref"].removeprefix("#/").split("/"):
        node = node[part]
    return dict(node)


def branches(schema: dict[str, Any], value: Any) -> list[dict[str, Any]]:
    """Return the branches of a schema that ``value`` can mean: that of the constant that it names, or all."""
    of_schema: list[dict[str, Any]] = schema.get("oneOf", [])
    if not isinstance(value, dict) or not all("properties" in branch for branch in of_schema):
        return of_schema
    return [
        branch
        for branch in of_schema
        if all(
            value[key] == sub["const"] for key, sub in branch["properties"].items() if "const" in sub and key in value
        )
    ]


def _of_its_branch(error: ValidationError) -> Iterator[ValidationError]:
    """Yield the faults against the branch that was meant, in place of the fault that no branch fits."""
    if error.validator not in ("oneOf", "anyOf") or not error.context:
        yield error
        return
    schema: Any = error.schema
    by_branch: dict[Any, list[ValidationError]] = {}
    for fault in error.context:
        by_branch.setdefault(fault.schema_path[0], []).append(fault)
    if error.validator == "oneOf":
        meant = [schema["oneOf"].index(branch) for branch in branches(schema, error.instance)]
    else:  # the branch of the value's kind, or else the first
        fit = [n for n, faults in by_branch.items() if not any(f.validator == "type" and not f.path for f in faults)]
        meant = fit[:1] or [0]
    if len(meant) == 1:
        for fault in by_branch[meant[0]]:
            yield from _of_its_branch(fault)
    else:
        yield error


def _message(error: ValidationError) -> str:
    expected: Any = error.validator_value
    schema: Any = error.schema
    value: Any = error.instance
    at = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{at}: " if at else ""
    found = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
    match error.validator:
        case "additionalProperties":
            known = schema.get("properties", {})
            unknown = [key for key in value if key not in known]
            listed = ", ".join(map(repr, unknown))
            return f"{prefix}unknown key {listed}{nearest(str(unknown[0]), known)}; known keys: {', '.join(known)}"
        case "required":
            missing = next(key for key in expected if key not in value)
            about = schema.get("properties", {}).get(missing, {}).get("description")
            return f"{prefix}the key {missing!r} is missing; add it{f' ({about})' if about else ''}"
        case "enum" | "const":
            valid = expected if error.validator == "enum" else [expected]
            return f"{prefix}{found} is not one of {', '.join(map(str, valid))}{nearest(str(value), valid)}"
        case "oneOf" if all("properties" in branch for branch in schema["oneOf"]):
            key, valid = _choice(schema)
            named = value.get(key) if isinstance(value, dict) else value
            return f"{prefix}{key}: {named!r} is not one of {', '.join(valid)}{nearest(str(named), valid)}"
        case "type":
            kinds = [expected] if isinstance(expected, str) else expected
            wanted = " or ".join(_KINDS[kind] for kind in kinds if kind != "null" or len(kinds) == 1)
            return f"{prefix}{found} is {_kind(value)}; give {wanted}"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            low = "inimum" in error.validator
            bound = (
                ("above" if low else "below") if "exclusive" in error.validator else "at least" if low else "at most"
            )
            return f"{prefix}{found} is too {'small' if low else 'large'}; give {bound} {expected}"
        case "minItems" | "maxItems" | "minProperties" | "minLength":
            fewest = "at least" if error.validator != "maxItems" else "at most"
            exact = schema.get("minItems") == schema.get("maxItems")
            many = "exactly" if exact and "minItems" in schema else fewest
            return f"{prefix}{found} has {len(value)}; give {many} {expected}"
        case "maxProperties":
            return f"{prefix}{found} has {len(value)} keys; give one, and the others as entries of their own"
        case "uniqueItems":
            twice = next(item for n, item in enumerate(value) if item in value[:n])
            return f"{prefix}{twice!r} is there twice; remove one"
        case "contains":
            return f"{prefix}{found} does not contain {expected.get('const')!r}; add it"
        case "multipleOf":
            return f"{prefix}{found} is not a multiple of {expected}; give one"
        case "pattern":
            return f"{prefix}{found} {_pattern(str(value), expected)}"
    return f"{prefix}{error.message}"


def _choice(schema: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the key whose constants tell the branches of a schema apart, and these constants."""
    named: list[tuple[str, str]] = [
        (key, sub["const"]) for one in schema["oneOf"] for key, sub in one["properties"].items() if "const" in sub
    ]
    return named[0][0], [constant for _, constant in named]


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    names = {dict: "a section of keys", list: "a list", bool: "true or false", str: "text", int: "a number"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")


def _pattern(value: str, pattern: str) -> str:
    """Say what a text must look like."""
    if pattern.startswith("^[0-9]{4}-"):
        return "is not a date; write it as YYYY-MM-DD, such as 2022-09-01"
    if "name" in pattern:
        return "does not say where the name goes; add {name}"
    small = "A-Z" not in pattern
    word = re.sub(r"[^A-Za-z0-9._-]+" if not small else r"[^A-Za-z0-9_-]+", "-", value).strip("-._")
    word = word.lower() if small else word
    if re.match(pattern, word):
        letters = "small letters, digits, `_` and `-`, a letter first" if small else "letters, digits, `.`, `_` and `-`"
        return f"cannot be a name, which has {letters}; write {word}"
    return f"does not match {pattern!r}; change it"
