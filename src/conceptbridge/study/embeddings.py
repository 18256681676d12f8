"""The catalogue of embeddings, and the fingerprint that tells whether two of them are the same."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from conceptbridge.core.errors import StudyError
from conceptbridge.core.schema import check
from conceptbridge.core.text import canonical, nearest
from conceptbridge.study.backends import BACKENDS, Backend, Schema, find_backend


@dataclass(frozen=True)
class Embedding:
    """A named way to turn text into vectors."""

    name: str
    spec: dict[str, Any]
    #: SHA-256 of exactly the fields that change a vector
    fingerprint: str
    parent: "Embedding | None" = None
    #: the embedding that supplies the vectors which a precomputed file lacks
    fallback: "Embedding | None" = None

    @property
    def id(self) -> str:
        """The name of the embedding's folder, and of the folder of arms trained on it."""
        return f"{self.name}-{self.fingerprint[:12]}"

    @cached_property
    def backend(self) -> Backend:
        """The backend that gives tokens their vectors."""
        return find_backend(self.spec["backend"])

    @property
    def control(self) -> bool:
        """Whether it carries no meaning: one-hot, random or shuffled vectors, or a translation by such."""
        return self.backend.control or self._translated_at_random

    @property
    def drawn(self) -> bool:
        """Whether each seed draws its vectors, or its translation, anew: seed k is draw k."""
        return self.backend.drawn or self._translated_at_random

    @property
    def translated(self) -> bool:
        """Whether it is a translation, which uses the one-hot models of the study."""
        return self.backend.vectors == "translated"

    @property
    def _translated_at_random(self) -> bool:
        by_names = self.parent is not None and self.parent.control
        return self.translated and (by_names or self.spec.get("profiles") == "shuffled")

    @property
    def remote(self) -> bool:
        """Whether a service, possibly on another machine, reads the texts."""
        return self.backend.remote or (self.fallback is not None and self.fallback.remote)

    @property
    def onehot(self) -> bool:
        """Whether a model has one column per token, and none for ancestors: a translation uses such models."""
        return self.backend.vectors == "none" and not self.backend.ancestors

    @property
    def embeds_names(self) -> bool:
        """Whether names have vectors, which can be compared: its own, or its parent's."""
        return self.tables is not None and not self.backend.ancestors and not self.of_rows

    @property
    def learned(self) -> bool:
        """Whether it is learned from a source's training rows, with one table per task and source."""
        return self.backend.vectors == "learned"

    @property
    def of_rows(self) -> bool:
        """Whether each row has a vector, not each token, with one table per task and site."""
        return self.backend.vectors == "rows"

    @property
    def shareable(self) -> bool:
        """Whether its models may leave the site. A permuted one may not: it holds every text of its source, even rare
        ones. A translation has none of its own. One of rows is nothing without the model that made their vectors, of
        which nobody here can tell whether the receiver has it."""
        return self.backend.vectors not in ("permuted", "translated", "rows")

    @property
    def tables(self) -> "Embedding | None":
        """The embedding whose tables hold the vectors, or ancestors, that a model sees: a permuted one uses its
        parent's, one-hot and translations need none."""
        if self.onehot or self.translated:
            return None
        return self.parent if self.backend.vectors == "permuted" else self

    @property
    def needed(self) -> "list[Embedding]":
        """The embedding, its parent and its fallback, and what these need."""
        return [self, *(one for part in (self.parent, self.fallback) if part for one in part.needed)]

    @property
    def modules(self) -> list[str]:
        """The modules that its vectors depend on: its backend's, its fallback's, and, of rows, its parent's."""
        used = self.needed if self.of_rows else (self, self.fallback) if self.fallback else (self,)
        return list(dict.fromkeys(BACKENDS[embedding.spec["backend"]] for embedding in used))


def catalogue_schema(used: Collection[str] | None = None) -> Schema:
    """Return the JSON schema of a catalogue, with the fields that each backend declares.

    ``used``: the backends to load; None for all. A broken backend cannot stop a study that does not use it.
    """
    names = list(BACKENDS)
    entries = [
        {"if": {"required": ["backend"], "properties": {"backend": {"const": backend.name}}}, "then": backend.schema()}
        for backend in (find_backend(name) for name in names if used is None or name in used)
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The catalogue of embeddings",
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"},
        "additionalProperties": {
            "type": "object",
            "required": ["backend"],
            "properties": {"backend": {"enum": names}},
            "allOf": [{}, *entries],
        },
    }


def check_catalogue(entries: Mapping[str, Any], what: str) -> None:
    """Raise StudyError, beginning with ``what``, for the most relevant fault in a catalogue."""
    used = {str(entry.get("backend")) for entry in entries.values() if isinstance(entry, dict)}
    schema = catalogue_schema(used)
    faults = list(Draft202012Validator(schema).iter_errors(entries))
    if not faults:
        return
    if all(fault.validator == "required" and len(fault.absolute_path) == 1 for fault in faults):
        missing: dict[str, dict[str, None]] = {}  # of each entry, without repeats
        for fault in faults:
            keys = (key for key in fault.validator_value if key not in fault.instance)
            missing.setdefault(str(fault.absolute_path[0]), {}).update(dict.fromkeys(keys))
        for name, lacking in missing.items():
            if len(lacking) > 1:
                told = ", ".join(map(repr, lacking))
                hint = f"; `{name}: MODEL` alone reads them from the model's files" if "model" in entries[name] else ""
                raise StudyError(f"{what}: {name}: the keys {told} are missing{hint}")
    check(entries, schema, what)


def find_embedding(name: str, catalogue: Mapping[str, Any], where: str, asked_by: tuple[str, ...] = ()) -> Embedding:
    """Return the embedding of that name. ``where`` is the config key that names it, ``asked_by`` the entries that need
    it.

    Raises StudyError if the catalogue does not have it (with the nearest name), if its parent is itself a control, or
    if it needs itself.
    """
    if name in asked_by:
        raise StudyError(
            f"catalogue of embeddings: {name} is made from itself; name another parent or `missing` backend"
        )
    if name not in catalogue:
        raise StudyError(
            f"config: {where}: {name!r} is not in the catalogue of embeddings{nearest(name, catalogue)}; "
            f"it has {', '.join(catalogue)}"
        )
    spec = dict(catalogue[name])
    backend = find_backend(spec["backend"])
    at = f"catalogue of embeddings: {name}"
    parent = fallback = None
    if "parent" in spec:
        parent = find_embedding(spec["parent"], catalogue, f"the parent of {name}", (*asked_by, name))
        if backend.vectors == "rows":
            if parent.backend.vectors != "computed" or parent.control or parent.remote:
                raise StudyError(
                    f"{at}: its parent {parent.name} must be a text embedding that is computed on this machine: whole "
                    "records are read, and no service may see them"
                )
        elif backend.vectors == "translated":
            if parent.backend.vectors not in ("computed", "published"):
                raise StudyError(
                    f"{at}: its parent {parent.name} has no vectors of names; choose an embedding of texts"
                )
        elif parent.parent is not None or "width" not in parent.spec or parent.learned:
            raise StudyError(f"{at}: its parent {parent.name} must be a real embedding")
        else:
            spec["width"] = parent.spec["width"]
    backend.check(name, spec)
    identity = backend.identity_of(spec)
    if backend.vectors in ("permuted", "translated", "rows") and parent is not None:
        identity["parent"] = parent.fingerprint
    if isinstance(missing := spec.get("missing"), dict):
        fallback = find_embedding(missing["backend"], catalogue, f"{name}: missing", (*asked_by, name))
        if fallback.spec.get("width") != spec["width"] or fallback.backend.vectors != "computed":
            raise StudyError(f"{at}: missing: {fallback.name} must compute vectors of width {spec['width']} from texts")
        identity["missing"] = fallback.fingerprint
    elif missing == "zero":
        identity["missing"] = "zero"
    return Embedding(name, spec, hashlib.sha256(canonical(identity).encode()).hexdigest(), parent, fallback)


def of_each_parent(names: Sequence[str], catalogue: dict[str, Any]) -> list[str]:
    """Give those among ``names`` that name no parent the study's own embeddings, in ``catalogue``, in place.

    Returns all names. With one parent a control keeps its name. With several there is one control for each: `shuffled`
    becomes `shuffled-PARENT`; `random`, which differs in width alone, becomes `random-WIDTH`. A translation has the
    study's first, or ``lexical``.

    Raises StudyError if there is nothing to shuffle.
    """
    parents = [name for name in names if _can_be_parent(catalogue.get(name, {}))]
    result: list[str] = []
    for name in names:
        entry = catalogue.get(name, {})
        if entry.get("backend") == "translated":
            catalogue[name] = {"parent": next(iter(parents), "lexical")} | entry
        if "parent" in entry or not find_backend(entry.get("backend", "onehot")).drawn:
            result.append(name)
            continue
        permuted = find_backend(entry["backend"]).vectors == "permuted"
        by = {parent if permuted else str(catalogue[parent]["width"]): parent for parent in reversed(parents)}
        if permuted and not parents:
            raise StudyError(
                f"config: embeddings: {name} shuffles the vectors of the study's embeddings, and there are none; add "
                f"one, or leave {name} out"
            )
        for of, parent in sorted(by.items(), key=lambda one: parents.index(one[1])):
            control = f"{name}-{of}" if len(by) > 1 else name
            catalogue[control] = {key: value for key, value in entry.items() if key != "width"} | {"parent": parent}
            result.append(control)
        if not by:
            result.append(name)
    return result


def _can_be_parent(entry: Mapping[str, Any]) -> bool:
    backend = find_backend(entry.get("backend", "onehot"))
    return backend.vectors in ("computed", "published") and not backend.control and "width" in entry


def read_catalogue(source: str) -> dict[str, Any]:
    """Read the entries from a YAML file, or from JSON text."""
    text = source if source.startswith("{") else Path(source).read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def embedding_of_folder(folder: str, catalogue: Mapping[str, Any]) -> Embedding:
    """Return the embedding whose id, or plain name, is ``folder``.

    Raises StudyError if the catalogue's entry has changed since the run was planned.
    """
    if folder in catalogue:
        return find_embedding(folder, catalogue, "embeddings")
    result = find_embedding(folder.rsplit("-", 1)[0], catalogue, "embeddings")
    if result.id != folder:
        raise StudyError(
            f"catalogue of embeddings: {result.name} has changed since the run was planned; start it again"
        )
    return result
