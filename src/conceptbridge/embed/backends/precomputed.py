"""Vectors that somebody has published: a file of keys and vectors."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from conceptbridge.study.backends import SHA256, Backend, Schema, Spec

if TYPE_CHECKING:
    from conceptbridge.embed.precomputed import VectorFile


class Precomputed(Backend):
    """A file that tokens are looked up in, by text, concept id or code."""

    name = "precomputed"
    vectors = "published"
    fields: ClassVar[Mapping[str, Schema]] = {
        "file": {
            "type": "string",
            "description": "published vectors, as .h5, .npz, .parquet or word2vec .txt, below the study's `data`",
        },
        "file_sha256": SHA256 | {"description": "SHA-256 of that file"},
        "key": {
            "enum": ["text", "concept_id", "code"],
            "description": "what the file's keys are; a `concept_id` is followed by `|state` if states differ, a "
            "`code` by a text that begins with `Not` if the concept is absent",
        },
        "missing": {
            "oneOf": [
                {"enum": ["fail", "zero"]},
                {
                    "type": "object",
                    "required": ["backend"],
                    "additionalProperties": False,
                    "properties": {"backend": {"type": "string"}},
                },
            ],
            "title": "`fail`, `zero`, or `{backend: NAME}`",
            "description": "what happens to a text that the file lacks; `fail` stops the run, `zero` gives it a zero "
            "vector, `{backend: NAME}` another embedding's vector",
        },
    }
    required = ("file", "file_sha256", "key", "missing", "width")
    identity = ("file_sha256", "key")

    def identity_of(self, spec: Spec) -> dict[str, Any]:
        """`key` was once called `by`, and fingerprints of that time stay valid."""
        told = super().identity_of(spec)
        return {"by" if field == "key" else field: value for field, value in told.items()}

    def open(self, spec: Spec, data: Path) -> "VectorFile":
        """The file, read whole."""
        from conceptbridge.embed.precomputed import VectorFile

        return VectorFile(spec, data)
