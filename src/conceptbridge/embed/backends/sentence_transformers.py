"""Models of the sentence-transformers library, with the modules that come with them."""

from typing import ClassVar

from conceptbridge.embed.backends.transformers import Transformers
from conceptbridge.study.backends import Schema


class SentenceTransformers(Transformers):
    """A language model in this process. Without `pooling` it runs its own modules: pooling, dense layers, norm."""

    name = "sentence-transformers"
    required = ("model", "dtype", "width")
    rules: ClassVar[tuple[Schema, ...]] = (
        {"if": {"required": ["pooling"]}, "then": {"required": ["max_length", "normalize"]}},
    )
    own_modules = True
