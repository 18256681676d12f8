"""Tables of evaluation as they may be shown to others: rounded, so that no count follows from an estimate.

``results/metrics`` keeps full precision. The joint tables and what a site sends are made from these.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.rounding import safe_decimals
from conceptbridge.evaluate.metrics import AT_CUT
from conceptbridge.evaluate.predictions import SPLITS

ESTIMATES = ("estimate", "lower", "upper", "difference", "auroc", "method_lower", "method_upper", "median_of_rows")
"""Columns on the scale of a metric: rounded to the decimals that the rows allow."""
SPREADS = ("seed_sd", "auroc_sd", "training_sd", "error", "p", "auroc_variance", "difference_variance")
"""Columns of any size: rounded to :data:`SIGNIFICANT` digits."""
SIGNIFICANT = 3
#: numbers of events, and shares of tokens
_DECIMALS = {"breakeven": {"events": 1, "lower": 1, "upper": 1}, "unseen": {"events": 3, "events_by_text": 3}}


def read_shared(folder: Path, name: str, min_cell_count: int) -> pa.Table:
    """Read the table ``name`` of one task and target in ``folder``, as it may be shown. Twice is as once."""
    site = read_table(folder / "site.parquet", columns=["split", "rows"]).to_pylist()
    rows = {row["split"]: row["rows"] for row in site}
    return shared_table(name, read_table(folder / f"{name}.parquet"), rows, min_cell_count)


def shared_table(name: str, table: pa.Table, rows: Mapping[str, int | None], min_cell_count: int) -> pa.Table:
    """Round a table of evaluation; ``rows`` are those of each split, None where they are not shown.

    What is measured at a cut is a quotient of shown counts and counts that reach the minimum (``decision_cuts``): it
    stays as it is, as do the bins of curves.
    """
    decimals = {split: safe_decimals(rows.get(split) or 0, min_cell_count) for split in SPLITS}
    places = np.full(len(table), decimals["test"])
    if "split" in table.column_names:
        places[np.array(table["split"].to_pylist(), dtype=object) == "validation"] = decimals["validation"]
    exact = np.zeros(len(table), dtype=bool)
    if "metric" in table.column_names:
        exact = np.isin(np.array(table["metric"].to_pylist(), dtype=object).astype(str), AT_CUT)
    of_table = _DECIMALS.get(name, {})
    for index, column in enumerate(table.column_names):
        if not pa.types.is_floating(table.schema.field(column).type):
            continue
        values = table[column].to_numpy(zero_copy_only=False).astype(np.float64)
        if column in of_table:
            rounded = values.round(of_table[column])
        elif column in ESTIMATES and name != "binned_curves":
            rounded = np.where(exact, values, _round(values, places))
        elif column in SPREADS:
            rounded = _significant(values)
        else:
            continue
        missing = np.isnan(rounded)
        table = table.set_column(index, table.schema.field(column), pa.array(rounded, mask=missing))
    return table


def _round(values: NDArray[np.float64], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Round each value to its number of decimals."""
    rounded = values.copy()
    for number in np.unique(places):
        inside = places == number
        rounded[inside] = values[inside].round(int(number))
    return rounded


def _significant(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([value if not np.isfinite(value) else float(f"{value:.{SIGNIFICANT}g}") for value in values])
