"""The target's cohort by split: counts that may be shown, years, and what is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from conceptbridge.disclosure.suppress import both_classes_at_least, suppress_parts
from conceptbridge.evaluate.predictions import SPLITS, Rows


def describe_site(
    whole: pa.Table, rows: Rows, task: str, target: str, sequences: Path | None, least: int
) -> Iterator[tuple[Any, ...]]:
    """Describe the cohort by split: counts that may be shown, years, and what is missing."""
    splits = ("train", *SPLITS)
    parts = [rows.of(split) for split in splits]
    counts = np.array([[len(np.unique(p.person_id)), len(p.label), int(p.label.sum())] for p in parts])
    persons, of_rows = (suppress_parts(column, least) for column in counts.T[:2])
    both = (
        of_rows & suppress_parts(counts[:, 2], least, False) & suppress_parts(counts[:, 1] - counts[:, 2], least, False)
    )
    lengths = None
    if sequences is not None:
        read = _lengths(sequences)
        lengths = np.array([read.get(int(one), 0) for one in whole["row_id"].to_numpy()])
    for place, split in enumerate(splits):
        inside = (whole["split"].to_numpy(zero_copy_only=False) == split).astype(bool)
        part, number = whole.filter(inside), int(counts[place, 1])

        def share(count: int, number: int = number) -> float | None:
            return (
                count / number if number and count != number and both_classes_at_least(count, number, least) else None
            )

        years: tuple[int | None, int | None] = (None, None)
        if "index_date" in whole.column_names and number:
            year, found = np.unique(pc.year(part["index_date"]).to_numpy(), return_counts=True)
            often = year[found >= least]
            years = (int(often[0]), int(often[-1])) if len(often) else years
        missing: list[float | None] = [None, None]
        for column, name in enumerate(("sex", "race")):
            if name in whole.column_names and number:
                unknown = pc.is_in(pc.fill_null(part[name], "unknown"), value_set=pa.array(["unknown", ""]))
                missing[column] = share(int(pc.sum(unknown).as_py()))
        of_split = lengths[inside] if lengths is not None and number >= least else None
        yield (
            task,
            target,
            split,
            *(
                int(n) if ok else None
                for n, ok in zip(counts[place], (persons[place], of_rows[place], both[place]), strict=True)
            ),
            *years,
            float(of_split.mean()) if of_split is not None else None,
            share(int((of_split == 0).sum())) if of_split is not None else None,
            *missing,
        )


def _lengths(sequences: Path) -> dict[int, int]:
    table = pq.read_table(sequences, columns=["row_id", "tokens"])
    lengths = pc.list_value_length(table["tokens"])
    return dict(zip(table["row_id"].to_pylist(), lengths.to_pylist(), strict=True))
