"""Rows carry the day and the value of each event, whatever is done with them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.learn.rows import SiteRows, examples, merge
from conceptbridge.tasks.sequences import SEQUENCES
from made_site import CONCEPTS, site, write_site


def with_events(folder: Path, seed: int) -> SiteRows:
    """A site whose events have a day, and a value that is 10 times the row and a tenth of the token."""
    write_site(folder, CONCEPTS, rows=12, seed=seed)
    rows = pq.read_table(folder / "sequences.parquet").to_pylist()
    for row in rows:
        row["days"] = [-row["row_id"]] * len(row["tokens"])
        row["values"] = [10 * row["row_id"] + t / 10 if t else None for t in row["tokens"]]
    pq.write_table(pa.Table.from_pylist(rows, schema=SEQUENCES), folder / "sequences.parquet")
    return site(folder, "made").rows


def test_days_and_values_stay_with_their_events(tmp_path: Path) -> None:
    rows = with_events(tmp_path / "one", 1)
    both = merge([rows, with_events(tmp_path / "two", 2)])
    chosen = np.array([14, 3, 7])
    seen = examples(both.take(np.arange(len(both.row_ids))), np.eye(5, dtype="f4"), np.array([0, 1, -1, 3, 4]), chosen)
    row = both.row_ids[chosen][seen.row_of]
    assert seen.days is not None and seen.values is not None
    np.testing.assert_array_equal(seen.days, -row)
    expected = np.where(seen.tokens == 0, np.nan, 10 * row + seen.tokens / 10)
    np.testing.assert_allclose(seen.values, expected, rtol=1e-6)
