"""Subgroups of the target's rows, and the share of each row that the source of a model has never seen."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from conceptbridge.disclosure.suppress import keep_enough
from conceptbridge.tasks.tokens import Seen, Tokens, share_of_rows, unseen

UNKNOWN = "unknown"
OTHER = "other"
UNSEEN = "unseen"
"""The dimension that divides rows by the share of their events whose token the source has never seen."""


class Dimension(NamedTuple):
    """One division of rows into groups: ``of`` (rows,) is the index of each row's group in ``names``."""

    name: str
    names: list[str]
    of: NDArray[np.intp]


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


def unseen_events(tokens: Tokens, seen: Seen) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Return the share of each row's events whose token the source has never seen (rows,), and shares of all events.

    A row without any event has NaN. The shares are of ``events`` whose key was not seen, and of ``events_by_text``
    whose text, in its state slot, was not seen either: an embedding does not lead to a name that the source knows.
    """
    by_key, by_text = unseen(tokens, seen)
    share = share_of_rows(tokens, by_key)
    total = len(tokens.token)
    return share, {
        "events": float(by_key[tokens.token].mean()) if total else None,
        "events_by_text": float(by_text[tokens.token].mean()) if total else None,
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
    return Dimension(
        name, names, pc.index_in(column, value_set=pa.array(names, pa.string())).to_numpy().astype(np.intp)
    )
