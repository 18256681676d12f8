"""LightGBM on pooled vectors: of each record the mean and the maximum of its tokens' vectors, and how many they are."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from conceptbridge.learn.examples import Examples

logger = logging.getLogger(__name__)

#: coarse histograms, their bounds from a sample of rows: half the time at the same accuracy
HISTOGRAM = {"max_bin": 63, "bin_construct_sample_cnt": 2_000}


@dataclass(frozen=True)
class Forest:
    """One booster a seed; ``spent`` is the number of trees kept of each."""

    boosters: list[lgb.Booster]
    seeds: list[int]
    spent: list[int]


def pool(examples: Examples) -> NDArray[np.float32]:
    """Features of each row: mean and maximum over its tokens' vectors (zeros where it has none), and its token count.

    Shape (rows, 2 * width + 1).
    """
    width, lengths = examples.vectors.shape[1], examples.lengths
    # longest rows first: those that have an n-th token are then the first ones, and are added in one go
    order = np.argsort(-lengths, kind="stable")
    sums = np.zeros((len(examples), width), np.float32)
    highest = np.full((len(examples), width), -np.inf, np.float32)
    for n in range(int(lengths.max(initial=0))):
        rows = order[: np.searchsorted(-lengths[order], -n, side="left")]
        nth = examples.vectors[examples.tokens[examples.offsets[rows] + n]]
        sums[: len(rows)] += nth
        np.maximum(highest[: len(rows)], nth, out=highest[: len(rows)])
    made = np.empty((len(examples), 2 * width + 1), np.float32)
    made[order, :width] = sums / np.maximum(lengths[order], 1)[:, None]
    made[order, width:-1] = np.where(lengths[order, None] > 0, highest, 0)
    made[:, -1] = lengths
    return made


def fit(train: Examples, validation: Examples, settings: Mapping[str, Any], seeds: Sequence[int]) -> Forest:
    """Boost one forest a seed, and keep of each the number of trees with the lowest validation loss."""
    return _boost([None] * len(seeds), list(seeds), train, validation, settings, settings["trees"])


def tune(source: Forest, train: Examples, validation: Examples, settings: Mapping[str, Any], head_only: bool) -> Forest:
    """Go on from the source's trees on the target's rows: new leaf values (``head_only``), or more trees.

    Where that makes the validation loss no lower, the source's own trees are kept.
    """
    if not head_only:
        return _boost(source.boosters, source.seeds, train, validation, settings, settings["tune_trees"])
    features, checked = pool(train), pool(validation)
    kept = []
    for booster in source.boosters:
        tuned = booster.refit(features, train.labels, decay_rate=settings["refit_decay"], dataset_params=HISTOGRAM)
        worse = _loss(tuned, checked, validation) > _loss(booster, checked, validation)
        kept.append(booster if worse else tuned)
    return Forest(kept, source.seeds, source.spent)


def predict(forest: Forest, examples: Examples) -> NDArray[np.float64]:
    """Probability of the outcome: shape (seeds, rows), in the rows' order."""
    if len(examples) == 0:
        return np.empty((len(forest.seeds), 0))
    features = pool(examples)
    return np.stack([booster.predict(features, num_threads=1) for booster in forest.boosters])


def save(forest: Forest, folder: Path) -> dict[str, Any]:
    """Write ``seed-{n}.txt`` to ``folder`` and return what model.json has to hold.

    LightGBM's text tells how many training rows, and of what weight, reached each node; those counts stay home. The
    sizes of its trees in bytes are then no longer right and are left out: without them it reads tree after tree.
    """
    for seed, booster in zip(forest.seeds, forest.boosters, strict=True):
        text = re.sub(
            r"^((?:leaf|internal)_(?:count|weight))=(.*)$",
            lambda line: f"{line[1]}={' '.join('0' for _ in line[2].split())}",
            re.sub(r"^tree_sizes=.*\n", "", booster.model_to_string(), flags=re.MULTILINE),
            flags=re.MULTILINE,
        )
        (folder / f"seed-{seed}.txt").write_text(text, encoding="utf-8")
    return {"seeds": forest.seeds, "spent": forest.spent}


def load(folder: Path, description: Mapping[str, Any]) -> Forest:
    """The forest that ``save`` wrote."""
    boosters = [lgb.Booster(model_file=folder / f"seed-{seed}.txt") for seed in description["seeds"]]
    return Forest(boosters, description["seeds"], description["spent"])


def _boost(
    starts: Sequence[lgb.Booster | None],
    seeds: list[int],
    train: Examples,
    validation: Examples,
    settings: Mapping[str, Any],
    trees: int,
) -> Forest:
    """Add at most ``trees`` trees to each of ``starts``; the validation loss decides how many of them are kept."""
    parameters = {
        "objective": "binary",
        "metric": "binary_logloss",
        "num_leaves": settings["leaves"],
        "min_data_in_leaf": settings["min_leaf"],
        "learning_rate": settings["learning_rate"],
        "feature_fraction": settings["feature_share"],
        "bagging_fraction": settings["row_share"],
        "bagging_freq": 1,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
        **HISTOGRAM,
    }
    data = lgb.Dataset(pool(train), train.labels, params=parameters, free_raw_data=False)
    checked = pool(validation)
    watched = [data.create_valid(checked, validation.labels)] if len(validation) else []
    boosters = []
    for start, seed in zip(starts, seeds, strict=True):
        losses: dict[str, dict[str, list[float]]] = {}
        made = lgb.train(
            parameters | {"seed": seed},
            data,
            num_boost_round=trees,
            valid_sets=watched,
            init_model=start,
            callbacks=[lgb.record_evaluation(losses)] if watched else None,
        )
        if watched:
            curve = losses["valid_0"]["binary_logloss"]
            best = 1 + int(np.argmin(curve))
            if start is not None and curve[best - 1] > _loss(start, checked, validation):
                made = start
            else:
                before = 0 if start is None else start.current_iteration()
                made = lgb.Booster(model_str=made.model_to_string(num_iteration=before + best))
            logger.info("seed %d: %d trees, lowest validation loss %.4f", seed, made.current_iteration(), min(curve))
        boosters.append(made)
    return Forest(boosters, seeds, [booster.current_iteration() for booster in boosters])


def _loss(booster: lgb.Booster, features: NDArray[np.float32], examples: Examples) -> float:
    """Mean cross-entropy; 0 where there is no row to look at."""
    if len(examples) == 0:
        return 0.0
    return float(log_loss(examples.labels, booster.predict(features, num_threads=1), labels=[0, 1]))
