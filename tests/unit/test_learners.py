"""Pooling, logistic regression, recalibration, and the search for settings, against plain references."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from conceptbridge.learn import boosted_trees
from conceptbridge.learn import penalised_regression as regression
from conceptbridge.learn.pooled_features import pool, presence
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import Part, Run, candidates, sized_parts
from conceptbridge.learn.strategies import recalibrate
from made_site import WIDTH, made_examples

SIZES = {
    "seed": st.integers(0, 10**6),
    "rows": st.integers(0, 12),
    "tokens": st.integers(1, 9),
    "longest": st.integers(0, 7),
}


@settings(max_examples=40, deadline=None)
@given(**SIZES)
def test_pooling_is_mean_maximum_and_count(seed: int, rows: int, tokens: int, longest: int) -> None:
    given_rows = made_examples(np.random.default_rng(seed), rows, tokens, longest)
    made = pool(given_rows, counts=True)
    assert made.shape == (rows, 2 * WIDTH + 1)
    for i in range(rows):
        held = given_rows.vectors[given_rows.tokens[given_rows.offsets[i] : given_rows.offsets[i + 1]]]  # type: ignore[index]
        if len(held):
            np.testing.assert_allclose(made[i, :WIDTH], held.mean(axis=0), rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(made[i, WIDTH:-1], held.max(axis=0))
        else:
            assert not made[i].any()
        assert made[i, -1] == len(held)


@settings(max_examples=40, deadline=None)
@given(**SIZES)
def test_one_hot_is_pooled_sparsely_to_the_same_numbers(seed: int, rows: int, tokens: int, longest: int) -> None:
    drawn = made_examples(np.random.default_rng(seed), rows, tokens, longest)
    dense = Examples(np.eye(tokens, dtype=np.float32), drawn.tokens, drawn.offsets, drawn.labels)
    never = Examples(OneHot(tokens, 0.0, 1.0), drawn.tokens, drawn.offsets, drawn.labels)
    made = pool(never, counts=True)
    assert sparse.issparse(made)
    np.testing.assert_allclose(made.toarray(), pool(dense, counts=True), atol=1e-6)
    np.testing.assert_array_equal(presence(never).toarray(), pool(dense, counts=False)[:, tokens:])


@pytest.mark.parametrize("l1_share", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_the_solver_finds_what_scikit_learn_finds(l1_share: float, kind: str) -> None:
    rng = np.random.default_rng(4)
    features = (rng.random((300, 12)) < 0.3).astype(np.float32)
    labels = (rng.random(300) < expit(2 * features[:, 0] - 2 * features[:, 1] - 0.5)).astype(np.int8)
    penalty = 0.01
    given_features: Any = features if kind == "dense" else sparse.csr_matrix(features)
    found = regression.columns(given_features)
    made, shift, _ = regression.solve(found, labels, np.zeros(300), penalty * l1_share, penalty * (1 - l1_share))
    center, scale = (features.mean(axis=0), features.std(axis=0)) if kind == "dense" else (np.zeros(12), np.ones(12))
    wanted = LogisticRegression(C=1 / (penalty * 300), l1_ratio=l1_share, solver="saga", max_iter=20_000, tol=1e-5)
    wanted.fit((features - center) / scale, labels)
    np.testing.assert_allclose(made * scale, wanted.coef_[0], atol=2e-3)
    assert shift == pytest.approx(wanted.intercept_[0] - center @ (wanted.coef_[0] / scale), abs=5e-3)


def test_corrections_begin_at_the_source_and_a_strong_penalty_keeps_them_there() -> None:
    rows = made_examples(np.random.default_rng(5), 200, 9, 5)
    part = Part(np.arange(150), np.arange(150, 200))
    source = regression.fit(rows, [Run(1, {"penalty": 0.01, "l1_share": 0.5}, part)])
    flipped = Examples(rows.vectors, rows.tokens, rows.offsets, (1 - rows.labels).astype(np.int8))
    for l1_share in (0.0, 1.0):
        tuned, _ = regression.tune(source, flipped, [Run(1, {"penalty": 1e4, "l1_share": l1_share}, part)], False)
        np.testing.assert_allclose(tuned.coefficients, source.coefficients, atol=1e-3)
        assert tuned.intercepts != source.intercepts  # the intercept is free


def test_a_forest_keeps_the_same_trees_whether_or_not_its_depths_are_asked_for() -> None:
    rows = made_examples(np.random.default_rng(7), 400, 9, 5)
    asked = {"counts": True, "num_leaves": 4, "min_data_in_leaf": 5, "learning_rate": 0.3, "features_per_tree": 4}
    asked |= {"bagging_fraction": 0.8, "num_iterations": 40, "early_stopping_round": 5}
    runs = [Run(seed, asked, Part(np.arange(300), np.arange(300, 400))) for seed in (1, 2)]
    source = boosted_trees.fit(rows, [Run(run.seed, asked | {"num_iterations": 3}, run.part) for run in runs])
    flipped = Examples(rows.vectors, rows.tokens, rows.offsets, (1 - rows.labels).astype(np.int8))
    stopped, none = boosted_trees.tune(source, flipped, runs, head_only=False)
    made, along = boosted_trees.tune(source, flipped, runs, head_only=False, depths=[0.0, 1.0])
    assert none == []
    assert made.kept == stopped.kept
    assert made.steps == stopped.steps < 2 * 40  # patience ended both
    np.testing.assert_array_equal(boosted_trees.predict(made, flipped), boosted_trees.predict(stopped, flipped))
    np.testing.assert_array_equal(boosted_trees.predict(along[0], flipped), boosted_trees.predict(source, flipped))
    assert along[1].kept == [start + 40 for start in source.kept]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_a_forest_is_refitted_as_lightgbm_does(decay: float) -> None:
    rows = made_examples(np.random.default_rng(8), 400, 9, 5)
    asked = {"counts": True, "num_leaves": 4, "min_data_in_leaf": 5, "learning_rate": 0.3, "features_per_tree": 4}
    asked |= {"bagging_fraction": 0.8, "num_iterations": 20, "early_stopping_round": 20, "refit_decay": decay}
    run = Run(1, asked, Part(np.arange(300), np.arange(300, 400)))
    source = boosted_trees.fit(rows, [run])
    flipped = Examples(rows.vectors, rows.tokens, rows.offsets, (1 - rows.labels).astype(np.int8))
    made, _ = boosted_trees.tune(source, flipped, [run], head_only=True)
    features = pool(rows, counts=True)
    wanted = source.boosters[0].refit(features[:300], flipped.labels[:300], decay_rate=decay)
    np.testing.assert_allclose(boosted_trees.predict(made, flipped)[0], wanted.predict(features), rtol=1e-4)


def test_trees_mend_a_source_that_is_wrong_and_sure_of_it() -> None:
    rng = np.random.default_rng(9)
    first = rng.random(600) < 0.5
    tokens = np.stack([np.where(first, 0, 1), rng.integers(2, 9, 600)], axis=1)
    rows = Examples(
        rng.normal(size=(9, 6)).astype(np.float32), tokens.ravel(), np.arange(601) * 2, first.astype(np.int8)
    )
    asked = {"counts": True, "num_leaves": 4, "min_data_in_leaf": 5, "learning_rate": 0.1, "features_per_tree": 12}
    asked |= {"bagging_fraction": 1.0, "num_iterations": 300, "early_stopping_round": 300}
    run = Run(1, asked, Part(np.arange(400), np.arange(400, 600)))
    source = boosted_trees.fit(rows, [run])
    assert source.losses[0] < 1e-3
    flipped = Examples(rows.vectors, rows.tokens, rows.offsets, (1 - rows.labels).astype(np.int8))
    tuned, _ = boosted_trees.tune(source, flipped, [run], head_only=False)
    assert tuned.losses[0] < 0.1


def test_recalibration_finds_the_intercept_and_slope_that_were_lost() -> None:
    rng = np.random.default_rng(6)
    truth = rng.normal(-2, 1.5, 40_000)
    labels = (rng.random(40_000) < expit(truth)).astype(np.int8)
    shifted = expit((truth + 1) * 2)[None]
    part = Part(np.arange(20_000), np.arange(20_000, 40_000))
    chosen, [(intercept, slope)] = recalibrate.recalibrate(shifted, labels, part)
    assert chosen == "slope"
    assert (intercept, slope) == (pytest.approx(-1, abs=0.08), pytest.approx(0.5, abs=0.03))
    only_shift = recalibrate.intercept(truth + 1, labels)
    assert expit(truth + 1 + only_shift).mean() == pytest.approx(labels.mean(), abs=1e-9)
    assert recalibrate.recalibrate(expit(truth)[None], labels, Part(np.arange(200), part.check))[0] == "none"


def test_the_same_candidates_are_tried_in_every_arm() -> None:
    searched = {"num_leaves": [7, 15, 31], "learning_rate": [0.03, 0.1]}
    assert len(candidates(searched, 99)) == 6
    assert candidates(searched, 3) == candidates(searched, 3)
    assert len(candidates(searched, 3)) == 3
    assert candidates({}, 4) == [{}]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), persons=st.integers(1, 80), sizes=st.sets(st.integers(2, 30), min_size=1))
def test_target_sizes_are_nested_and_split_no_person(seed: int, persons: int, sizes: set[int]) -> None:
    rng = np.random.default_rng(seed)
    person = np.sort(rng.integers(0, persons, 3 * persons))
    labels = (rng.random(len(person)) < 0.2).astype(np.int8)
    rows = np.flatnonzero(rng.random(len(person)) < 0.8)
    parts = list(sized_parts(labels, person, rows, sorted(sizes), replicates=2))
    assert {p.size for p in parts} == {n for n in sizes if n <= labels[rows].sum()}
    for replicate in (1, 2):
        held: set[int] = set()
        trained: set[int] = set()
        for part in (p for p in parts if p.replicate == replicate):
            both = np.concatenate([part.train, part.check])
            assert len(set(both)) == len(both)
            assert set(both) <= set(rows)
            assert not set(person[part.train]) & set(person[part.check])
            assert labels[both].sum() >= (part.size or 0)
            assert held <= set(both)
            assert trained <= set(part.train)  # what trains a smaller model never checks a larger one
            held, trained = set(both), set(part.train)
