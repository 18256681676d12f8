"""The catalogue of embeddings, and what makes two of them the same."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from conceptbridge.core.errors import StudyError
from conceptbridge.core.schema import check
from conceptbridge.core.text import canonical, nearest
from conceptbridge.study.backends import BACKENDS, Backend, Schema, find_backend


@dataclass(frozen=True)
class Embedding:
    """A named way of turning text into vectors."""

    name: str
    spec: dict[str, Any]
    #: SHA-256 over exactly the fields that change a vector
    fingerprint: str
    parent: "Embedding | None" = None
    #: where a precomputed embedding takes the vectors that its file lacks
    fallback: "Embedding | None" = None

    @property
    def id(self) -> str:
        """Folder of the embedding and of what was trained on it."""
        return f"{self.name}-{self.fingerprint[:12]}"

    @cached_property
    def backend(self) -> Backend:
        """What gives its tokens their vectors."""
        return find_backend(self.spec["backend"])

    @property
    def control(self) -> bool:
        """Whether it carries no meaning: one-hot, random or shuffled vectors."""
        return self.backend.control

    @property
    def remote(self) -> bool:
        """Whether a service that may be elsewhere reads the texts."""
        return self.backend.remote or (self.fallback is not None and self.fallback.remote)

    @property
    def learned(self) -> bool:
        """Whether it is learned from a source's training rows, so that it has one table per task and source."""
        return self.backend.vectors == "learned"

    @property
    def shareable(self) -> bool:
        """Whether its models may leave the site: a permuted one holds every text of its source, rare ones too."""
        return self.backend.vectors != "permuted"

    @property
    def tables(self) -> "Embedding | None":
        """The embedding whose tables hold the vectors: a permuted one uses its parent's, one-hot needs none."""
        if self.backend.vectors == "none":
            return None
        return self.parent if self.backend.vectors == "permuted" else self

    @property
    def modules(self) -> list[str]:
        """Modules of its backend, and of that of the embedding that stands in for it: what its vectors depend on."""
        used = (self, self.fallback) if self.fallback else (self,)
        return list(dict.fromkeys(BACKENDS[one.spec["backend"]] for one in used))


def catalogue_schema(used: Collection[str] | None = None) -> Schema:
    """JSON schema of a catalogue: each backend's fields as it declares them.

    ``used``: the backends that the catalogue uses; no other is loaded, so that none can stop a study that is not its.
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
    """Raise StudyError, beginning with ``what``, for the most relevant fault of a catalogue."""
    used = {str(entry.get("backend")) for entry in entries.values() if isinstance(entry, dict)}
    check(entries, catalogue_schema(used), what)


def find_embedding(name: str, catalogue: Mapping[str, Any], where: str, asked_by: tuple[str, ...] = ()) -> Embedding:
    """The embedding of that name; ``where`` is the config key that asks for it, ``asked_by`` the entries that need it.

    Raises StudyError when the catalogue does not have it, with the nearest name, its parent is a control itself, or
    it needs itself.
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
        if parent.parent is not None or "width" not in parent.spec or parent.learned:
            raise StudyError(f"{at}: its parent {parent.name} has to be a real embedding")
        spec["width"] = parent.spec["width"]
    backend.check(name, spec)
    identity = backend.identity_of(spec)
    if backend.vectors == "permuted" and parent is not None:
        identity["parent"] = parent.fingerprint
    if isinstance(missing := spec.get("missing"), dict):
        fallback = find_embedding(missing["backend"], catalogue, f"{name}: missing", (*asked_by, name))
        if fallback.spec.get("width") != spec["width"] or fallback.backend.vectors != "computed":
            raise StudyError(
                f"{at}: missing: {fallback.name} has to make vectors from texts, {spec['width']} numbers each"
            )
        identity["missing"] = fallback.fingerprint
    elif missing == "zero":
        identity["missing"] = "zero"
    return Embedding(name, spec, hashlib.sha256(canonical(identity).encode()).hexdigest(), parent, fallback)


def read_catalogue(source: str) -> dict[str, Any]:
    """The entries in a YAML file, or in JSON given as it is."""
    text = source if source.startswith("{") else Path(source).read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def embedding_of_folder(folder: str, catalogue: Mapping[str, Any]) -> Embedding:
    """The embedding whose id, or plain name, is ``folder``.

    Raises StudyError when the catalogue's entry is by now another embedding than the one planned.
    """
    if folder in catalogue:
        return find_embedding(folder, catalogue, "embeddings")
    found = find_embedding(folder.rsplit("-", 1)[0], catalogue, "embeddings")
    if found.id != folder:
        raise StudyError(f"catalogue of embeddings: {found.name} has changed since the run was planned; start it again")
    return found
