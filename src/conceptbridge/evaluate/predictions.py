"""Read predictions, and accept them only if they are exactly those of the rows of the target's cohort."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table

SPLITS = ("validation", "test")
"""The splits that are predicted, in the order of all tables."""


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
    """What one source's model predicts at the target; where it predicts nothing, ``reason`` says why.

    ``sizes`` maps (labelled events given, replicate) to probabilities (seeds, test rows): the learning curve.
    ``depths`` maps a share of the tuning budget to probabilities (seeds, validation and test rows). ``about`` is what
    arm.json says of the source.
    """

    source: str
    reason: str | None
    seeds: list[int]
    probability: NDArray[np.float64]  # (seeds, validation and test rows)
    about: dict[str, Any]
    sizes: dict[tuple[int, int], NDArray[np.float64]]
    depths: dict[float, NDArray[np.float64]]


def read_cohort(path: Path) -> pa.Table:
    """Read a cohort in row_id order; raises StudyError when there is no such file."""
    if not path.is_file():
        raise StudyError(f"{path}: there is no such cohort; run the task's rules first")
    return read_table(path).sort_by("row_id")


def rows_of(cohort: pa.Table) -> Rows:
    """Return the columns of a cohort that every metric needs."""
    return Rows(*(cohort[name].to_numpy() for name in Rows._fields))


def read_arm(folder: Path, expected: Rows) -> Iterator[Predictions]:
    """Yield the predictions of each source in the arm's ``folder``, in alphabetical order.

    ``expected`` are the validation and test rows of the target's cohort. Raises StudyError when a file is missing, or
    when the rows, labels or splits of any seed are not exactly these in this order.
    """
    if not (folder / "arm.json").is_file() or not (folder / "predictions.parquet").is_file():
        raise StudyError(f"{folder}: arm.json or predictions.parquet is missing; run this arm again")
    about = json.loads((folder / "arm.json").read_text(encoding="utf-8"))["sources"]
    columns = _columns(folder / "predictions.parquet", sorted(about), [])
    truth = _truth(expected)
    curves: dict[str, NDArray[Any]] = {}
    if (folder / "curves.parquet").is_file():
        curves = _columns(folder / "curves.parquet", sorted(about), ["size", "replicate", "depth"])
    for code, source in enumerate(sorted(about)):
        where, reason = f"{folder}, source {source}", about[source]["reason"]
        of_source = {name: values[columns["source"] == code] for name, values in columns.items()}
        seeds, probability = _by_seed(of_source, truth, where)
        if len(expected.row_id) and (reason is None) != bool(seeds):
            raise StudyError(f"{where}: has both a reason and predictions, or neither; run this arm again")
        inside = {name: values[curves["source"] == code] for name, values in curves.items()}
        sizes, depths = _curves(inside, truth, where) if inside and len(inside["seed"]) else ({}, {})
        yield Predictions(source, reason, seeds, probability, about[source], sizes, depths)


def _columns(path: Path, sources: Sequence[str], more: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read a file of predictions, texts as numbers: thousands of files of texts would take longer than all the rest."""
    names = ["source", "split", "seed", "row_id", "label", "probability", *more]
    # texts are codes in the file, and stay so
    table = read_table(path, columns=names, read_dictionary=["source", "split"])
    codes = {"source": _codes(table["source"], sources), "split": _codes(table["split"], SPLITS)}
    if (codes["source"] < 0).any():
        raise StudyError(f"{path.parent}: predictions of a source that arm.json does not name; run this arm again")
    return codes | {name: table[name].to_numpy() for name in names[2:]}


def _truth(expected: Rows) -> dict[str, NDArray[Any]]:
    return {
        "row_id": expected.row_id,
        "label": expected.label,
        "split": _codes(pa.chunked_array([pa.array(expected.split, pa.string())]), SPLITS),
    }


def _curves(
    columns: dict[str, NDArray[Any]], truth: Mapping[str, NDArray[Any]], where: str
) -> tuple[dict[tuple[int, int], NDArray[np.float64]], dict[float, NDArray[np.float64]]]:
    """Return one source's learning and tuning curves; each point must have exactly the expected rows."""
    test = truth["split"] == SPLITS.index("test")
    of_test = {name: values[test] for name, values in truth.items()}
    size, replicate, depth = (columns[name].astype(np.float64) for name in ("size", "replicate", "depth"))
    sizes: dict[tuple[int, int], NDArray[np.float64]] = {}
    depths: dict[float, NDArray[np.float64]] = {}
    sized = ~np.isnan(size)
    for n, r in np.unique(np.column_stack([size, replicate])[sized], axis=0):
        inside = sized & (size == n) & (replicate == r)
        of_point = {name: values[inside] for name, values in columns.items()}
        _, sizes[int(n), int(r)] = _by_seed(of_point, of_test, f"{where}, size {n:.0f}, replicate {r:.0f}")
    for share in np.unique(depth[~sized]):
        of_point = {name: values[~sized & (depth == share)] for name, values in columns.items()}
        _, depths[float(share)] = _by_seed(of_point, truth, f"{where}, depth {share:g}")
    return sizes, depths


def _by_seed(
    columns: Mapping[str, NDArray[Any]], truth: Mapping[str, NDArray[Any]], where: str
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
        raise StudyError(f"{where}: a probability is missing or outside 0 to 1; run this arm again")
    return seeds.tolist(), probability


def _codes(column: pa.ChunkedArray, values: Sequence[str]) -> NDArray[np.int32]:
    """Return the index of each text among ``values``, -1 for any other text."""
    wanted = pa.array(values, pa.string())

    def of(texts: pa.Array) -> NDArray[np.int32]:
        index = pc.fill_null(pc.index_in(texts.cast(pa.string()), value_set=wanted), -1)
        codes: NDArray[np.int32] = index.to_numpy(zero_copy_only=False)
        return codes

    parts = []
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            codes = np.append(of(chunk.dictionary), -1)  # the last is for null
            parts.append(codes[pc.fill_null(chunk.indices, len(codes) - 1).to_numpy(zero_copy_only=False)])
        else:
            parts.append(of(chunk))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
