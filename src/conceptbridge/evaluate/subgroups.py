"""Subgroups of the target's rows, and the share of each row that the source of a model has never seen."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import keep_enough

UNKNOWN = "unknown"
OTHER = "other"
UNSEEN = "unseen"
"""The dimension that divides rows by the share of their events whose token the source has never seen."""


class Dimension(NamedTuple):
    """One division of rows into groups: ``of`` (rows,) is the index of each row's group in ``names``."""

    name: str
    names: list[str]
    of: NDArray[np.intp]


class Tokens(NamedTuple):
    """The target's events as tokens: ``row`` and ``token`` (events,), ``key``, ``text`` and ``concept`` (tokens,)."""

    rows: int
    row: NDArray[np.intp]
    token: NDArray[np.intp]
    key: pa.Array
    text: pa.Array
    concept: NDArray[np.int64]


def subgroups(
    cohort: pa.Table,
    age_bands: Sequence[int],
    tokens: Tokens | None,
    concepts: Mapping[str, Sequence[int]],
    min_cell_count: int,
) -> list[Dimension]:
    """Divide rows by sex, age band, race and the study's own subgroups, as far as the cohort records them.

    ``cohort`` has the rows in order. ``age_bands`` are the lowest ages of every band except the first. A subgroup of
    the study is the rows with an event of any of its ``concepts``, and the rows without. A value of fewer than
    ``min_cell_count`` persons gets no group of its own: its name can be the hospital's own word.
    """
    dimensions = [
        _coded(name, pc.fill_null(cohort[name].cast(pa.string()), UNKNOWN), cohort["person_id"], min_cell_count)
        for name in ("sex", "race")
        if name in cohort.column_names
    ]
    if "age" in cohort.column_names:
        age = cohort["age"].to_numpy().astype(float)
        edges = [*age_bands]
        names = [f"{low} to {high - 1}" for low, high in zip([0, *edges], edges, strict=False)] + [
            f"{edges[-1]} and over" if edges else "all ages",
            UNKNOWN,
        ]
        band = np.where(np.isnan(age), len(names) - 1, np.searchsorted(edges, np.nan_to_num(age), "right"))
        dimensions.insert(1, Dimension("age", names, band.astype(np.intp)))
    for name, ids in concepts.items():
        if tokens is not None:
            has = np.zeros(tokens.rows, dtype=np.intp)
            has[tokens.row[np.isin(tokens.concept[tokens.token], list(ids))]] = 1
            dimensions.append(Dimension(name, ["without", "with"], has))
    return dimensions


def read_tokens(sequences: Path, tokens: Path, row_id: NDArray[np.int64]) -> Tokens:
    """Read the events of the rows with these ids, in that order.

    Raises StudyError when a file is missing or a row has no sequence.
    """
    for path in (sequences, tokens):
        if not path.is_file():
            raise StudyError(f"{path} is missing; run the task's rules first")
    table = pq.read_table(sequences, columns=["row_id", "tokens"])
    index = pc.index_in(pa.array(row_id), value_set=table["row_id"].combine_chunks())
    if index.null_count:
        raise StudyError(
            f"{sequences}: {index.null_count} rows of the cohort have no sequence; run the task's rules again"
        )
    lists = table["tokens"].combine_chunks().take(index)
    known = pq.read_table(tokens, columns=["key", "text", "concept_id"])
    return Tokens(
        len(row_id),
        lists.value_parent_indices().to_numpy().astype(np.intp),
        lists.flatten().to_numpy().astype(np.intp),
        known["key"].combine_chunks(),
        known["text"].combine_chunks(),
        known["concept_id"].to_numpy(),
    )


def seen_by(paths: Sequence[Path], min_cell_count: int) -> tuple[pa.Array, pa.Array]:
    """Return the keys, and the texts in lower case, that the training rows of these sites hold (``tokens.parquet``).

    A token of fewer than ``min_cell_count`` rows counts as unseen: a site that shares its tokens leaves it out
    (``disclosure.token_counts``). A shared token's count can be blank.
    """
    for path in paths:
        if not path.is_file():
            raise StudyError(f"{path} is missing; run the task's rules first")
    tables = [pq.read_table(path, columns=["key", "text", "rows"]) for path in paths]
    seen = pa.concat_tables([keep_enough(table, "rows", min_cell_count) for table in tables])
    return seen["key"].combine_chunks(), pc.utf8_lower(seen["text"].combine_chunks())


def unseen(tokens: Tokens, keys: pa.Array, texts: pa.Array) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Return the share of each row's events whose token the source has never seen (rows,), and shares of all events.

    A row without any event has NaN. The shares are of ``events`` whose key was not seen, and of ``events_by_text``
    whose text, in lower case, was not seen either: an embedding does not lead to a name that the source knows.
    """
    new = ~pc.is_in(tokens.key, value_set=keys).to_numpy(zero_copy_only=False)
    new_text = new & ~pc.is_in(pc.utf8_lower(tokens.text), value_set=texts).to_numpy(zero_copy_only=False)
    events = np.bincount(tokens.row, minlength=tokens.rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.bincount(tokens.row, weights=new[tokens.token], minlength=tokens.rows) / events
    total = len(tokens.token)
    return share, {
        "events": float(new[tokens.token].mean()) if total else None,
        "events_by_text": float(new_text[tokens.token].mean()) if total else None,
        "median_of_rows": float(np.nanmedian(share)) if total else None,
    }


def by_share(share: NDArray[np.float64]) -> Dimension:
    """Divide rows into thirds by the share of unseen events; equal shares stay together."""
    known = share[~np.isnan(share)]
    edges = np.unique(np.quantile(known, [1 / 3, 2 / 3])) if len(known) else np.zeros(0)
    edges = edges[edges < known.max()] if len(known) else edges
    bounds = [0.0, *edges, float(known.max()) if len(known) else 0.0]
    names = [
        f"{'over ' if index else ''}{100 * low:.0f} to {100 * high:.0f} %"
        for index, (low, high) in enumerate(pairwise(bounds))
    ] + ["no event"]
    of = np.where(np.isnan(share), len(names) - 1, np.searchsorted(edges, np.nan_to_num(share), "left"))
    return Dimension(UNSEEN, names, of.astype(np.intp))


def _coded(name: str, column: pa.ChunkedArray, person: pa.ChunkedArray, min_cell_count: int) -> Dimension:
    persons = pa.table({"value": column, "person": person}).group_by("value").aggregate([("person", "count_distinct")])
    often = keep_enough(persons, "person_count_distinct", min_cell_count)["value"]
    named = pc.or_(pc.is_in(column, value_set=often.combine_chunks()), pc.equal(column, UNKNOWN))
    column = pc.if_else(named, column, OTHER)
    names = sorted(set(column.to_pylist()))
    return Dimension(name, names, pc.index_in(column, value_set=pa.array(names)).to_numpy().astype(np.intp))
