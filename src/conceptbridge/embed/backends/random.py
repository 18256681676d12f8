"""Random vectors, each drawn from a hash of its text: an embedding's width without its meaning."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from conceptbridge.study.backends import Backend, Schema, Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Random(Backend):
    """A control: independent normal numbers, of expected norm 1."""

    name = "random"
    fields: ClassVar[Mapping[str, Schema]] = {
        "parent": {
            "type": "string",
            "description": "the embedding whose width it has; by default each of the study's (with several widths, "
            "`random-WIDTH`)",
        }
    }
    identity = ("width",)
    shared = ("parent", "width", "licence")
    control = True
    drawn = True

    def load(self, spec: Spec, threads: int) -> "RandomVectors":
        """Nothing to load."""
        return RandomVectors(spec["width"])

    def draw(self, texts: Sequence[str], width: int, draw: int) -> "NDArray[np.float32]":
        """Vectors drawn from a hash of text and draw."""
        import numpy as np

        # a text has no such character
        drawn = RandomVectors(width).encode(texts if draw == 1 else [f"{text}\0{draw}" for text in texts])
        return np.concatenate([np.empty((0, width), np.float32), *(vectors for _, vectors in drawn)])


class RandomVectors:
    """Vectors of ``width`` numbers."""

    #: texts at once, which bounds memory
    part = 4_000

    def __init__(self, width: int) -> None:
        self.width = width

    def encode(self, texts: Sequence[str]) -> "Iterator[tuple[list[str], NDArray[np.float32]]]":
        """Yield ``texts`` part by part, in their order."""
        import numpy as np
        from scipy.special import ndtri

        for first in range(0, len(texts), self.part):
            some = list(texts[first : first + self.part])
            drawn = b"".join(hashlib.shake_256(text.encode()).digest(4 * self.width) for text in some)
            uniform = (np.frombuffer(drawn, dtype="<u4").astype(np.float64) + 0.5) / 2**32
            yield some, np.asarray(ndtri(uniform) / np.sqrt(self.width), np.float32).reshape(len(some), self.width)
