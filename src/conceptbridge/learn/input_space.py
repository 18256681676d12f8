"""The space in which a model sees tokens: fitted at its source, saved with it, applied unchanged at every target.

A token's raw vector becomes ``(raw - center) @ basis.T * scale``. Where states are slots, raw is the vector of the
concept's name, and the result stands in the place of the token's state slot, with zeros elsewhere; in windows, each
window has such places (``places.Windows``).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from conceptbridge.core.errors import StudyError
from conceptbridge.learn.places import NUMBERS, Windows, concept_of, width_in_window, windows_of
from conceptbridge.learn.projection import NORM, Matrix, Projection, fit_projection, onehot_projection
from conceptbridge.learn.rows import OneHot, PlacedVectors, SiteRows, Vectors
from conceptbridge.study.backends import find_backend
from conceptbridge.vocabulary.states import SLOTS


class NoVectorError(StudyError):
    """The training rows have too little for a space: a finding about the site, not a mistake."""


#: texts and their raw vectors, shape (texts, width)
Table = tuple[Sequence[str], Matrix]
#: of tokens: their vectors (n, width), and at which of them each token is: (tokens,), -1 where it has none
Placed = tuple[Vectors, NDArray[np.int64]]


@dataclass(frozen=True)
class Space:
    """Token -> vector, from the embedding's table, one-hot, or drawn anew for each seed.

    ``names`` are the keys of the one-hot columns, or the source's texts in the order of ``carried``: vectors that go
    with the model, either to be shuffled or learned at the source (cooccurrence). ``slots``: the state slots that the
    source has filled, None where a state is in the text. There is one of ``projections``, or one a draw.
    """

    embedding: str
    fingerprint: str
    backend: str
    names: list[str]
    carried: Matrix | None
    slots: list[int] | None
    projections: list[Projection]
    #: how many of the one-hot columns, the last ones, are the tokens of a target
    added: int = 0
    #: keys of a target's tokens that are read as one of the one-hot columns, and the key of that column, "" for none:
    #: nothing, one, or one per draw
    read_as: Sequence[Mapping[str, str]] = ()
    #: in which rows have to be gathered (``windows.in_windows``); ``slots`` are then the places that the source fills
    windows: Windows | None = None

    @property
    def place_width(self) -> int | None:
        """How many components a token has at its place; None where there are no places."""
        basis = self.projections[0].basis
        return None if self.slots is None or basis is None else len(basis)

    @property
    def width(self) -> int:
        """How many numbers a token is to a model: columns, or components at all places."""
        projection, backend = self.projections[0], find_backend(self.backend)
        if backend.vectors == "none":
            return len(self.names)
        if self.slots is None:
            return len(projection.center)
        size = self.place_width or len(projection.center)
        if self.windows is None or self.windows.plain:
            return len(SLOTS) * size
        return len(self.slots) * self.windows.width(size)

    @property
    def width_in_window(self) -> int:
        """How many numbers a token is to a model that reads all windows alike (``PlacedVectors.over_windows``)."""
        if self.slots is None or self.windows is None or self.windows.plain:
            return self.width
        return width_in_window(self.width, self.slots, self.windows)

    @property
    def in_windows(self) -> int:
        """In how many windows vectors are pooled (``rows.Examples.windows``)."""
        return windows_of(self.windows, find_backend(self.backend).vectors == "none")

    def with_tokens(self, keys: Sequence[str]) -> "Space":
        """The space of a one-hot model that is tuned at a target, with a column for each of ``keys`` that has none yet.

        The center is that of all columns, and the scale stays: ``learner.Learner.widen`` makes the model to it.
        """
        known = {*self.names, *(key for one in self.read_as for key in one)}
        new = [key for key in keys if key not in known]
        names, [onehot] = [*self.names, *new], self.projections
        center = np.full(len(names), 1 / len(names) if onehot.center.any() else 0, np.float32)
        projections = [replace(onehot, center=center)]
        return replace(self, names=names, projections=projections, added=self.added + len(new))

    def translated(self, keys: Sequence[str]) -> "Space":
        """The space of a one-hot model with a column for each of ``keys``, none of which it has, and no center:
        ``learner.Learner.translate`` makes the model to it."""
        names, [onehot] = [*self.names, *keys], self.projections
        return replace(self, names=names, projections=[replace(onehot, center=np.zeros(len(names), np.float32))])

    def draws(self, rows: SiteRows, table: Table | None) -> list[Placed]:
        """The site's tokens in each draw of the space.

        ``table``: texts and raw vectors of the site (None for one-hot and cooccurrence). Positions in another site's
        table play no part. A token in a slot that the source never filled has no vector. Raises StudyError where the
        rows are in other windows.
        """
        if rows.windows != self.windows:
            raise StudyError(f"{self.embedding}: the model sees other windows than those of the rows; train it again")
        if find_backend(self.backend).vectors == "none":
            column_of = {key: i for i, key in enumerate(self.names)}
            [onehot] = self.projections
            vectors = OneHot(len(self.names), float(onehot.center[0]), onehot.scale, self.added)
            return [
                (vectors, np.array([column_of.get(read_as.get(key, key), -1) for key in rows.keys], dtype=np.int64))
                for read_as in self.read_as or [{}]
            ]
        return [self._drawn(rows, table, draw) for draw in range(1, len(self.projections) + 1)]

    def _drawn(self, rows: SiteRows, table: Table | None, draw: int) -> Placed:
        raw, known = self.raw(rows.texts, table, draw)
        projection = self.projections[draw - 1]
        if len(raw) and raw.shape[1] != len(projection.center):
            raise _widths(self.embedding, len(projection.center), raw.shape[1])
        if self.slots is not None and self.windows is not None and not self.windows.plain:
            return self._in_places(rows, projection.apply(raw, None), known, self.windows, self.slots)
        slots = None if self.slots is None else rows.slots
        if self.slots is not None:
            known = known & np.isin(rows.slots, self.slots)
        vectors = projection.apply(raw, slots)
        vectors[~known] = 0
        return vectors, np.where(known, np.arange(len(known)), -1)

    @staticmethod
    def _in_places(
        rows: SiteRows, vectors: Matrix, known: NDArray[np.bool_], windows: Windows, filled: list[int]
    ) -> tuple[Vectors, NDArray[np.int64]]:
        """The tokens' vectors at those places that the source fills. A number, which has no text, has a dimension of
        its own."""
        width = vectors.shape[1]
        vectors = np.pad(vectors, ((0, 0), (0, windows.width(width) - width)))
        for token in np.flatnonzero(windows.is_number(rows.slots)):
            vectors[token] = NORM * (np.arange(vectors.shape[1]) == NUMBERS.index(concept_of(rows.keys[token])))
            known[token] = True
        known = known & np.isin(rows.slots, filled)
        vectors[~known] = 0
        places = np.where(known, np.searchsorted(filled, rows.slots), 0)
        return PlacedVectors(vectors, places, windows.bags(filled), windows.kind_of(filled)), np.where(
            known, np.arange(len(known)), -1
        )

    def raw(self, texts: Sequence[str | None], table: Table | None, draw: int) -> tuple[Matrix, NDArray[np.bool_]]:
        """The raw vectors of texts in a draw, (texts, width), and which of them have one."""
        backend = find_backend(self.backend)
        if backend.vectors == "learned" and self.carried is not None:
            return _look_up(texts, self.names, self.carried)
        if table is None:
            raise StudyError(f"{self.embedding}: no table of vectors was given")
        raw, known = _look_up(texts, *table)
        if self.carried is not None:
            return self._shuffle(texts, known, draw), known
        if backend.drawn:
            named = [text for text, has in zip(texts, known, strict=True) if has and text is not None]
            raw[known] = backend.draw(named, raw.shape[1], draw)
        return raw, known

    def _shuffle(self, texts: Sequence[str | None], known: NDArray[np.bool_], draw: int) -> Matrix:
        assert self.carried is not None
        to = sorted(range(len(self.names)), key=lambda i: _hash(self.names[i], f"shuffle {draw}"))
        index = dict(zip(self.names, to, strict=True))
        raw = np.zeros((len(texts), self.carried.shape[1]), np.float32)
        for i, text in enumerate(texts):
            if known[i] and text is not None:
                at = index[text] if text in index else _hash(text, f"unseen {draw}") % len(self.names)
                raw[i] = self.carried[at]
        return raw

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``space.safetensors`` to ``folder`` and return what model.json has to hold."""
        arrays = {"center": np.stack([p.center for p in self.projections])}
        if self.slots is not None:
            arrays["basis"] = np.stack([p.basis for p in self.projections if p.basis is not None])
        save_file(arrays | ({} if self.carried is None else {"carried": self.carried}), folder / "space.safetensors")
        return {
            "embedding": self.embedding,
            "fingerprint": self.fingerprint,
            "backend": self.backend,
            "names": self.names,
            "slots": self.slots,
            "scale": [p.scale for p in self.projections],
            **({"windows": self.windows.to_dict()} if self.windows else {}),
            **({"added": self.added} if self.added else {}),
            **({"read_as": [dict(one) for one in self.read_as]} if self.read_as else {}),
        }


def load_space(folder: Path, spec: dict[str, Any]) -> Space:
    """The space of a saved model, from its folder and the ``space`` of its model.json."""
    arrays = load_file(folder / "space.safetensors")
    fields = {key: value for key, value in spec.items() if key != "scale"}
    fields["windows"] = Windows.read(spec.get("windows"))
    bases = arrays.get("basis", [None] * len(spec["scale"]))
    projections = [Projection(*one) for one in zip(arrays["center"], bases, spec["scale"], strict=True)]
    return Space(**fields, carried=arrays.get("carried"), projections=projections)


def fit_space(
    embedding: str,
    fingerprint: str,
    backend: str,
    rows: SiteRows,
    table: Table | None,
    min_rows: int,
    scale: bool,
    components: int | None = None,
    draws: int = 1,
) -> Space:
    """Fit the space of a model to the tokens of at least ``min_rows`` of its source's training rows.

    With ``scale`` vectors have their mean at zero and a root mean square norm of ``projection.NORM`` over those tokens,
    each counted once. ``components``: the state is a slot, and vectors are reduced to at most so many principal
    components; None: the state is in the text. ``draws``: of an embedding that each seed draws anew.

    Raises NoVectorError when no such token has a vector.
    """
    seen, kind = rows.training_rows >= max(min_rows, 1), find_backend(backend).vectors
    if kind == "none":
        names = [key for key, enough in zip(rows.keys, seen, strict=True) if enough]
        if not names:
            raise NoVectorError(f"no token is in {min_rows} training rows or more")
        onehot = [onehot_projection(len(names), scale)]
        return Space(embedding, fingerprint, backend, names, None, None, onehot, windows=rows.windows)
    names, carried = [], None
    if kind == "permuted" and table is not None:
        raw, known = _look_up(rows.texts, *table)
        vector_of = {text: raw[i] for i, text in enumerate(rows.texts) if known[i] and text is not None}
        names = sorted(vector_of)
        carried = np.stack([vector_of[text] for text in names]) if names else None
    elif kind == "learned" and table is not None:
        names, carried = list(table[0]), np.ascontiguousarray(table[1])
    slots = None if components is None else list(range(rows.windows.places if rows.windows else len(SLOTS)))
    space = Space(embedding, fingerprint, backend, names, carried, slots, [], windows=rows.windows)
    projections = []
    for draw in range(1, draws + 1):
        raw, known = space.raw(rows.texts, table, draw)
        if not (known & seen).any():
            raise NoVectorError("no token of the training rows has a vector")
        projections.append(fit_projection(raw[known & seen], components, scale))
    if rows.windows is not None:
        known = known | rows.windows.is_number(rows.slots)
    filled = None if slots is None else sorted(set(rows.slots[known & seen].tolist()))
    return replace(space, slots=filled, projections=projections)


def join_tables(tables: Sequence[Table]) -> Table:
    """The tables of several sites as one: a text has the same vector at each.

    Raises StudyError where their vectors have several widths, as those of rows may have.
    """
    held = [table[1] for table in tables if len(table[1])] or [tables[0][1]]
    for one in held:
        if one.shape[1] != held[0].shape[1]:
            raise _widths("rows of several sites", held[0].shape[1], one.shape[1])
    vectors = np.concatenate(held)
    first: dict[str, int] = {}
    for i, text in enumerate(text for table in tables for text in table[0]):
        first.setdefault(text, i)
    return list(first), vectors[list(first.values())]


def _widths(what: str, one: int, other: int) -> StudyError:
    return StudyError(
        f"{what}: vectors of width {one} at one site and {other} at another; make those of all sites with one model"
    )


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
