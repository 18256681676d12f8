"""The target's cohort by split: counts that may be shown, years, and what is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.cohort_counts import Counts, count_parts, shown_parts
from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.evaluate.predictions import SPLITS, Rows

ALL_SPLITS = ("train", *SPLITS)


def split_counts(rows: Rows) -> Counts:
    """Count the rows of a cohort by split, in the order of :data:`ALL_SPLITS`."""
    split = np.select([rows.split == name for name in ALL_SPLITS], range(len(ALL_SPLITS)), len(ALL_SPLITS))
    return count_parts(rows.person_id, rows.label, split, len(ALL_SPLITS))


def describe_site(
    cohort: pa.Table, rows: Rows, task: str, target: str, sequences: Path | None, min_cell_count: int
) -> Iterator[tuple[Any, ...]]:
    """Yield one row per split of the table ``site``; ``rows`` are those of ``cohort``, in its order."""
    of_split = split_counts(rows)
    may_show = shown_parts(of_split, min_cell_count, total_known=False)
    counts = np.column_stack([of_split.persons, of_split.rows, of_split.events, of_split.with_event])
    shown = np.column_stack(may_show)
    lengths = None if sequences is None else _lengths(sequences, cohort)
    for index, split in enumerate(ALL_SPLITS):
        inside = (cohort["split"].to_numpy(zero_copy_only=False) == split).astype(bool)
        part, number, told = cohort.filter(inside), int(counts[index, 1]), bool(may_show.rows[index])
        person = rows.person_id[inside]

        def share(which: NDArray[np.bool_], person: NDArray[np.int64] = person, told: bool = told) -> float | None:
            few = any(not is_enough(len(np.unique(person[of])), min_cell_count) for of in (which, ~which))
            return None if few or not told else float(which.mean())

        years: tuple[int | None, int | None] = (None, None)
        if "index_date" in cohort.column_names and number:
            of_row = pc.year(part["index_date"]).to_numpy()
            often = [
                int(year)
                for year in np.unique(of_row)
                if is_enough(len(np.unique(person[of_row == year])), min_cell_count)
            ]
            years = (often[0], often[-1]) if often else years
        unknown: list[float | None] = [None, None]
        for column, name in enumerate(("sex", "race")):
            if name in cohort.column_names and number:
                is_unknown = pc.is_in(pc.fill_null(part[name], "unknown"), value_set=pa.array(["unknown", ""]))
                unknown[column] = share(is_unknown.to_numpy(zero_copy_only=False).astype(bool))
        tokens = lengths[inside] if lengths is not None and told and number else None
        yield (
            task,
            target,
            split,
            *(int(n) if ok else None for n, ok in zip(counts[index], shown[index], strict=True)),
            *years,
            # in full, a mean of whole numbers would tell how many they are
            round(float(tokens.mean()), 2) if tokens is not None else None,
            share(tokens == 0) if tokens is not None else None,
            *unknown,
        )


def _lengths(sequences: Path, cohort: pa.Table) -> Any:
    """Return the number of tokens of each row of the cohort (rows,)."""
    table = read_table(sequences, columns=["row_id", "tokens"])
    length = dict(zip(table["row_id"].to_pylist(), pc.list_value_length(table["tokens"]).to_pylist(), strict=True))
    return np.array([length.get(int(row_id), 0) for row_id in cohort["row_id"].to_numpy()])
