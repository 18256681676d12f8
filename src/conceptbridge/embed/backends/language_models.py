"""Language models that run in this process: encoders of transformers, and models of sentence-transformers.

The two backends have one file, as they differ in what an entry has to say, and in nothing else.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from conceptbridge.core.errors import StudyError
from conceptbridge.study.backends import SHA256, Backend, Schema, Spec, is_folder

if TYPE_CHECKING:
    from conceptbridge.embed.models import LocalModel


class Transformers(Backend):
    """Any encoder, from the hub, a folder or an installed package; pooled as its entry says."""

    name = "transformers"
    fields: ClassVar[Mapping[str, Schema]] = {
        "model": {"type": "string", "minLength": 1, "description": "id at the hub, or a folder"},
        "revision": {"type": "string", "pattern": "^[0-9a-f]{40}$", "description": "the hub's commit, 40 hex digits"},
        "weights_sha256": SHA256
        | {
            "description": "SHA-256 of model.safetensors (of several files, in the order of their names; those of the "
            "model's other modules last), checked whenever the model is loaded; a model needs it or `revision`"
        },
        "package": {
            "type": "string",
            "description": "an installed Python package that contains the model, in its folder `model`; tried before "
            "the hub",
        },
        "pickled_weights": {
            "type": "boolean",
            "description": "whether to load weights that are not safetensors; they can run code, so leave it false "
            "unless you trust the model's makers",
        },
        "pooling": {
            "enum": ["mean", "cls", "max", "last-token"],
            "description": "how the vectors of a text's tokens become one; without it, `sentence-transformers` runs "
            "the model's own modules",
        },
        "layer": {
            "type": "integer",
            "description": "hidden layer that is pooled, where 0 is the embedding layer and -1 the last; without it "
            "the model's last state",
        },
        "max_length": {
            "type": "integer",
            "minimum": 8,
            "description": "most tokens per text, in the model's own tokens; never more than it has positions for",
        },
        "normalize": {"type": "boolean", "description": "whether vectors are scaled to norm 1"},
        "prompt": {
            "type": "string",
            "description": "words put before every text; without it, those that the model's own files want by default, "
            'and `""` is none',
        },
        "dtype": {
            "enum": ["float32", "bfloat16"],
            "description": "with `bfloat16`, matrix products are in bfloat16, layer norms and softmax in float32, "
            "which is faster where the processor has it",
        },
    }
    required: ClassVar[tuple[str, ...]] = ("model", "pooling", "max_length", "normalize", "dtype", "width")
    identity = (
        *("model", "revision", "weights_sha256", "pooling", "layer"),
        *("max_length", "normalize", "prompt", "dtype"),
    )
    shared = ("package", "width", "licence")

    def check(self, name: str, spec: Spec) -> None:
        """The entry has to say which version of the model it means."""
        if not {"revision", "weights_sha256"} & spec.keys():
            raise StudyError(
                f"catalogue of embeddings: {name}: nothing says which version of {spec['model']} is meant; pin it in "
                f"the study, as `embeddings: [{{{name}: {{revision: ...}}}}]` with the commit (40 hex digits) that the "
                "hub shows under Files, or with `weights_sha256` for a folder"
            )

    def identity_of(self, spec: Spec) -> dict[str, Any]:
        """A folder may move: pinned by its weights, its place changes no vector."""
        told = super().identity_of(spec)
        if "weights_sha256" in spec and is_folder(spec["model"]):
            del told["model"]
        return told

    def load(self, spec: Spec, threads: int) -> "LocalModel":
        """The model, on the GPU if there is one."""
        from conceptbridge.embed.models import load

        return load(spec, threads)

    def unknown_subwords(self, spec: Spec, texts: Sequence[str]) -> float | None:
        """The share of sub-words that are the tokenizer's token for what it does not know."""
        from conceptbridge.embed.model_files import unknown_subwords

        return unknown_subwords(spec, texts)

    def fetch(self, spec: Spec) -> None:
        """Put the model into the hub's cache of this machine, unless a folder or a package has it."""
        from conceptbridge.embed.model_files import fetch

        fetch(spec)


class SentenceTransformers(Transformers):
    """A model with modules of its own (pooling, dense layers, norm); it runs them unless the entry says `pooling`."""

    name = "sentence-transformers"
    required = ("model", "dtype", "width")
    rules: ClassVar[tuple[Schema, ...]] = (
        {"if": {"required": ["pooling"]}, "then": {"required": ["max_length", "normalize"]}},
    )
