"""The tokens of a task's rows, and which of them another site has never seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure import token_counts
from conceptbridge.vocabulary.states import slots_of

Mask = NDArray[np.bool_]


class Tokens(NamedTuple):
    """The events of rows as tokens: ``row`` and ``token`` (events,), ``key``, ``text``, ``place`` (``places``) and
    ``concept`` (tokens,)."""

    rows: int
    row: NDArray[np.intp]
    token: NDArray[np.intp]
    key: pa.Array
    text: pa.Array
    place: pa.Array
    concept: NDArray[np.int64]


def read_tokens(sequences: Path, tokens: Path, row_id: NDArray[np.int64]) -> Tokens:
    """Read the events of the rows with these ids, in that order.

    Raises StudyError if a file is missing or a row has no sequence.
    """
    for path in (sequences, tokens):
        _check_exists(path)
    table = read_table(sequences, columns=["row_id", "tokens"])
    index = pc.index_in(pa.array(row_id), value_set=table["row_id"].combine_chunks())
    if index.null_count:
        raise StudyError(
            f"{sequences}: {index.null_count} rows of the cohort have no sequence; run the task's rules again"
        )
    lists = table["tokens"].combine_chunks().take(index)
    known = read_table(tokens, columns=["key", "text", "concept_id", "state"])
    return Tokens(
        len(row_id),
        lists.value_parent_indices().to_numpy().astype(np.intp),
        lists.flatten().to_numpy().astype(np.intp),
        known["key"].combine_chunks(),
        known["text"].combine_chunks(),
        places(known),
        known["concept_id"].to_numpy(),
    )


def places(tokens: pa.Table) -> pa.Array:
    """Return where an embedding places each token: its text in lower case, and its state slot, which a text leaves out
    where states are slots."""
    slots = pa.array(slots_of(tokens["state"].to_pylist())).cast(pa.string())
    return pc.binary_join_element_wise(pc.utf8_lower(tokens["text"].combine_chunks()), slots, "|")


class Seen(NamedTuple):
    """What a site's training rows hold: ``key``, ``place`` (``places``), and ``text`` in lower case, (tokens,) each."""

    key: pa.Array
    place: pa.Array
    text: pa.Array


def seen_by(paths: Sequence[Path], min_cell_count: int) -> Seen:
    """Return what the training rows of these sites hold (``tokens.parquet``).

    A token of fewer than ``min_cell_count`` persons counts as unseen: a site that shares its tokens leaves it out
    (``disclosure.token_counts``). A shared token's count can be blank.
    """
    for path in paths:
        _check_exists(path)
    tables = [token_counts.read_tokens(path, "key", "text", "state") for path in paths]
    seen = pa.concat_tables([token_counts.of_enough_persons(table, min_cell_count) for table in tables])
    return Seen(seen["key"].combine_chunks(), places(seen), pc.utf8_lower(seen["text"].combine_chunks()))


def unseen(tokens: Tokens, seen: Seen) -> tuple[Mask, Mask]:
    """Say which tokens have no key that was seen, and which have neither such a key nor such a place.

    Both are (tokens,). An embedding can place a token by its text; one-hot columns know the key alone.
    """
    by_key = ~is_among(tokens.key, seen.key)
    return by_key, by_key & ~is_among(tokens.place, seen.place)


def is_among(asked: pa.Array, known: pa.Array) -> Mask:
    """Say which of ``asked`` are among ``known``: (asked,). What is missing equals nothing, least of all what is
    missing elsewhere."""
    among = pc.is_in(asked, value_set=known, skip_nulls=True)
    return np.asarray(among.to_numpy(zero_copy_only=False), np.bool_)


def share_of_rows(tokens: Tokens, chosen: Mask) -> NDArray[np.float64]:
    """Return the share of each row's events whose token is ``chosen`` (tokens,): (rows,), NaN for a row without any."""
    events = np.bincount(tokens.row, minlength=tokens.rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.bincount(tokens.row, weights=chosen[tokens.token], minlength=tokens.rows) / events


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise StudyError(f"{path} is missing; run the task's rules first")
