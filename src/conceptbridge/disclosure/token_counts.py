"""A site's tokens as other sites may know them."""

from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.suppress import keep_enough, suppress_remainder


def read_tokens(path: Path, *columns: str) -> pa.Table:
    """Read these columns of a task's ``tokens.parquet``, with ``rows``, and ``persons`` where it has them: at home."""
    known = pq.read_schema(path).names
    return read_table(path, columns=[name for name in (*columns, "rows", "persons") if name in known])


def of_enough_persons(tokens: pa.Table, min_cell_count: int) -> pa.Table:
    """Keep the tokens that training rows of enough persons hold, without ``persons``.

    A site that shares its tokens leaves the others out, so another site never sees them. What was shared has no count
    of persons any more, or a blank count of rows.
    """
    kept = keep_enough(tokens, "rows", min_cell_count)
    if "persons" not in kept.column_names:
        return kept
    return keep_enough(kept, "persons", min_cell_count).drop_columns("persons")


def shared_tokens(tokens: pa.Table, train_rows: int | None, min_cell_count: int) -> pa.Table:
    """Keep the tokens (key, rows, ...) of enough persons, and blank the counts that would tell of few other rows.

    The states of a concept can be parts of ``train_rows`` (where those are known): a row's sex is one of few, a finding
    present or absent. Where the shown states leave a small count of the rows, the rarest of them are blanked. A count
    that is blank stays blank, and so does its token: what was shared once can be shared again.
    """
    kept = of_enough_persons(tokens, min_cell_count)
    if train_rows is None:
        return kept
    rows = kept["rows"].to_numpy(zero_copy_only=False).astype(np.float64)
    concept = [key.rpartition("|")[0] for key in kept["key"].to_pylist()]
    for _, indices in groupby(sorted(range(len(concept)), key=concept.__getitem__), concept.__getitem__):
        states = [index for index in indices if not np.isnan(rows[index])]
        shown = suppress_remainder([int(rows[index]) for index in states], train_rows, min_cell_count)
        rows[[index for index, ok in zip(states, shown, strict=True) if not ok]] = np.nan
    index = kept.column_names.index("rows")
    return kept.set_column(index, "rows", pa.array(rows, pa.float64(), from_pandas=True).cast(pa.int64()))


def probable_rows(tokens: pa.Table, train_rows: int | None, min_cell_count: int) -> NDArray[np.float64]:
    """Return the rows of each shared token, (tokens,): a blank count is replaced by what the shown ones leave for it.

    A count is blank because the states of its concept leave few of ``train_rows``, so the rest of these is close to it.
    Nothing is told that was not shown: the replacement is worked out from shown counts alone.
    """
    rows: NDArray[np.float64] = tokens["rows"].to_numpy(zero_copy_only=False).astype(np.float64)
    blank = np.isnan(rows)
    if blank.any():
        names, concept = np.unique([key.rpartition("|")[0] for key in tokens["key"].to_pylist()], return_inverse=True)
        shown = np.bincount(concept, weights=np.nan_to_num(rows), minlength=len(names))
        rest = ((train_rows or 0) - shown) / np.maximum(np.bincount(concept, weights=blank, minlength=len(names)), 1)
        rows[blank] = np.maximum(rest[concept], min_cell_count)[blank]
    return rows


def train_rows(splits: Path) -> int | None:
    """Return the training rows that a cohort's ``splits.parquet`` tells; None where it does not show them."""
    table = read_table(splits, columns=["split", "rows"])
    rows: list[int | None] = table.filter(pc.equal(table["split"], "train"))["rows"].to_pylist()
    return rows[0] if rows else None
