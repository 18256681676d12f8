"""The target's cohort by split: counts that may be shown, years, and what is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.disclosure.suppress import (
    both_classes_at_least,
    is_enough,
    is_small,
    suppress_classes,
    suppress_parts,
)
from conceptbridge.evaluate.predictions import SPLITS, Rows


def describe_site(
    cohort: pa.Table, rows: Rows, task: str, target: str, sequences: Path | None, min_cell_count: int
) -> Iterator[tuple[Any, ...]]:
    """Yield one row per split of the table ``site``; ``rows`` are those of ``cohort``, in its order."""
    splits = ("train", *SPLITS)
    parts = [rows.of(split) for split in splits]
    counts = np.array([[len(np.unique(part.person_id)), len(part.label), int(part.label.sum())] for part in parts])
    persons, of_rows, events = counts.T
    shown = np.column_stack(
        [suppress_parts(persons, min_cell_count), *suppress_classes(of_rows, events, min_cell_count)]
    )
    with_event = np.array([len(np.unique(part.person_id[part.label == 1])) for part in parts])
    with_event_shown = _shown_persons(persons, with_event, events, shown, min_cell_count)
    lengths = None if sequences is None else _lengths(sequences, cohort)
    for index, split in enumerate(splits):
        inside = (cohort["split"].to_numpy(zero_copy_only=False) == split).astype(bool)
        part, number = cohort.filter(inside), int(counts[index, 1])

        def share(count: int, number: int = number) -> float | None:
            safe = number and count != number and both_classes_at_least(count, number, min_cell_count)
            return count / number if safe else None

        years: tuple[int | None, int | None] = (None, None)
        if "index_date" in cohort.column_names and number:
            year, rows_of_year = np.unique(pc.year(part["index_date"]).to_numpy(), return_counts=True)
            often = year[is_enough(rows_of_year, min_cell_count)]
            years = (int(often[0]), int(often[-1])) if len(often) else years
        unknown: list[float | None] = [None, None]
        for column, name in enumerate(("sex", "race")):
            if name in cohort.column_names and number:
                is_unknown = pc.is_in(pc.fill_null(part[name], "unknown"), value_set=pa.array(["unknown", ""]))
                unknown[column] = share(int(pc.sum(is_unknown).as_py()))
        of_split = lengths[inside] if lengths is not None and is_enough(number, min_cell_count) else None
        yield (
            task,
            target,
            split,
            *(int(n) if ok else None for n, ok in zip(counts[index], shown[index], strict=True)),
            int(with_event[index]) if with_event_shown[index] else None,
            *years,
            float(of_split.mean()) if of_split is not None else None,
            share(int((of_split == 0).sum())) if of_split is not None else None,
            *unknown,
        )


def _shown_persons(
    persons: NDArray[np.int64],
    with_event: NDArray[np.int64],
    events: NDArray[np.int64],
    shown: NDArray[np.bool_],
    min_cell_count: int,
) -> NDArray[np.bool_]:
    """Say in which splits the number of persons with the event may be shown: (splits,), as are the counts.

    It stays hidden with the persons or the events, where it or the persons without the event are few, and where it is
    close to the number of events: the difference would count the few who have several.
    """
    _, enough = suppress_classes(persons, with_event, min_cell_count)
    close = is_small(events - with_event, min_cell_count)
    allowed: NDArray[np.bool_] = shown[:, 0] & shown[:, 2] & enough & ~close
    return allowed


def _lengths(sequences: Path, cohort: pa.Table) -> Any:
    """Return the number of tokens of each row of the cohort (rows,)."""
    table = pq.read_table(sequences, columns=["row_id", "tokens"])
    length = dict(zip(table["row_id"].to_pylist(), pc.list_value_length(table["tokens"]).to_pylist(), strict=True))
    return np.array([length.get(int(row_id), 0) for row_id in cohort["row_id"].to_numpy()])
