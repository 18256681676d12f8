"""Read predictions, and accept them only where they are exactly the rows of the target's cohort."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.errors import StudyError

SPLITS = ("validation", "test")
"""The splits that are predicted, in the order of every table."""


class Rows(NamedTuple):
    """Rows of one cohort in row_id order; all columns (rows,)."""

    row_id: NDArray[np.int64]
    person_id: NDArray[np.int64]
    label: NDArray[np.int8]
    split: NDArray[np.object_]

    def of(self, *splits: str) -> "Rows":
        """Return the rows of these splits."""
        inside = np.isin(self.split.astype(str), splits)
        return Rows(self.row_id[inside], self.person_id[inside], self.label[inside], self.split[inside])


class Predictions(NamedTuple):
    """What one source's model says at the target; with a ``reason`` for having none there are no seeds."""

    source: str
    reason: str | None
    seeds: list[int]
    probability: NDArray[np.float64]  # (seeds, validation and test rows)


def read_cohort(path: Path) -> Rows:
    """Read the columns that evaluation needs; raises StudyError when there is no such file."""
    if not path.is_file():
        raise StudyError(f"{path}: there is no such cohort; run the task's rule first")
    table = pq.read_table(path, columns=list(Rows._fields)).sort_by("row_id")
    return Rows(*(table[name].to_numpy() for name in Rows._fields))


def read_arm(folder: Path, expected: Rows) -> Iterator[Predictions]:
    """Yield the predictions of each source in the arm's ``folder``, in alphabetical order.

    ``expected`` are the validation and test rows of the target's cohort. Raises StudyError when a file is
    missing, or when any seed of a source has not exactly those rows, labels and splits in that order.
    """
    if not (folder / "arm.json").is_file() or not (folder / "predictions.parquet").is_file():
        raise StudyError(f"{folder}: arm.json or predictions.parquet is missing; run this arm again")
    reasons = {
        source: about["reason"]
        for source, about in json.loads((folder / "arm.json").read_text(encoding="utf-8"))["sources"].items()
    }
    table = pq.read_table(folder / "predictions.parquet")
    source_code = _codes(table["source"], sorted(reasons))
    if (source_code < 0).any():
        raise StudyError(f"{folder}: predictions of a source that arm.json does not know; run this arm again")
    columns = {name: table[name].to_numpy() for name in ("seed", "row_id", "label", "probability")}
    columns["split"] = _codes(table["split"], SPLITS)
    # compared as numbers: thousands of files of texts would take longer than the bootstrap
    truth: dict[str, NDArray[Any]] = {
        "row_id": expected.row_id,
        "label": expected.label,
        "split": _codes(pa.array(expected.split, pa.string()), SPLITS),
    }
    for code, source in enumerate(sorted(reasons)):
        where = f"{folder}, source {source}"
        of_source = {name: values[source_code == code] for name, values in columns.items()}
        seeds, probability = _by_seed(of_source, truth, where)
        if len(expected.row_id) and (reasons[source] is None) != bool(seeds):
            raise StudyError(f"{where}: there is both a reason and a prediction, or neither; run this arm again")
        yield Predictions(source, reasons[source], seeds, probability)


def _by_seed(
    columns: dict[str, NDArray[Any]], truth: dict[str, NDArray[Any]], where: str
) -> tuple[list[int], NDArray[np.float64]]:
    """Return one source's seeds and its probabilities (seeds, rows)."""
    rows = len(truth["row_id"])
    _, first = np.unique(columns["seed"], return_index=True)
    seeds = columns["seed"][np.sort(first)]
    shape = (len(seeds), rows)
    whole = np.array_equal(columns["seed"], np.repeat(seeds, rows))
    if not whole or any((columns[name].reshape(shape) != values).any() for name, values in truth.items()):
        raise StudyError(
            f"{where}: the predictions of each seed are not exactly the validation and test rows of the "
            "cohort, in row_id order, with their labels; run this arm again"
        )
    probability = columns["probability"].reshape(shape)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise StudyError(f"{where}: a probability is missing or outside 0 to 1; this arm's training went wrong")
    return seeds.tolist(), probability


def _codes(column: pa.Array | pa.ChunkedArray, values: Sequence[str]) -> NDArray[np.int32]:
    """Return the position of each text among ``values``, -1 for any other."""
    codes: NDArray[np.int32] = pc.fill_null(
        pc.index_in(column.cast(pa.string()), value_set=pa.array(values, pa.string())), -1
    ).to_numpy(zero_copy_only=False)
    return codes
