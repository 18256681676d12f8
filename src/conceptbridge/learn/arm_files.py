"""What an arm's folder holds: predictions, curves, models, and what each source's model was trained on.

predictions.parquet  ``PREDICTIONS``: every validation and test row of the target, of each source and seed
curves.parquet       ``CURVES``: test rows at each target size, validation and test rows at each depth of tuning
arm.json             per source: what it was trained on and what it spent, or the reason why it is not estimable
models/{source}/     model.json, the weights and the space
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conceptbridge.core.atomic_files import write_json, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.learn.draws import Draws, predict
from conceptbridge.learn.input_space import Space, load_space
from conceptbridge.learn.registry import learner
from conceptbridge.learn.site import TESTED, Site

_ROW = [("row_id", pa.int64()), ("split", pa.string()), ("label", pa.int8()), ("probability", pa.float64())]
PREDICTIONS = pa.schema([("source", pa.string()), ("seed", pa.int32()), *_ROW])  # split: validation | test
CURVES = pa.schema(
    [
        ("source", pa.string()),
        ("size", pa.int64()),  # events of the target that were given; null: all
        ("replicate", pa.int32()),  # which order of persons; null: all of them
        ("depth", pa.float64()),  # share of the tuning steps; null: the weights that were kept
        ("seed", pa.int32()),
        *_ROW,
    ]
)

Probability = NDArray[np.float64]
#: size, replicate, depth and probabilities
Curve = tuple[int | None, int | None, float | None, Probability]


@dataclass
class SourceResult:
    """What came of one source: its entry in arm.json, the probabilities (seeds, tested rows) of the arm, and those of
    its curves."""

    entry: dict[str, Any]
    probability: Probability | None = None
    curves: list[Curve] = field(default_factory=list)


@dataclass(frozen=True)
class TrainedModel:
    """A model with its learner and the space in which it sees tokens."""

    learner: Any
    model: Any
    space: Space

    def predict(self, rows: Draws) -> Probability:
        """The probability of the event in each row: shape (seeds, rows)."""
        return predict(self.learner, self.model, rows)


def save_model(model: Any, space: Space, folder: Path, about: Mapping[str, Any]) -> None:
    """Write a model and its space to ``folder``; model.json begins with ``about``."""
    folder.mkdir(parents=True)
    description = {**about, **model.save(folder), "space": space.save(folder)}
    write_json(description, folder / "model.json")


def load_model(saved: Path, learner_name: str, fingerprint: str) -> TrainedModel:
    """The model that was saved in the folder ``saved``.

    Raises StudyError when it was made with another embedding than ``fingerprint``.
    """
    description = json.loads((saved / "model.json").read_text(encoding="utf-8"))
    space = load_space(saved, description["space"])
    if space.fingerprint != fingerprint:
        raise StudyError(f"{saved}: made with another {space.embedding} ({space.fingerprint[:12]}); train it again")
    of_learner = learner(learner_name)
    return TrainedModel(of_learner, of_learner.load(saved, description), space)


def read_entry(arm: Path, source: str) -> dict[str, Any]:
    """What arm.json of the folder ``arm`` says of a source."""
    entry: dict[str, Any] = json.loads((arm / "arm.json").read_text(encoding="utf-8"))["sources"][source]
    return entry


def write_arm(folder: Path, target: Site | None, results: Mapping[str, SourceResult]) -> None:
    """Write all but the models, which are there, to the arm's folder; without a ``target`` nobody was predicted."""
    (folder / "models").mkdir(exist_ok=True)
    predictions, curves = [], []
    for source, result in results.items():
        if target is None:
            break
        if result.probability is not None:
            predictions.append(_table(target, result.probability, TESTED, {"source": source}, PREDICTIONS))
        for size, replicate, depth, probability in result.curves:
            key = {"source": source, "size": size, "replicate": replicate, "depth": depth}
            curves.append(_table(target, probability, ("test",) if depth is None else TESTED, key, CURVES))
    for schema, tables, name in ((PREDICTIONS, predictions, "predictions"), (CURVES, curves, "curves")):
        write_parquet(pa.concat_tables(tables) if tables else schema.empty_table(), folder / f"{name}.parquet")
    write_json({"sources": {source: result.entry for source, result in results.items()}}, folder / "arm.json")


def _table(
    target: Site, probability: Probability, splits: Sequence[str], key: Mapping[str, Any], schema: pa.Schema
) -> pa.Table:
    tested = target.rows.of(*TESTED)
    assert probability.shape[1] == len(tested), "every validation and test row has its prediction"
    inside = np.isin(target.rows.split[tested].astype(str), splits)
    rows, seeds = tested[inside], len(probability)
    columns: dict[str, Any] = {
        "seed": np.repeat(np.arange(1, seeds + 1), len(rows)),
        "row_id": np.tile(target.rows.row_ids[rows], seeds),
        "split": np.tile(target.rows.split[rows], seeds),
        "label": np.tile(target.rows.labels[rows], seeds),
        "probability": probability[:, inside].ravel(),
    }
    arrays = [
        pa.array(columns[f.name], f.type)
        if f.name in columns
        else pa.repeat(pa.scalar(key[f.name], f.type), seeds * len(rows))
        for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
