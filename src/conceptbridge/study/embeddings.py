"""The catalogue of embeddings, and what makes two of them the same."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import canonical, nearest

_MODEL = (
    "model",
    "revision",
    "weights_sha256",
    "pooling",
    "layer",
    "max_length",
    "normalize",
    "prompt",
    "dtype",
)
#: what changes a vector, backend by backend; all else in a catalogue entry (licence, package, url) does not
IDENTITY = {
    "onehot": (),
    "random": ("width",),
    "shuffled": (),
    "cooccurrence": ("width",),
    "precomputed": ("file_sha256", "by"),
    "openai": ("model", "revision", "dimensions", "prompt", "normalize"),
    "sentence-transformers": _MODEL,
    "transformers": _MODEL,
}
#: these make no vector from a text alone
NO_VECTOR_OF_TEXT = ("onehot", "shuffled", "cooccurrence", "precomputed")
CONTROLS = ("onehot", "random", "shuffled")
#: the module of each backend that has one of its own; it is imported only when it is used, so that a change of it runs
#: nothing of the others again
MODULES = {
    "transformers": "conceptbridge.embed.models",
    "sentence-transformers": "conceptbridge.embed.models",
    "openai": "conceptbridge.embed.remote",
}
#: where a change of the code gave a backend's texts other vectors, how often it did: part of what changes a vector, so
#: that none is taken from a cache that was filled before. Whoever makes such a change counts it here
CHANGED: dict[str, int] = {}


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

    @property
    def control(self) -> bool:
        """Whether it carries no meaning: one-hot, random or shuffled vectors."""
        return self.spec["backend"] in CONTROLS

    @property
    def remote(self) -> bool:
        """Whether a service that may be elsewhere reads the texts."""
        return bool(self.spec["backend"] == "openai" or (self.fallback is not None and self.fallback.remote))

    @property
    def learned(self) -> bool:
        """Whether it is learned from a source's training rows, so that it has one table a task and source."""
        return bool(self.spec["backend"] == "cooccurrence")

    @property
    def tables(self) -> "Embedding | None":
        """The embedding whose tables hold the vectors: a shuffled one permutes its parent's, one-hot needs none."""
        if self.spec["backend"] == "onehot":
            return None
        return self.parent if self.spec["backend"] == "shuffled" else self


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
    backend = spec["backend"]
    at = f"catalogue of embeddings: {name}"
    parent = fallback = None
    if "parent" in spec:
        parent = find_embedding(spec["parent"], catalogue, f"the parent of {name}", (*asked_by, name))
        if parent.parent is not None or "width" not in parent.spec or parent.learned:
            raise StudyError(f"{at}: its parent {parent.name} has to be a real embedding")
        spec["width"] = parent.spec["width"]
    if backend in ("transformers", "sentence-transformers") and not {"revision", "weights_sha256"} & spec.keys():
        raise StudyError(
            f"{at}: nothing says which version of {spec['model']} is meant; pin it in the study, as "
            f"`embeddings: [{{{name}: {{revision: ...}}}}]` with the commit (40 hex digits) that the hub shows under "
            "Files, or with `weights_sha256` for a folder"
        )
    identity = {"backend": backend, **{key: spec[key] for key in IDENTITY[backend] if key in spec}}
    if backend in CHANGED:
        identity["changed"] = CHANGED[backend]
    if "weights_sha256" in spec and str(spec["model"]).startswith(("/", ".", "~")):
        del identity["model"]  # a folder may move
    if backend == "shuffled" and parent is not None:
        identity["parent"] = parent.fingerprint
    if isinstance(missing := spec.get("missing"), dict):
        fallback = find_embedding(missing["backend"], catalogue, f"{name}: missing", (*asked_by, name))
        if fallback.spec.get("width") != spec["width"] or fallback.spec["backend"] in NO_VECTOR_OF_TEXT:
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
