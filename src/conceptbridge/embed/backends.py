"""Backends: texts in, one float32 vector each out. Each is a function of the text and the embedding's spec alone."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.vectors import Matrix
from conceptbridge.study.embeddings import MODULES


class Backend(Protocol):
    """What turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[list[str], Matrix]]:
        """Yield some of ``texts`` and their vectors, shape (some, width), until all have had theirs, in any order.

        What is yielded is done, and paid for: it has to be kept before the next is asked for.
        """


class RandomVectors:
    """A control: a vector of independent normal numbers drawn from a hash of the text, of expected norm 1."""

    #: texts at once, which bounds memory
    part = 4_000

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.width: int = spec["width"]

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[list[str], Matrix]]:
        """Yield ``texts`` part by part, in their order."""
        from scipy.special import ndtri

        for first in range(0, len(texts), self.part):
            some = list(texts[first : first + self.part])
            drawn = b"".join(hashlib.shake_256(text.encode()).digest(4 * self.width) for text in some)
            uniform = (np.frombuffer(drawn, dtype="<u4").astype(np.float64) + 0.5) / 2**32
            yield some, np.asarray(ndtri(uniform) / np.sqrt(self.width), np.float32).reshape(len(some), self.width)


def load_backend(spec: Mapping[str, Any], threads: int = 1) -> Backend:
    """The backend that a catalogue entry asks for, ready to encode.

    Raises StudyError when its model cannot be had, or the backend makes no vectors from texts.
    """
    backend = spec["backend"]
    if backend == "random":
        return RandomVectors(spec)
    if backend in MODULES:
        made: Backend = import_module(MODULES[backend]).load(spec, threads)
        return made
    raise StudyError(f"the backend {backend!r} makes no vectors from texts")


def encode_all(backend: Backend, texts: Sequence[str]) -> Matrix:
    """Vectors of ``texts`` (distinct ones) in their order: shape (texts, width)."""
    place = {text: i for i, text in enumerate(texts)}
    vectors: Matrix | None = None
    for some, made in backend.encode(texts):
        if vectors is None:
            vectors = np.empty((len(texts), made.shape[1]), np.float32)
        vectors[[place[text] for text in some]] = made
    return np.empty((0, 0), np.float32) if vectors is None else vectors
