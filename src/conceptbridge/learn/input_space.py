"""The space in which a model sees tokens: fitted at its source, saved with it, applied unchanged at every target."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from conceptbridge.core.errors import StudyError
from conceptbridge.learn.rows import OneHot, SiteRows, Vectors
from conceptbridge.study.backends import find_backend

#: root mean square norm of the standardised vectors, about that of the paper's BERT vectors
NORM = 14.0


class NoVectorError(StudyError):
    """The training rows have too little for a space: a finding about the site, not a mistake."""


Matrix = NDArray[np.float32]
#: texts and their raw vectors, shape (texts, width)
Table = tuple[Sequence[str], Matrix]


@dataclass(frozen=True)
class Space:
    """Token -> vector: ``(raw - center) * scale``, raw from the embedding's table, one-hot, or shuffled.

    ``names`` are the keys of the one-hot columns, or the source's texts in the order of ``carried``: vectors that go
    with the model, either shuffled or learned at the source (cooccurrence).
    """

    embedding: str
    fingerprint: str
    backend: str
    names: list[str]
    carried: Matrix | None
    center: Matrix
    scale: float

    def vectors(self, rows: SiteRows, table: Table | None) -> tuple[Vectors, NDArray[np.int64]]:
        """Vectors, shape (n, width), and at which of them each of the site's tokens is: shape (tokens,), -1 for none.

        ``table``: texts and raw vectors of the site (None for one-hot and cooccurrence). Positions in another site's
        table play no part.
        """
        if find_backend(self.backend).vectors == "none":
            column_of = {key: i for i, key in enumerate(self.names)}
            index = np.array([column_of.get(key, -1) for key in rows.keys], dtype=np.int64)
            return OneHot(len(self.names), float(self.center[0]), self.scale), index
        raw, known = self._raw(rows.texts, table)
        result = np.where(known[:, None], (raw - self.center) * np.float32(self.scale), np.float32(0))
        return result.astype(np.float32), np.where(known, np.arange(len(known)), -1)

    def _raw(self, texts: Sequence[str | None], table: Table | None) -> tuple[Matrix, NDArray[np.bool_]]:
        if find_backend(self.backend).vectors == "learned" and self.carried is not None:
            return _look_up(texts, self.names, self.carried)
        if table is None:
            raise StudyError(f"{self.embedding}: no table of vectors was given")
        raw, known = _look_up(texts, *table)
        return (raw, known) if self.carried is None else (self._shuffle(texts, known), known)

    def _shuffle(self, texts: Sequence[str | None], known: NDArray[np.bool_]) -> Matrix:
        assert self.carried is not None
        index = {text: i for i, text in enumerate(self.names)}
        raw = np.zeros((len(texts), self.carried.shape[1]), np.float32)
        for i, text in enumerate(texts):
            if known[i] and text is not None:
                raw[i] = self.carried[index.get(text, _hash(text, "unseen") % len(self.names))]
        return raw

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``space.safetensors`` to ``folder`` and return what model.json has to hold."""
        arrays = {"center": self.center} | ({} if self.carried is None else {"carried": self.carried})
        save_file(arrays, folder / "space.safetensors")
        return {
            "embedding": self.embedding,
            "fingerprint": self.fingerprint,
            "backend": self.backend,
            "names": self.names,
            "scale": self.scale,
        }


def load_space(folder: Path, spec: dict[str, Any]) -> Space:
    """The space of a saved model, from its folder and the ``space`` of its model.json."""
    arrays = load_file(folder / "space.safetensors")
    return Space(**spec, center=arrays["center"], carried=arrays.get("carried"))


def fit_space(
    embedding: str,
    fingerprint: str,
    backend: str,
    rows: SiteRows,
    table: Table | None,
    min_rows: int,
    standardise: bool,
) -> Space:
    """Fit the space of a model to the tokens of its source's training rows.

    Standardised vectors have their mean at zero and a root mean square norm of ``NORM`` over those tokens, each counted
    once: embeddings differ in norm by 15 times, and with one learning rate the scale would decide. One number scales
    all dimensions, so the angles that the embedding means are kept. Otherwise vectors stay raw. One-hot columns are the
    tokens of at least ``min_rows`` training rows.

    Raises NoVectorError when no token of the training rows has a vector.
    """
    names: list[str] = []
    carried: Matrix | None = None
    kind = find_backend(backend).vectors
    if kind == "none":
        names = [key for key, n in zip(rows.keys, rows.training_rows, strict=True) if n >= min_rows]
    elif kind == "permuted" and table is not None:
        raw, known = _look_up(rows.texts, *table)
        vector_of = {text: raw[i] for i, text in enumerate(rows.texts) if known[i] and text is not None}
        names = sorted(vector_of)
        to = sorted(names, key=lambda text: _hash(text, "shuffle"))
        carried = np.stack([vector_of[text] for text in to]) if names else None
    elif kind == "learned" and table is not None:
        names, carried = list(table[0]), np.ascontiguousarray(table[1])
    if kind == "none":
        if not names:
            raise NoVectorError(f"no token is in {min_rows} training rows or more")
        # the mean of n unit vectors, and the root mean square of their distances from it
        n = len(names)
        center, scale = (1 / n, NORM / math.sqrt(1 - 1 / n)) if standardise and n > 1 else (0.0, 1.0)
        return Space(embedding, fingerprint, backend, names, None, np.full(n, center, np.float32), scale)
    width = 0 if table is None else table[1].shape[1]
    space = Space(embedding, fingerprint, backend, names, carried, np.zeros(width, np.float32), 1.0)
    raw, known = space._raw(rows.texts, table)
    seen = known & (rows.training_rows > 0)
    if not seen.any():
        raise NoVectorError("no token of the training rows has a vector")
    if not standardise:
        return space
    center_of = raw[seen].mean(axis=0, dtype=np.float64)
    spread = float(np.sqrt(((raw[seen] - center_of) ** 2).sum(axis=1).mean()))
    scale = NORM / spread if spread > 0 else 1.0
    return Space(embedding, fingerprint, backend, names, carried, center_of.astype(np.float32), scale)


def join_tables(tables: Sequence[Table]) -> Table:
    """The tables of several sites as one: a text has the same vector at each."""
    vectors = np.concatenate([table[1] for table in tables])
    first: dict[str, int] = {}
    for i, text in enumerate(text for table in tables for text in table[0]):
        first.setdefault(text, i)
    return list(first), vectors[list(first.values())]


def _look_up(
    texts: Sequence[str | None], table_texts: Sequence[str], vectors: Matrix
) -> tuple[Matrix, NDArray[np.bool_]]:
    index = {text: i for i, text in enumerate(table_texts)}
    at = np.array([index.get(text, -1) if text is not None else -1 for text in texts], dtype=np.int64)
    known = at >= 0
    result = np.zeros((len(texts), vectors.shape[1]), np.float32)
    result[known] = vectors[at[known]]
    return result, known


def _hash(text: str, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{purpose}:{text}".encode()).digest()[:8], "big")
