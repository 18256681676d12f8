"""The keys of a study as their declarations have them: what each means, its values, its default, and what it re-runs.

The declarations are ``config.schema.yaml`` and, for settings of learners, entries of the catalogue and other inputs,
their classes. Checks, defaults, the tables of ``config/README.md`` and the schema for editors all come from these.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from conceptbridge.core.schema import resolve
from conceptbridge.study.backends import BACKENDS, COMMON_FIELDS, find_backend
from conceptbridge.study.learners import LearnerSpec, find_learner

Schema = Mapping[str, Any]

#: the key whose names a user chooses -> what stands for such a name
_NAMED = {"sites": "SITE", "tasks": "TASK"}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
}
_KINDS = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "string": "text"}
_DEFAULTS = {"default", "x-default", "x-presets"}
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
_MANY = {"whole number": "whole numbers", "number": "numbers", "text": "texts"}


@dataclass(frozen=True)
class Key:
    """One key: its path with SITE, TASK for names, a sentence, its values and default in words, the first stage that
    runs again when it changes, whether the vector of a concept changes, and whether everybody needs it."""

    path: str
    about: str
    values: str
    default: str
    reruns: str
    vectors: bool
    first: bool
    #: whether it is a section of other keys
    section: bool


def declared_keys(schema: Schema) -> list[Key]:
    """Return every key of a study's ``schema``, in its order; those of learners are not among them."""
    return list(_keys(schema, schema, "", "", False))


def preset_defaults(properties: Schema, preset: str) -> dict[str, Any]:
    """Return the defaults of a preset, for the keys whose default depends on it."""
    declared = {key: sub["x-presets"] for key, sub in properties.items() if "x-presets" in sub}
    return {key: deepcopy(presets[preset]) for key, presets in declared.items()}


def sentence(text: str) -> str:
    """Return a description as a sentence: a capital first, a full stop last."""
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def merged(schema: Schema, root: Schema) -> dict[str, Any]:
    """Return a schema with what it refers to, and what it says itself in front."""
    return resolve(dict(schema), dict(root)) | {key: value for key, value in schema.items() if key != "$ref"}


def values_of(schema: Schema, root: Schema) -> str:
    """Return the values that a schema allows, in words."""
    schema = merged(schema, root)
    if "anyOf" in schema and "title" not in schema:
        one, *_ = schema["anyOf"]
        return f"{values_of(one, root)}; or a list"
    if "oneOf" in schema and "title" not in schema:
        parts = [merged(part, root) for part in schema["oneOf"]]
        return _listed([str(part.get("const", "a section")) for part in parts])
    text = schema.get("title") or _kind(schema, root)
    unit = schema.get("x-unit")
    return f"{text} ({unit})" if unit else str(text)


def shown(value: Any) -> str:
    """Return a value as a study writes it."""
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, float):
        return f"{value:.8f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        return f"[{', '.join(shown(one).strip('`') for one in value)}]"
    return json.dumps(value)


def default_of(schema: Schema, required: bool) -> str:
    """Return the default of a key, in words."""
    if presets := schema.get("x-presets"):
        told = {name: shown(value) for name, value in presets.items()}
        text = ", ".join(f"{name}: {value}" for name, value in told.items())
        text = next(iter(told.values())) if len(set(told.values())) == 1 else text
        return f"{text}; {schema['x-default']}" if "x-default" in schema else text
    if "x-default" in schema:
        return str(schema["x-default"])
    return shown(schema["default"]) if "default" in schema else "required" if required else "none"


def for_editors(schema: Schema, embeddings: Collection[str]) -> dict[str, Any]:
    """Return a study's schema as editors show it: each description tells unit, default and what runs again too.

    ``embeddings``: names to propose.
    """
    result = deepcopy(dict(schema))
    for name, sub in result["properties"]["learners"]["properties"].items():
        defaults = find_learner(name).default("fair")
        for key, setting in _settings(sub):
            part, _, last = key.rpartition(".")
            section = defaults.get(part, {}) if part else defaults
            setting |= {"default": section[last]} if last in section else {"x-default": "as in training"}
    result["properties"]["embeddings"]["items"]["examples"] = list(embeddings)
    _tell(result, result, "")
    learners = result["properties"]["learners"]
    about = {key: learners.pop(key) for key in ("title", "description")}
    listed = {"type": ["array", "string"], "items": {"examples": list(learners["properties"])}}  # without settings
    result["properties"]["learners"] = about | {"anyOf": [learners, listed]}
    return result


def learner_rows(learner: type[LearnerSpec]) -> Iterator[tuple[str, ...]]:
    """Yield the settings of a learner: key, sentence, values, default of the preset ``fair``, default of ``paper``."""
    fair, paper = learner.default("fair"), learner.default("paper")
    for key, setting in learner.settings.items():
        yield key, sentence(setting.about), values_of(setting.given, {}), shown(fair[key]), shown(paper[key])
    for part, settings in learner.tuning.items():
        for key, setting in settings.items():
            defaults = [shown(d[part][key]) if key in d[part] else "as in training" for d in (fair, paper)]
            yield f"{part}.{key}", sentence(setting.about), values_of(setting.given, {}), *defaults


def catalogue_rows() -> Iterator[tuple[str, ...]]:
    """Yield the fields of the catalogue's entries, of our own backends: key, sentence, values, backends, and of which
    of them the field changes vectors."""
    names = list(BACKENDS.own)
    known: dict[tuple[str, str, str], list[str]] = {}
    backends = {name: find_backend(name) for name in names}
    for name, backend in backends.items():
        for key, schema in {**backend.fields, **COMMON_FIELDS}.items():
            of_key = (key, sentence(schema["description"]), values_of(schema, {}))
            known.setdefault(of_key, []).append(name)
    common = [row for row in known if row[0] in COMMON_FIELDS]
    yield "backend", "The kind of embedding; it says which of the other keys there are.", "name", "all", "yes"
    for row in [*common, *(row for row in known if row not in common)]:
        # of a parent or a fallback the fingerprint counts
        changing = [name for name in known[row] if row[0] in (*backends[name].identity, "parent", "missing")]
        all_of = len(known[row]) == len(names)
        vectors = "yes" if changing == known[row] else f"of {_listed(changing)}" if changing else "no"
        yield row[0], row[1], row[2], "all" if all_of else _listed(known[row]), vectors


def _keys(schema: Schema, root: Schema, path: str, reruns: str, vectors: bool) -> Iterator[Key]:
    known: dict[str, Any] = schema.get("properties", {})
    branches = [branch["properties"] for branch in schema.get("oneOf", []) if "properties" in branch]
    for key, declared in known.items():
        sub = merged(declared, root)
        for branch in reversed(branches):  # what a branch says of the key
            sub = merged(branch.get(key, {}), root) | sub
        if constants := [branch[key]["const"] for branch in branches if "const" in branch.get(key, {})]:
            sub = {name: value for name, value in sub.items() if name != "const"} | {"enum": constants}
        at = f"{path}.{key}".lstrip(".")
        stage, embeds = sub.get("x-reruns", reruns), sub.get("x-vectors", vectors)
        named = _NAMED.get(key) if not path else None
        inner = merged(sub["additionalProperties"], root) if named else sub
        section = bool(inner.get("properties")) or ("oneOf" in inner and "properties" in inner)
        default = default_of(sub, key in schema.get("required", []))
        yield Key(
            at,
            sentence(sub.get("description", "?")),
            values_of(sub, root),
            default,
            stage,
            embeds,
            sub.get("x-first", False),
            section and "null" not in sub.get("type", []),
        )
        if section and at != "learners":  # ``learner_rows`` has those
            yield from _keys(inner, root, f"{at}.{named}" if named else at, stage, embeds)


def _settings(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for key, sub in schema["properties"].items():
        at = f"{path}.{key}".lstrip(".")
        yield from _settings(sub, at) if "properties" in sub else [(at, sub)]


def _tell(schema: dict[str, Any], root: Schema, reruns: str) -> None:
    """Complete the descriptions of a schema's keys, in place."""
    reruns = schema.get("x-reruns", reruns)
    for sub in schema.get("properties", {}).values():
        full = merged(sub, root)
        if "x-presets" in full and "default" not in full:
            sub["default"] = deepcopy(full["x-presets"]["fair"])
        stage = full.get("x-reruns", reruns)
        if about := full.get("description"):
            told = [sentence(_LINK.sub(r"\1", about))]
            told += [f"Unit: {full['x-unit']}."] if "x-unit" in full else []
            simple = "properties" not in full and "oneOf" not in full
            told += [f"Default: {default_of(full, False)}."] if simple and {*full} & _DEFAULTS else []
            told += [f"If it changes, a run starts again from: {stage}."] if simple and stage else []
            sub["description"] = " ".join(told)
        _tell(sub, root, stage)
    for branch in schema.get("oneOf", []):
        _tell(branch, root, reruns)
    if isinstance(extra := schema.get("additionalProperties"), dict):
        _tell(extra, root, reruns)


def _kind(schema: Schema, root: Schema) -> str:
    if "enum" in schema or "const" in schema:
        values = dict.fromkeys(str(value) for value in schema.get("enum", [schema.get("const")]) if value is not None)
        return _listed(list(values))
    kinds = schema.get("type", "object")
    kind = str(next(one for one in ([kinds] if isinstance(kinds, str) else kinds) if one != "null"))
    if kind == "object":
        return "section"
    if kind == "array":
        items = values_of(schema["items"], root)
        word, _, limits = items.partition(", ")
        many = f"{_MANY[word]}{f', each {limits}' if limits else ''}" if word in _MANY else items
        exact = schema.get("minItems") == schema.get("maxItems") is not None
        return f"{_number(schema['minItems'])} {many}" if exact else f"list of {many}"
    bounds = [text.format(schema[bound]) for bound, text in _BOUNDS.items() if bound in schema]
    return f"{_KINDS[kind]}, {' and '.join(bounds)}" if bounds else _KINDS[kind]


def _number(n: int) -> str:
    return {2: "two", 3: "three"}.get(n, str(n))


def _listed(values: list[str]) -> str:
    return ", ".join(f"`{value}`" if re.fullmatch(r"[\w.-]+", value) else value for value in values)
