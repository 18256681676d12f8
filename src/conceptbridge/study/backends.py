"""The backends of embeddings by name, and what each of them declares and does.

A backend is one subclass of ``Backend`` in a module of its own: in ``conceptbridge.embed.backends``, or in another
package that names it as an entry point of the group ``conceptbridge.backends``. Reading a study imports these modules,
so they import nothing heavy at their top: what computes is imported inside the methods.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from conceptbridge.core.errors import StudyError
from conceptbridge.core.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

#: an entry of the catalogue
Spec = Mapping[str, Any]
#: JSON schema
Schema = dict[str, Any]
#: files of a task at a site: cohort, tokens, sequences
SiteFiles = tuple[Path, Path, Path]

SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
#: what an entry of any backend may say
COMMON_FIELDS: dict[str, Schema] = {
    "width": {"type": "integer", "minimum": 1, "description": "numbers per vector"},
    "licence": {"type": "string", "description": "of the weights"},
}


class Encoder(Protocol):
    """A loaded model: it turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> "Iterator[tuple[list[str], NDArray[np.float32]]]":
        """Yield some of ``texts`` and their vectors, shape (some, width), until all have had theirs, in any order.

        What is yielded is done, and paid for: the caller keeps it before it asks for more. The same text has the same
        vector in every call.
        """


class Published(Protocol):
    """An opened file of vectors."""

    #: shape (keys, width)
    vectors: "NDArray[np.float32]"

    def find(self, tokens: "pa.Table") -> "NDArray[np.int64]":
        """The row in ``vectors`` of each token (text, concept_id, concept_code, state); -1 where the file has none."""


class Backend:
    """One way of giving vectors to tokens. A subclass sets the attributes that differ and writes one of ``load``,
    ``open`` and ``learn``, as ``vectors`` says; with "permuted" and "none" it writes none of them."""

    #: what an entry of the catalogue says as its `backend`
    name: ClassVar[str]
    #: where the vectors come from:
    #: "computed" from a text alone, once for all studies, by ``load``;
    #: "published" in a file, which ``open`` looks tokens up in;
    #: "learned" from the training rows of a source, by ``learn``: one table per task and source;
    #: "permuted": those of the entry's parent, given to the wrong texts by each model;
    #: "none": there are none; a model has one column per token
    vectors: ClassVar[Literal["computed", "published", "learned", "permuted", "none"]] = "computed"
    #: the fields of an entry beside COMMON_FIELDS, each with its JSON schema
    fields: ClassVar[Mapping[str, Schema]] = {}
    #: the fields that an entry has to have
    required: ClassVar[tuple[str, ...]] = ()
    #: further JSON schemas that an entry has to satisfy
    rules: ClassVar[tuple[Schema, ...]] = ()
    #: the fields that change a vector: they, and no others, are in the embedding's fingerprint
    identity: ClassVar[tuple[str, ...]] = ()
    #: how often a change of the code gave texts other vectors; whoever makes such a change counts it here. It is part
    #: of the fingerprint, so that no older vector is taken from a cache
    changed: ClassVar[int] = 0
    #: the fields, beside those of ``identity``, that tell another hospital how to get the embedding
    shared: ClassVar[tuple[str, ...]] = ("width", "licence")
    #: whether the vectors carry no meaning
    control: ClassVar[bool] = False
    #: whether a service that may be elsewhere reads the texts
    remote: ClassVar[bool] = False

    def schema(self) -> Schema:
        """JSON schema of an entry."""
        return {
            "type": "object",
            "required": ["backend", *self.required],
            "additionalProperties": False,
            "properties": {"backend": {"const": self.name}, **self.fields, **COMMON_FIELDS},
            "allOf": [{}, *self.rules],
        }

    def check(self, name: str, spec: Spec) -> None:
        """Raise StudyError where the entry ``name`` fits the schema and still cannot be used."""

    def identity_of(self, spec: Spec) -> dict[str, Any]:
        """What the fingerprint of an entry is taken over: everything that changes a vector, and nothing else."""
        told = {"backend": self.name, **{key: spec[key] for key in self.identity if key in spec}}
        return told | ({"changed": self.changed} if self.changed else {})

    def shared_entry(self, spec: Spec) -> dict[str, Any]:
        """The part of an entry that another hospital needs; a folder of this machine is left out."""
        entry = {key: spec[key] for key in (*self.identity, *self.shared) if key in spec}
        if is_folder(entry.get("model")):
            del entry["model"]
        return entry

    def load(self, spec: Spec, threads: int) -> Encoder:
        """The encoder of an entry. Raises StudyError when its model cannot be had."""
        raise StudyError(f"the backend {self.name!r} makes no vectors from texts")

    def open(self, spec: Spec, data: Path) -> Published:
        """The file of an entry, below ``data`` if relative. Raises StudyError when it cannot be read as stated."""
        raise StudyError(f"the backend {self.name!r} reads no file of vectors")

    def learn(
        self, spec: Spec, sites: Sequence[SiteFiles], min_cell_count: int
    ) -> "tuple[list[str], NDArray[np.float32]]":
        """Learn from the training rows of ``sites``: the texts that have a vector, sorted, and their vectors.

        What fewer than ``min_cell_count`` persons have in common is not used.
        """
        raise StudyError(f"the backend {self.name!r} learns nothing from rows")

    def estimate(self, spec: Spec, texts: Sequence[str]) -> dict[str, Any] | None:
        """What computing ``texts`` takes where a service asks for money; None where nothing is to pay."""
        return None

    def fetch(self, spec: Spec) -> None:
        """Put what an entry downloads onto this machine. Raises StudyError when it cannot be had."""


def is_folder(model: Any) -> bool:
    """Whether an entry's ``model`` is a folder of this machine, not a name."""
    return str(model or "").startswith(("/", ".", "~"))


BACKENDS = Registry(
    "embedding backend",
    "conceptbridge.backends",
    {
        "onehot": "conceptbridge.embed.backends.onehot:OneHot",
        "random": "conceptbridge.embed.backends.random:Random",
        "shuffled": "conceptbridge.embed.backends.shuffled:Shuffled",
        "cooccurrence": "conceptbridge.embed.backends.cooccurrence:Cooccurrence",
        "precomputed": "conceptbridge.embed.backends.precomputed:Precomputed",
        "openai": "conceptbridge.embed.backends.openai:OpenAI",
        "sentence-transformers": "conceptbridge.embed.backends.language_models:SentenceTransformers",
        "transformers": "conceptbridge.embed.backends.language_models:Transformers",
    },
)


def find_backend(name: str) -> Backend:
    """The backend of that name. Raises StudyError when there is none, or it cannot be imported."""
    return BACKENDS.find(name, Backend)()
