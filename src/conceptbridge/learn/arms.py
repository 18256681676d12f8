"""Arms: a learner on an embedding, by one strategy, at one target, from every source and with every seed.

An arm's folder holds ``predictions.parquet`` (every validation and test row of the target), ``arm.json`` (per source:
what it was trained on and what it spent, or why it is not estimable) and ``models/{source}/``.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from conceptbridge.embed.vectors import read_vectors
from conceptbridge.errors import StudyError
from conceptbridge.files import whole_folder, write_json, write_parquet
from conceptbridge.learn.examples import SiteRows, examples, read_rows
from conceptbridge.learn.registry import learner
from conceptbridge.learn.space import Space, fit_space, load_space

logger = logging.getLogger(__name__)

PREDICTIONS = pa.schema(
    [
        ("source", pa.string()),
        ("seed", pa.int32()),
        ("row_id", pa.int64()),
        ("split", pa.string()),  # validation | test
        ("label", pa.int8()),
        ("probability", pa.float64()),
    ]
)
TESTED = ("validation", "test")


@dataclass(frozen=True)
class Target:
    """The site at which an arm is trained or tuned, and tested: its name, its rows and its table of vectors."""

    name: str
    rows: SiteRows
    table: tuple[Sequence[str], Any] | None


@dataclass(frozen=True)
class Budget:
    """What every arm gets alike: the learner's settings, the seeds, and the least a site must have to train on."""

    settings: Mapping[str, Any]
    seeds: int
    min_events: int
    min_rows: int
    min_cell_count: int
    standardise: bool


def read_target(name: str, cohort: Path, tokens: Path, sequences: Path, table: Path | None) -> Target:
    """Read a target's files; ``table`` is its embedding table, None for one-hot."""
    return Target(name, read_rows(cohort, tokens, sequences), None if table is None else read_vectors(table))


def train_local(target: Target, learner_name: str, embedding: Mapping[str, str], budget: Budget, out: Path) -> None:
    """Train at the target itself and write the arm's folder to ``out``; ``embedding`` has name, fingerprint, backend.

    Too few events at the site are a finding, not an error: arm.json gives the reason and there are no predictions.
    """
    reason = _too_few(target, budget)
    with whole_folder(out) as folder:
        (folder / "models").mkdir()
        arms = {target.name: _counts(target, budget)}
        if reason is None:
            module = learner(learner_name)
            space = fit_space(
                embedding["name"],
                embedding["fingerprint"],
                embedding["backend"],
                target.rows,
                target.table,
                budget.min_rows,
                budget.standardise,
            )
            vectors, known = space.vectors(target.rows, target.table)
            train, validation = (examples(target.rows, vectors, known, split) for split in ("train", "validation"))
            model = module.fit(train, validation, budget.settings, range(1, budget.seeds + 1))
            spent = _save(model, module, space, learner_name, folder / "models" / target.name)
            arms[target.name] |= {"reason": None, "spent": spent}
            _write(
                folder,
                target,
                {target.name: module.predict(model, examples(target.rows, vectors, known, TESTED))},
            )
        else:
            logger.info("not estimable: %s", reason)
            arms[target.name] |= {"reason": reason}
            _write(folder, target, {})
        write_json({"sources": arms}, folder / "arm.json")


def transfer(
    target: Target,
    learner_name: str,
    strategy: str,
    sources: Mapping[str, Path],
    fingerprint: str,
    budget: Budget,
    out: Path,
) -> None:
    """Bring the model of each source to the target by ``strategy`` and write the arm's folder to ``out``.

    ``sources``: name -> folder of the source's local arm. ``direct`` uses the model unchanged and sees no label of the
    target; ``tune-head`` and ``tune-all`` go on training on the target's rows.

    Raises StudyError when a model was made with another embedding than ``fingerprint``.
    """
    module = learner(learner_name)
    tuning = strategy != "direct"
    with whole_folder(out) as folder:
        (folder / "models").mkdir()
        arms: dict[str, dict[str, Any]] = {}
        predictions = {}
        for source, arm in sources.items():
            described = json.loads((arm / "arm.json").read_text(encoding="utf-8"))["sources"][source]
            reason = described["reason"] and f"no model from {source}: {described['reason']}"
            if reason is None and tuning:
                reason = _too_few(target, budget)
            arms[source] = (_counts(target, budget) if tuning else {}) | {"reason": reason}
            if reason is not None:
                logger.info("%s: not estimable: %s", source, reason)
                continue
            saved = arm / "models" / source
            description = json.loads((saved / "model.json").read_text(encoding="utf-8"))
            space = load_space(saved, description["space"])
            if space.fingerprint != fingerprint:
                raise StudyError(
                    f"{saved}: made with another {space.embedding} ({space.fingerprint[:12]}); train it again"
                )
            model = module.load(saved, description)
            vectors, known = space.vectors(target.rows, target.table)
            if tuning:
                train, validation = (examples(target.rows, vectors, known, split) for split in ("train", "validation"))
                model = module.tune(model, train, validation, budget.settings, head_only=strategy == "tune-head")
                arms[source]["spent"] = _save(model, module, space, learner_name, folder / "models" / source)
            logger.info("%s: %s at %s", source, strategy, target.name)
            predictions[source] = module.predict(model, examples(target.rows, vectors, known, TESTED))
        _write(folder, target, predictions)
        write_json({"sources": arms}, folder / "arm.json")


def _too_few(target: Target, budget: Budget) -> str | None:
    labels = target.rows.labels[target.rows.split == "train"]
    events = int(labels.sum())
    for count, what in ((events, "events"), (len(labels) - events, "rows without the event")):
        if count < budget.min_events:
            return f"fewer than {budget.min_events} {what} among the training rows at {target.name}"
    return None


def _counts(target: Target, budget: Budget) -> dict[str, Any]:
    labels = target.rows.labels[target.rows.split == "train"]
    rows, events = len(labels), int(labels.sum())

    def shown(n: int) -> int | None:
        return None if min(events, rows - events) < budget.min_cell_count else n

    return {"train_rows": shown(rows), "train_events": shown(events)}


def _save(model: Any, module: Any, space: Space, learner_name: str, folder: Path) -> list[int]:
    folder.mkdir(parents=True)
    description = module.save(model, folder)
    write_json({"learner": learner_name, **description, "space": space.save(folder)}, folder / "model.json")
    spent: list[int] = description["spent"]
    return spent


def _write(folder: Path, target: Target, predictions: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]) -> None:
    tested = np.isin(target.rows.split.astype(str), TESTED)
    rows = int(tested.sum())
    parts = []
    for source, probabilities in predictions.items():
        assert probabilities.shape[1] == rows, "every validation and test row has its prediction"
        for seed, probability in enumerate(probabilities, start=1):
            parts.append(
                pa.table(
                    {
                        "source": pa.array([source] * rows, pa.string()),
                        "seed": np.full(rows, seed, np.int32),
                        "row_id": target.rows.row_ids[tested],
                        "split": pa.array(target.rows.split[tested], pa.string()),
                        "label": target.rows.labels[tested],
                        "probability": probability,
                    },
                    schema=PREDICTIONS,
                )
            )
    write_parquet(pa.concat_tables(parts) if parts else PREDICTIONS.empty_table(), folder / "predictions.parquet")
