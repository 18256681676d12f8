"""Lexical: which runs of characters a name has. It needs no model, and knows no synonym."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from conceptbridge.study.backends import Backend, Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Lexical(Backend):
    """Character n-grams, hashed to ``width`` places."""

    name = "lexical"
    required = ("width",)
    identity = ("width",)
    shared = ("licence",)

    def load(self, spec: Spec, threads: int) -> "LexicalVectors":
        """Nothing to load."""
        return LexicalVectors(spec)


class LexicalVectors:
    """Vectors of as many numbers as the entry's ``width``."""

    #: texts at once, which bounds memory
    part = 4_000

    def __init__(self, spec: Mapping[str, int]) -> None:
        self.width = spec["width"]

    def encode(self, texts: Sequence[str]) -> "Iterator[tuple[list[str], NDArray[np.float32]]]":
        """Yield ``texts`` part by part, in their order."""
        from conceptbridge.embed.lexical import lexical_vectors

        for first in range(0, len(texts), self.part):
            some = list(texts[first : first + self.part])
            yield some, lexical_vectors(some, self.width)
