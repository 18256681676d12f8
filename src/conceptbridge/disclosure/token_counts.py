"""A site's tokens as other sites may know them."""

from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def shared_tokens(tokens: pa.Table, train_rows: int | None, least: int) -> pa.Table:
    """Keep the tokens (key, rows, ...) of at least ``least`` training rows, and blank counts that would tell others.

    The states of a concept can be parts of ``train_rows`` (where those are known): a row's sex is one of few, a finding
    present or absent. Where all but a few rows have one of the states that are told, the smallest of them is blanked.
    A count that is blank already stays so, and so does its token: what was shared once can be shared again.
    """
    kept = tokens.filter(pc.fill_null(pc.greater_equal(tokens["rows"], least), True))
    if train_rows is None:
        return kept
    rows = kept["rows"].to_numpy(zero_copy_only=False).astype(np.float64)
    concept = [key.rpartition("|")[0] for key in kept["key"].to_pylist()]
    for _, places in groupby(
        sorted(range(len(concept)), key=lambda place: (concept[place], -rows[place])), concept.__getitem__
    ):
        told = [place for place in places if not np.isnan(rows[place])]
        while told and 0 < train_rows - rows[told].sum() < least:
            rows[told.pop()] = np.nan
    place = kept.column_names.index("rows")
    return kept.set_column(place, "rows", pa.array(rows, pa.float64(), from_pandas=True).cast(pa.int64()))


def train_rows(site: Path) -> int | None:
    """The training rows that evaluation tells of a cohort (``site.parquet``); None where it tells nothing."""
    if not site.exists():
        return None
    table = pq.read_table(site, columns=["split", "rows"])
    found: list[int | None] = table.filter(pc.equal(table["split"], "train"))["rows"].to_pylist()
    return found[0] if found else None
