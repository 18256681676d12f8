"""LightGBM's arms: ours beside LightGBM called for each model by itself, which puts the rows in bins anew every time.

    python benchmarks/forest.py    # one core, about a minute

10,000 records of 60 findings, present or absent, with vectors of 768: forests of 5 seeds, then their new leaf values
on the rows of a shifted site. Both sides grow the same trees; our training also gives their leaves values that may be
shown (``learn/leaf_values.py``) and their thresholds few digits. Times are those of the processor.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

os.environ["OMP_NUM_THREADS"] = "1"

import lightgbm as lgb
import numpy as np

from conceptbridge.learn import boosted_trees
from conceptbridge.learn.pooled_features import pool
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Part, Run

ROWS, FINDINGS, WIDTH, SEEDS = 10_000, 60, 768, 5
PART = Part(np.arange(8_000), np.arange(8_000, ROWS))
SETTINGS = {"counts": True, "num_leaves": 7, "min_data_in_leaf": 20, "learning_rate": 0.1, "feature_fraction": "auto"}
SETTINGS |= {"bagging_fraction": 0.8, "num_iterations": 300, "early_stopping_round": 30, "refit_decay": 0.5}
RUNS = [Run(seed, SETTINGS, PART) for seed in range(1, SEEDS + 1)]

T = TypeVar("T")


def site(slope: float) -> Examples:
    """Records of a site where a few findings raise or lower the risk."""
    rng = np.random.default_rng(0)
    present = rng.random((ROWS, FINDINGS)) < rng.beta(1, 3, FINDINGS)
    risk = present[:, :12] @ np.tile([slope, -1.5], 6) - 1
    labels = (rng.random(ROWS) < 1 / (1 + np.exp(-risk))).astype(np.int8)
    vectors = rng.normal(size=(2 * FINDINGS, WIDTH)).astype(np.float32)
    return Examples(vectors, (2 * np.arange(FINDINGS) + present).ravel(), np.arange(ROWS + 1) * FINDINGS, labels)


def plain_fit(rows: Examples) -> list[lgb.Booster]:
    """What LightGBM's documentation does, with our settings."""
    features, made = pool(rows, counts=True), []
    for run in RUNS:
        told = {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 20, "learning_rate": 0.1, "seed": run.seed}
        told |= {"feature_fraction": 128 / features.shape[1], "bagging_fraction": 0.8, "bagging_freq": 1}
        told |= {"num_threads": 1, "verbosity": -1, "deterministic": True, "force_col_wise": True}
        told |= {"enable_bundle": False, **boosted_trees.HISTOGRAM}
        data = lgb.Dataset(features[PART.train], rows.labels[PART.train])
        check = data.create_valid(features[PART.check], rows.labels[PART.check])
        stop = lgb.early_stopping(SETTINGS["early_stopping_round"], verbose=False)
        made.append(lgb.train(told, data, SETTINGS["num_iterations"], valid_sets=[check], callbacks=[stop]))
    return made


def plain_refit(forests: list[lgb.Booster], rows: Examples) -> list[lgb.Booster]:
    """New leaf values by LightGBM's own method."""
    features, labels = pool(rows, counts=True)[PART.train], rows.labels[PART.train]
    return [forest.refit(features, labels, decay_rate=SETTINGS["refit_decay"]) for forest in forests]


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What it returns and the seconds of the processor that it took."""
    start = time.process_time()
    made = call()
    return made, time.process_time() - start


def main() -> None:
    """Print a ratio for training and one for new leaf values."""
    home, there = site(1.5), site(0.5)
    for rows in (home, there):
        pool(rows, counts=True)
    ours, seconds = timed(lambda: boosted_trees.fit(home, RUNS))
    plain, plain_seconds = timed(lambda: plain_fit(home))
    features = pool(home, counts=True)
    for made, other in zip(ours.boosters, plain, strict=True):
        # thresholds of few digits part the training rows as before
        grown = (of.predict(features[PART.train], pred_leaf=True) for of in (made, other))
        np.testing.assert_array_equal(*grown)
    print(f"training: {seconds:.1f} s, plain {plain_seconds:.1f} s: {plain_seconds / seconds:.1f} times")
    (tuned, _), seconds = timed(lambda: boosted_trees.tune(ours, there, RUNS, head_only=True))
    plain, plain_seconds = timed(lambda: plain_refit(ours.boosters, there))
    np.testing.assert_allclose(boosted_trees.predict(tuned, home), [of.predict(features) for of in plain], rtol=1e-4)
    print(f"new leaf values: {seconds:.1f} s, plain {plain_seconds:.1f} s: {plain_seconds / seconds:.1f} times")


if __name__ == "__main__":
    main()
