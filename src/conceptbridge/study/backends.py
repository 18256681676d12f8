"""Embedding backends: the base class, and where each one is found by its name.

A backend is a subclass of ``Backend`` in a module of its own: in ``conceptbridge.embed.backends``, or in another
package that declares it as an entry point of the group ``conceptbridge.backends``. Reading a study imports these
modules, so they import heavy packages inside their methods, not at the top.
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

    from conceptbridge.study.embeddings import Embedding

#: an entry of the catalogue
Spec = Mapping[str, Any]
#: JSON schema
Schema = dict[str, Any]
#: the files of a task at a site: cohort, tokens, sequences
SiteFiles = tuple[Path, Path, Path]

SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
#: the fields that an entry of any backend may have
COMMON_FIELDS: dict[str, Schema] = {
    "width": {"type": "integer", "minimum": 1, "description": "numbers per vector"},
    "licence": {"type": "string", "description": "licence of the weights"},
}


class Encoder(Protocol):
    """A loaded model that turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> "Iterator[tuple[list[str], NDArray[np.float32]]]":
        """Yield some of ``texts`` with their vectors, shape (some, width), in any order, until every text has one.

        What is yielded is computed and paid for, so the caller stores it before it asks for more. A text has the same
        vector in every call.
        """


class Published(Protocol):
    """An open file of vectors."""

    #: shape (keys, width)
    vectors: "NDArray[np.float32]"

    def find(self, tokens: "pa.Table") -> "NDArray[np.int64]":
        """The row in ``vectors`` of each token (text, concept_id, concept_code, state); -1 where the file has none."""


class Backend:
    """One way to give vectors to tokens, or to whole rows. A subclass sets the attributes that differ and defines one
    of ``load``, ``open``, ``learn`` and ``represent``, depending on ``vectors``; for "permuted" and "none" it defines
    none of them."""

    #: the `backend` of a catalogue entry
    name: ClassVar[str]
    #: where the vectors come from:
    #: "computed": from the text alone, once for all studies (``load``);
    #: "published": a file in which tokens are looked up (``open``);
    #: "learned": from the training rows of a source, one table per task and source (``learn``);
    #: "permuted": the parent's vectors, which each model assigns to the wrong texts;
    #: "none": there are none; a model has one column per token
    #: "translated": there are none; it uses the one-hot models of the study, in the target's words;
    #: "rows": each prediction has one, not each token; one table per task and site (``represent``)
    vectors: ClassVar[Literal["computed", "published", "learned", "permuted", "none", "translated", "rows"]] = (
        "computed"
    )
    #: the fields of an entry besides COMMON_FIELDS, each with its JSON schema
    fields: ClassVar[Mapping[str, Schema]] = {}
    #: the fields that an entry must have
    required: ClassVar[tuple[str, ...]] = ()
    #: further JSON schemas that an entry must satisfy
    rules: ClassVar[tuple[Schema, ...]] = ()
    #: the fields that change a vector: the embedding's fingerprint covers these and no others
    identity: ClassVar[tuple[str, ...]] = ()
    #: how many code changes gave the same texts other vectors. Add 1 with each such change: the number is part of the
    #: fingerprint, so no older vector is taken from a cache
    changed: ClassVar[int] = 0
    #: the fields besides ``identity`` that tell another hospital how to get the embedding
    shared: ClassVar[tuple[str, ...]] = ("width", "licence")
    #: whether each token is also one of its concept's ancestors (``embed.ancestors``); its ``vectors`` are "none"
    ancestors: ClassVar[bool] = False
    #: whether the vectors carry no meaning
    control: ClassVar[bool] = False
    #: whether each seed of a control draws its vectors anew
    drawn: ClassVar[bool] = False
    #: whether a service, possibly on another machine, reads the texts
    remote: ClassVar[bool] = False

    def schema(self) -> Schema:
        """Return the JSON schema of an entry."""
        return {
            "type": "object",
            "required": ["backend", *self.required],
            "additionalProperties": False,
            "properties": {"backend": {"const": self.name}, **self.fields, **COMMON_FIELDS},
            "allOf": [{}, *self.rules],
        }

    def check(self, name: str, spec: Spec) -> None:
        """Raise StudyError if the entry ``name`` fits the schema but still cannot be used."""

    def identity_of(self, spec: Spec) -> dict[str, Any]:
        """Return what the fingerprint of an entry covers: everything that changes a vector, and nothing else."""
        identity = {"backend": self.name, **{key: spec[key] for key in self.identity if key in spec}}
        return identity | ({"changed": self.changed} if self.changed else {})

    def shared_entry(self, spec: Spec) -> dict[str, Any]:
        """Return the part of an entry that another hospital needs; a folder on this machine is left out."""
        entry = {key: spec[key] for key in (*self.identity, *self.shared) if key in spec}
        if is_folder(entry.get("model")):
            del entry["model"]
        return entry

    def load(self, spec: Spec, threads: int) -> Encoder:
        """Return the encoder of an entry. Raises StudyError if its model is not available."""
        raise StudyError(f"the backend {self.name!r} computes no vectors from texts")

    def open(self, spec: Spec, data: Path) -> Published:
        """Open the file of an entry, below ``data`` if relative. Raises StudyError if it does not fit the entry."""
        raise StudyError(f"the backend {self.name!r} reads no file of vectors")

    def learn(
        self, spec: Spec, sites: Sequence[SiteFiles], min_cell_count: int
    ) -> "tuple[list[str], NDArray[np.float32]]":
        """Learn from the training rows of ``sites``. Returns the texts that have a vector, sorted, and the vectors.

        Ignores whatever fewer than ``min_cell_count`` persons have in common.
        """
        raise StudyError(f"the backend {self.name!r} learns nothing from rows")

    def represent(
        self,
        parent: "Embedding | None",
        rows: SiteFiles,
        file: Path | None,
        windows: Sequence[tuple[int, int]],
        cache: Path,
        threads: int,
    ) -> "NDArray[np.float32]":
        """Return a vector for each row of a cohort, in its order: shape (rows, width).

        ``parent`` is that of the entry, ``file`` its file for this task and site, if it has one; ``windows`` are the
        days in which the task sees a row, the latest first; ``cache`` is the folder of vectors computed so far.
        """
        raise StudyError(f"the backend {self.name!r} has no vectors of rows")

    def draw(self, texts: Sequence[str], width: int, draw: int) -> "NDArray[np.float32]":
        """Draw the vectors of ``texts`` for a seed, shape (texts, width). The first draw is what ``load`` computes."""
        raise StudyError(f"the backend {self.name!r} draws no vectors")

    def estimate(self, spec: Spec, texts: Sequence[str]) -> dict[str, Any] | None:
        """Return what computing ``texts`` takes if a service charges for it; None if it costs nothing."""
        return None

    def unknown_subwords(self, spec: Spec, texts: Sequence[str]) -> float | None:
        """Return the share of the sub-words of ``texts`` that the model has no entry for; None if it has no sub-words.

        Raises StudyError if the model is not on this machine.
        """
        return None

    def fetch(self, spec: Spec) -> None:
        """Download what an entry needs to this machine. Raises StudyError if it is not available."""


def is_folder(model: Any) -> bool:
    """Whether an entry's ``model`` is a folder on this machine, not a name."""
    return str(model or "").startswith(("/", ".", "~"))


BACKENDS = Registry(
    "embedding backend",
    "conceptbridge.backends",
    {
        "onehot": "conceptbridge.embed.backends.onehot:OneHot",
        "ontology": "conceptbridge.embed.backends.ontology:Ontology",
        "random": "conceptbridge.embed.backends.random:Random",
        "shuffled": "conceptbridge.embed.backends.shuffled:Shuffled",
        "cooccurrence": "conceptbridge.embed.backends.cooccurrence:Cooccurrence",
        "lexical": "conceptbridge.embed.backends.lexical:Lexical",
        "translated": "conceptbridge.embed.backends.translated:Translated",
        "representation": "conceptbridge.embed.backends.representation:Representation",
        "record-text": "conceptbridge.embed.backends.record_text:RecordText",
        "precomputed": "conceptbridge.embed.backends.precomputed:Precomputed",
        "openai": "conceptbridge.embed.backends.openai:OpenAI",
        "sentence-transformers": "conceptbridge.embed.backends.language_models:SentenceTransformers",
        "transformers": "conceptbridge.embed.backends.language_models:Transformers",
    },
)


def find_backend(name: str) -> Backend:
    """Return the backend of that name. Raises StudyError if there is none, or it cannot be imported."""
    return BACKENDS.find(name, Backend)()
