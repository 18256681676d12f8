"""The text of a forest that is sent tells no small count, and its digits cost nothing."""

import re
from collections.abc import Callable
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from conceptbridge.learn import boosted_trees, leaf_values
from conceptbridge.learn.leaf_digits import numbers, round_leaves, split_trees
from conceptbridge.learn.leaf_values import joined_steps, remake_leaves
from conceptbridge.learn.pooled_features import pool
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import Part, Run
from conceptbridge.learn.split_digits import shortest

MINIMUM, RATE = 10, 0.05
SETTINGS = {"counts": True, "num_leaves": 7, "min_data_in_leaf": 20, "learning_rate": RATE, "feature_fraction": "auto"}
SETTINGS |= {"bagging_fraction": 0.8, "num_iterations": 20, "early_stopping_round": 20}


def site(seed: int) -> Examples:
    """A random small site of one-hot tokens: 100 to 300 persons of one to three rows, some tokens rare or telling."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(rng.integers(100, 300)), rng.choice([1, 1, 1, 3]))
    present = rng.random((len(person), 30)) < rng.beta(1, 3, 30)
    odds = present[:, :6] @ rng.normal(0, 1.5, 6) - rng.choice([0.5, 1.5, 2.5])
    label = (rng.random(len(person)) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    vectors = OneHot(30, 0.0, 1.0)
    offsets = np.r_[0, np.cumsum(present.sum(axis=1))]
    return Examples(vectors, np.nonzero(present)[1], offsets, label, persons=person)


def sent(rows: Examples, folder: Path, min_cell_count: int, bagging: float) -> str:
    """The text that is sent of a forest that was trained on the rows."""
    part = Part(np.arange(len(rows)), np.arange(0))
    settings = SETTINGS | {"bagging_fraction": bagging}
    forest = boosted_trees.fit(rows, [Run(1, settings, part, min_cell_count)])
    forest.save(folder)
    return (folder / "seed-1.txt").read_text()


def attack(text: str, label: np.ndarray) -> list[set[tuple[int, int]]]:
    """The events and rows that each value of the first tree can be of.

    The share of events is p + (value - log odds of p) / rate x p (1 - p); the value is known to half a step.
    """
    _, trees = split_trees(text)
    values = np.unique(numbers(trees[0], "leaf_value"))
    written = max(len(f"{value:.12g}".partition(".")[2]) for value in values)
    half = 2e-4 if written < 7 else 0.5 * 10.0**-written
    p, most = label.mean(), len(label)
    shares = p + (values - np.log(p / (1 - p))) / RATE * p * (1 - p)
    reach = half / RATE * p * (1 - p) + 1e-6
    k, n = np.meshgrid(np.arange(most + 1), np.arange(SETTINGS["min_data_in_leaf"], most + 1), indexing="ij")
    fits = [np.abs(k / n - share) <= reach for share in shares]
    return [{(int(a), int(b)) for a, b in zip(k[one], n[one], strict=True)} for one in fits]


def is_told(possible: set[tuple[int, int]]) -> bool:
    """Whether a small number of rows with, or without, the event is certain."""
    of_class = {k for k, _ in possible}, {n - k for k, n in possible}
    return bool(possible) and any(max(counts) < MINIMUM for counts in of_class)


def persons_of_values(text: str, rows: Examples) -> list[tuple[int, int]]:
    """The persons with and without the event behind each value of each tree that has more than one."""
    leaves = lgb.Booster(model_str=text).predict(pool(rows, True), pred_leaf=True).reshape(len(rows), -1)
    _, trees = split_trees(text)
    counts = []
    for number, tree in enumerate(trees):
        of_row = np.array(numbers(tree, "leaf_value"))[leaves[:, number].astype(int)]
        values = np.unique(of_row)
        for value in values if len(values) > 1 else []:
            inside = of_row == value
            counts.append(tuple(len(np.unique(rows.persons[inside & (rows.labels == label)])) for label in (1, 0)))
    return counts


@pytest.mark.parametrize("bagging", [1.0, 0.8])
def test_no_leaf_of_a_sent_forest_tells_a_small_count(tmp_path: Path, bagging: float) -> None:
    """Of leaves in full the seven sizes of seven were right, one leaf was 1 of 29."""
    told_before, values = 0, 0
    for seed in range(40):
        rows = site(seed)
        if min(len(np.unique(rows.persons[rows.labels == label])) for label in (1, 0)) < MINIMUM:
            continue  # nothing is sent of such a site
        (tmp_path / str(seed)).mkdir()
        plain = sent(rows, tmp_path / str(seed), 0, bagging)
        text = sent(rows, tmp_path / str(seed), MINIMUM, bagging)
        told_before += sum(map(is_told, attack(plain, rows.labels)))
        assert not any(map(is_told, attack(text, rows.labels)))
        counts = persons_of_values(text, rows)
        assert all(min(of_value) >= MINIMUM for of_value in counts)
        values += len(counts)
    assert told_before >= 20
    assert values > 200  # there is still something to learn from


def test_leaves_of_the_nearest_values_are_joined_and_the_step_is_that_of_all_their_rows() -> None:
    slope, weight = np.array([6.0, -5.0, 3.0, -4.5]), np.array([20.0, 10.0, 30.0, 10.0])
    counts = [np.array([30, 4, 12, 8]), np.array([20, 40, 40, 60])]
    np.testing.assert_allclose(joined_steps(slope, weight, counts, 0), slope / weight)
    np.testing.assert_allclose(joined_steps(slope, weight, counts, MINIMUM), [0.3, -0.475, 0.1, -0.475])
    # together all are too few: one step for all rows
    np.testing.assert_allclose(joined_steps(slope, weight, counts, 1000), np.full(4, -0.5 / 70))


def test_without_few_persons_the_values_are_lightgbms_own() -> None:
    """On all rows, where none is drawn; LightGBM adds up in single precision."""
    rows = site(3)
    run = Run(1, SETTINGS | {"bagging_fraction": 1.0}, Part(np.arange(len(rows)), np.arange(0)))
    [booster] = boosted_trees._boost([None], rows, [run], True)[0].boosters
    text, features = booster.model_to_string(), pool(rows, True)
    leaves = booster.predict(features, pred_leaf=True).reshape(len(rows), -1).astype(np.int32)
    made = lgb.Booster(model_str=remake_leaves(text, leaves, rows.labels, rows.persons, RATE, 0))
    np.testing.assert_allclose(made.predict(features), booster.predict(features), atol=1e-6)
    joined = remake_leaves(text, leaves, rows.labels, rows.persons, RATE, MINIMUM)
    assert np.abs(lgb.Booster(model_str=joined).predict(features) - booster.predict(features)).max() > 1e-3


def forest(n: int, prevalence: float, trees: int) -> tuple[lgb.Booster, np.ndarray, np.ndarray]:
    """A forest as LightGBM trains it."""
    rng = np.random.default_rng(n)
    features = rng.normal(size=(n, 10))
    odds = features[:, 0] + 0.5 * features[:, 1] + np.log(prevalence / (1 - prevalence))
    label = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
    settings = {"objective": "binary", "verbose": -1, "num_leaves": 7, "min_data_in_leaf": 20, "learning_rate": RATE}
    settings |= {"bagging_fraction": 0.8, "bagging_freq": 1, "num_threads": 1, "deterministic": True}
    return lgb.train(settings, lgb.Dataset(features, label), trees), features, label


@pytest.mark.parametrize(
    ("n", "prevalence", "trees"), [(200, 0.3, 50), (500, 0.1, 100), (1200, 0.3, 100), (2000, 0.05, 500)]
)
def test_predictions_with_rounded_leaves_change_by_at_most_a_ten_thousandth(
    n: int, prevalence: float, trees: int
) -> None:
    made, features, label = forest(n, prevalence, trees)
    text = round_leaves(made.model_to_string())
    before, after = made.predict(features), lgb.Booster(model_str=text).predict(features)
    assert np.abs(before - after).max() <= 1e-4
    assert abs(roc_auc_score(label, before) - roc_auc_score(label, after)) < 5e-5
    assert len(text) < len(made.model_to_string())
    assert not re.search("tree_sizes", text)


def dense(seed: int) -> Examples:
    """The same site, with vectors of eight numbers."""
    rows = site(seed)
    vectors = np.random.default_rng(seed).normal(size=(30, 8)).astype(np.float32)
    return Examples(vectors, rows.tokens, rows.offsets, rows.labels, persons=rows.persons)


@pytest.mark.parametrize("made", [site, dense])
def test_thresholds_have_few_digits_and_part_the_training_rows_as_before(made: Callable[[int], Examples]) -> None:
    rows = made(4)
    run = Run(1, SETTINGS, Part(np.arange(len(rows)), np.arange(0)), MINIMUM)
    [grown] = boosted_trees._boost([None], rows, [run], True)[0].boosters
    [sent_one] = boosted_trees.fit(rows, [run]).boosters
    features = pool(rows, True)
    np.testing.assert_array_equal(*(booster.predict(features, pred_leaf=True) for booster in (grown, sent_one)))
    digits = [
        [
            len(repr(value).replace(".", "").strip("-0").partition("e")[0])
            for tree in trees
            for value in numbers(tree, "threshold")
        ]
        for trees in (split_trees(booster.model_to_string())[1] for booster in (grown, sent_one))
    ]
    assert max(digits[1]) <= 6
    assert np.mean(digits[1]) < 3.5 < np.mean(digits[0])


def test_the_shortest_threshold_is_between_the_same_values() -> None:
    values = np.array([-1.0, 0.0, 0.25, 0.26])
    found = [shortest(at, values) for at in (0.1234, 0.2549, 0.2449, 1e-35, -0.37, 0.26, 5.123)]
    assert found == [0.1, 0.25, 0.2, 1e-35, -0.4, 0.3, 5.0]


def test_persons_of_a_leaf_are_counted_once_however_many_rows_they_have_there() -> None:
    rng = np.random.default_rng(3)
    person, leaf = rng.integers(0, 60, 100), rng.integers(0, 5, 100)
    wanted = [len({*person[leaf == one].tolist()}) for one in range(5)]
    assert leaf_values.persons_of_leaves(leaf, 5, person, 60).tolist() == wanted
