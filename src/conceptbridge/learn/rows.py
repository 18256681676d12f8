"""What a learner sees: rows of tokens, the tokens' vectors, and labels."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.learn.places import Windows, windows_of
from conceptbridge.vocabulary.states import slots_of

T = TypeVar("T")


@dataclass(frozen=True)
class SiteRows:
    """The rows of a task at a site, in row_id order; ``tokens[offsets[i]:offsets[i + 1]]`` are those of row i, each an
    event: of the ``days`` before the index (0 or less), with a standardised value or none (NaN). Where the events have
    been gathered in ``windows`` (``windows.in_windows``) they have neither, but ``weights``: None for 1 each.
    ``added``: which events are no records of the person, but ancestors of one; None where none is. ``whole``: whether
    each row is one token, whose vector is the row's own (``represented``)."""

    keys: list[str]  # of the site's tokens, by position
    texts: list[str | None]
    slots: NDArray[np.int64]  # each one's state slot; its place, in windows
    training_rows: NDArray[np.int64]  # training rows that hold the token, by position
    row_ids: NDArray[np.int64]
    person_ids: NDArray[np.int64]
    labels: NDArray[np.int8]
    split: NDArray[Any]
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    days: NDArray[np.int16] | None = None
    values: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    windows: Windows | None = None
    added: NDArray[np.bool_] | None = None
    whole: bool = False

    def of(self, *splits: str) -> NDArray[np.int64]:
        """Positions of the rows of these splits, in row_id order."""
        return np.flatnonzero(np.isin(self.split.astype(str), splits))

    def take(self, rows: NDArray[np.int64]) -> "SiteRows":
        """Only these rows, in this order; the tokens' counts are of the training rows among them."""
        offsets, events = _events(self.offsets, rows)
        kept = replace(
            self,
            row_ids=self.row_ids[rows],
            person_ids=self.person_ids[rows],
            labels=self.labels[rows],
            split=self.split[rows],
            tokens=self.tokens[events],
            offsets=offsets,
            **self.of_events(events),
        )
        return kept.trained_on(kept.of("train"))

    def of_events(self, events: NDArray[np.integer] | NDArray[np.bool_]) -> dict[str, Any]:
        """What is known of these events beside their tokens: fields of ``SiteRows``."""
        fields = {name: getattr(self, name) for name in ("days", "values", "weights", "added")}
        return {name: None if array is None else array[events] for name, array in fields.items()}

    def trained_on(self, rows: NDArray[np.int64]) -> "SiteRows":
        """The same rows, with only these as training rows in the tokens' counts."""
        inside = np.zeros(len(self.row_ids), np.bool_)
        inside[rows] = True
        row_of = np.repeat(np.arange(len(inside)), np.diff(self.offsets))
        at, known = inside[row_of], max(len(self.keys), 1)
        # asked for counts as well, NumPy sorts, 20 times as fast as it hashes
        held, _ = np.unique(row_of[at] * known + self.tokens[at], return_counts=True)
        return replace(self, training_rows=np.bincount(held % known, minlength=len(self.keys)))


@dataclass(frozen=True)
class OneHot:
    """The vectors ``(identity - center) * scale`` of ``width`` tokens, never written out. The last ``added`` of them
    are tokens of a target, which the source of the model that is tuned there never had."""

    width: int
    center: float
    scale: float
    added: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens, width)."""
        return self.width, self.width


@dataclass(frozen=True)
class PlacedVectors:
    """Vectors of tokens that are zero but at one of several places: ``vectors`` (tokens, components) are what each has
    at its place, of which ``bags`` (places,) says with which others it is pooled (``Windows.bags``), and ``kinds`` what
    it is in its window (``Windows.kind_of``); None: no two places are alike."""

    vectors: NDArray[np.float32]
    places: NDArray[np.int64]
    bags: NDArray[np.int64]
    kinds: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(tokens, width), as if they were written out."""
        return len(self.vectors), len(self.bags) * self.vectors.shape[1]

    def take(self, tokens: NDArray[np.int64]) -> "PlacedVectors":
        """Those of these tokens."""
        return replace(self, vectors=self.vectors[tokens], places=self.places[tokens])

    def over_windows(self) -> "PlacedVectors":
        """The same vectors in one place per kind, whatever their window."""
        if self.kinds is None:
            return self
        kinds, place = np.unique(self.kinds, return_inverse=True)
        return PlacedVectors(self.vectors, place[self.places], np.zeros(len(kinds), np.int64))

    def written_out(self) -> NDArray[np.float32]:
        """With all their zeros: (tokens, width)."""
        result = np.zeros((len(self.vectors), len(self.bags), self.vectors.shape[1]), np.float32)
        result[np.arange(len(self.vectors)), self.places] = self.vectors
        return result.reshape(self.shape)


Vectors = NDArray[np.float32] | OneHot | PlacedVectors


@dataclass(frozen=True)
class Examples:
    """Rows with vectors: tokens index ``vectors`` (shape (tokens, width)); a token without a vector is left out.

    ``weights`` (tokens of all rows,): by what each token's vector is multiplied, None for 1. A learner that sees events
    one by one gets their ``days`` and ``values`` instead (``LearnerSpec.sees``), as ``SiteRows`` has them.
    ``windows``: in how many windows vectors are pooled, and ``in_window`` in which each token is; None: in the first.
    ``persons``: whose each row is (rows,); None: each is somebody else's. ``place_width``: how many components vectors
    have at each place, where these are written out side by side; None: they have no places, or say so themselves.
    ``whole``: whether each row is one token, so that there is nothing to pool.

    ``cache``: what learners computed from them, for the trials, seeds and depths that need it again (``cached``).
    """

    vectors: Vectors
    tokens: NDArray[np.int64]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int8]
    days: NDArray[np.int16] | None = None
    values: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    persons: NDArray[np.int64] | None = None
    place_width: int | None = None
    whole: bool = False
    windows: int = 1
    in_window: NDArray[np.int8] | None = None
    cache: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def cached(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What ``compute`` returns: it is called the first time that ``key`` is asked for."""
        if key not in self.cache:
            self.cache[key] = compute()
        result: T = self.cache[key]
        return result

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row: shape (rows,)."""
        return np.diff(self.offsets)

    @property
    def row_of(self) -> NDArray[np.int64]:
        """The row of each token: shape (tokens of all rows,)."""
        return np.repeat(np.arange(len(self)), self.lengths)


def read_rows(cohort: Path, tokens: Path, sequences: Path) -> SiteRows:
    """Read the rows of a task at a site.

    Raises StudyError when the sequences are not those of the cohort.
    """
    people = read_table(cohort, columns=["row_id", "person_id", "label", "split"])
    table = read_table(tokens, columns=["key", "text", "state", "rows"])
    there = pq.read_schema(sequences).names
    order = read_table(sequences, columns=[name for name in ("row_id", "tokens", "days", "values") if name in there])
    if not people["row_id"].equals(order["row_id"]):
        raise StudyError(f"{sequences}: its rows are not those of {cohort}; delete both and run again")
    lists = order["tokens"].combine_chunks()
    values = order["values"].combine_chunks().flatten() if "values" in there else None
    return SiteRows(
        keys=table["key"].to_pylist(),
        texts=table["text"].to_pylist(),
        slots=slots_of(table["state"].to_pylist()),
        training_rows=table["rows"].to_numpy(),
        row_ids=people["row_id"].to_numpy(),
        person_ids=people["person_id"].to_numpy(),
        labels=people["label"].to_numpy(),
        split=people["split"].to_numpy(zero_copy_only=False),
        tokens=lists.flatten().to_numpy(zero_copy_only=False),
        offsets=offsets_of(lists.value_lengths().to_numpy(zero_copy_only=False)),
        days=order["days"].combine_chunks().flatten().to_numpy(zero_copy_only=False),
        values=None if values is None else values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False),
    )


def merge(sites: Sequence[SiteRows]) -> SiteRows:
    """The rows of several sites one after another, on one list of tokens: those of the same key are the same token.

    Raises StudyError where they are not in the same windows.
    """
    for number, site in enumerate(sites):
        if site.windows != sites[0].windows:
            seen = " and ".join(str(s.windows and s.windows.to_dict()) for s in (sites[0], site))
            raise StudyError(
                f"rows of several sites: those of site 1 and site {number + 1} are in other windows ({seen});"
                " make them with the windows of the same task"
            )
    index: dict[str, int] = {}
    texts: list[str | None] = []
    slots: list[int] = []
    moved = []
    for site in sites:
        for key, text, slot in zip(site.keys, site.texts, site.slots.tolist(), strict=True):
            if index.setdefault(key, len(texts)) == len(texts):
                texts.append(text)
                slots.append(slot)
        moved.append(np.array([index[key] for key in site.keys], dtype=np.int32))
    counts = np.zeros(len(texts), np.int64)
    for site, to in zip(sites, moved, strict=True):
        counts[to] += site.training_rows
    return SiteRows(
        keys=list(index),
        texts=texts,
        slots=np.array(slots, dtype=np.int64),
        training_rows=counts,
        row_ids=np.concatenate([site.row_ids for site in sites]),
        person_ids=np.concatenate([site.person_ids for site in sites]),
        labels=np.concatenate([site.labels for site in sites]),
        split=np.concatenate([site.split for site in sites]),
        tokens=np.concatenate([to[site.tokens] for site, to in zip(sites, moved, strict=True)]),
        offsets=offsets_of(np.concatenate([np.diff(site.offsets) for site in sites])),
        days=_joined([site.days for site in sites]),
        values=_joined([site.values for site in sites]),
        weights=_joined([site.weights for site in sites]),
        windows=sites[0].windows,
        added=_joined([site.added for site in sites]),
        whole=all(site.whole for site in sites),
    )


def _joined(arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """The arrays one after another; None where there is none."""
    given = [array for array in arrays if array is not None]
    return np.concatenate(given) if len(given) == len(arrays) else None


class Missing(NamedTuple):
    """The ``tokens`` (of the site, a mask) that some rows are without: those at these positions among the chosen."""

    tokens: NDArray[np.bool_]
    rows: NDArray[np.int64]


def examples(
    rows: SiteRows,
    vectors: Vectors,
    index: NDArray[np.int64],
    chosen: NDArray[np.int64],
    missing: Missing | None = None,
    place_width: int | None = None,
) -> Examples:
    """The ``chosen`` rows in their order; ``index`` (tokens,) is the position of each token's vector, which has places
    of ``place_width``.

    Missing is masked: tokens without a vector (index -1), and ``missing`` ones, are left out.
    """
    offsets, events = _events(rows.offsets, chosen)
    row_of = np.repeat(np.arange(len(chosen)), np.diff(offsets))
    token = rows.tokens[events]
    at = index[token]
    if missing is not None:
        at[np.isin(row_of, missing.rows) & missing.tokens[token]] = -1
    of_events = rows.of_events(events[at >= 0])
    del of_events["added"]
    pooled_in, in_window = windows_of(rows.windows, isinstance(vectors, OneHot)), None
    if rows.windows is not None and pooled_in > 1:
        in_window = rows.windows.window_of(rows.slots).astype(np.int8)[token[at >= 0]]
    return Examples(
        vectors=vectors,
        tokens=at[at >= 0],
        offsets=offsets_of(np.bincount(row_of[at >= 0], minlength=len(chosen))),
        labels=rows.labels[chosen],
        persons=rows.person_ids[chosen],
        place_width=place_width,
        whole=rows.whole,
        windows=pooled_in,
        in_window=in_window,
        **of_events,
    )


def _events(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The offsets of these rows alone, and where their events are among those of all rows."""
    lengths = np.diff(offsets)[rows]
    own = offsets_of(lengths)
    return own, np.arange(own[-1]) + np.repeat(offsets[rows] - own[:-1], lengths)


def offsets_of(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Where rows of these lengths begin, one after another, and where the last one ends: (rows + 1,)."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
