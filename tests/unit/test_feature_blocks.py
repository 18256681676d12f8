"""Features in blocks are those that are written out, whatever is asked of them."""

import lightgbm as lgb
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit

from conceptbridge.learn import binned_features, boosted_trees, feature_blocks, penalised_columns
from conceptbridge.learn import penalised_regression as regression
from conceptbridge.learn.feature_blocks import Block, Blocks
from conceptbridge.learn.pooled_features import pool
from conceptbridge.learn.rows import Examples, PlacedVectors
from conceptbridge.learn.search import Part, Run

BOOSTING = {
    "counts": True,
    "num_leaves": 6,
    "min_data_in_leaf": 5,
    "learning_rate": 0.1,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "num_iterations": 30,
    "early_stopping_round": 30,
}
PATH = {"penalty": 1e-3, "penalties": 21, "patience": 5, "l1_share": 1.0}


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_blocks, "SIDE_BY_SIDE", 40)
    monkeypatch.setattr(binned_features, "SIDE_BY_SIDE", 4)
    monkeypatch.setattr(penalised_columns, "FEW", 0)


def drawn(seed: int = 1) -> tuple[Blocks, NDArray[np.float32]]:
    """Two blocks whose columns alternate, one of a row that has none, and the same written out."""
    rng = np.random.default_rng(seed)
    at = [rng.permutation(np.where(np.arange(50) < held, np.arange(50), -1)).astype(np.int32) for held in (20, 33)]
    columns = [np.array([0, 1, 5, 6]), np.array([2, 3, 7])]
    values = [
        rng.normal(3, 2, (held, len(own))).astype(np.float32) for held, own in zip((20, 33), columns, strict=True)
    ]
    whole = np.zeros((50, 8), np.float32)
    for own, some, rows in zip(columns, values, at, strict=True):
        whole[np.ix_(rows >= 0, own)] = some[rows[rows >= 0]]
    return Blocks([Block(*one) for one in zip(columns, values, at, strict=True)], (50, 8)), whole


def test_blocks_are_what_is_written_out() -> None:
    blocks, whole = drawn()
    rows, columns = np.array([3, 3, 40, 7, 1]), np.array([1, 2, 4, 5])
    np.testing.assert_array_equal(blocks.written_out(), whole)
    np.testing.assert_array_equal(np.concatenate(list(blocks.each())), whole)
    np.testing.assert_array_equal(blocks.written_out(slice(1, 6)), whole[:, 1:6])
    np.testing.assert_array_equal(blocks[rows].written_out(), whole[rows])
    np.testing.assert_array_equal(blocks[rows].turned(columns[::-1]), whole[rows][:, columns[::-1]].T)
    np.testing.assert_array_equal(blocks.column(6), whole[:, 6])
    coefficients = np.random.default_rng(2).normal(size=(8, 2))
    np.testing.assert_allclose(blocks @ coefficients, whole @ coefficients, atol=1e-12)
    np.testing.assert_allclose(blocks[rows] @ coefficients[:, 0], whole[rows] @ coefficients[:, 0], atol=1e-12)
    by_row = np.random.default_rng(3).normal(size=50)
    np.testing.assert_allclose(blocks.summed(by_row), by_row @ whole, atol=1e-12)
    np.testing.assert_allclose(blocks[rows].summed(by_row[:5]), by_row[:5] @ whole[rows], atol=1e-12)
    wide = whole.astype(np.float64)
    np.testing.assert_allclose(blocks.spread(wide.mean(axis=0)), wide.std(axis=0), atol=1e-12)


def test_a_place_where_no_token_has_a_component_adds_nothing() -> None:
    """A target can hold none of what a source has at a place."""
    some = Block(np.array([1, 2]), np.array([[1.0, 2.0]], np.float32), np.array([-1, 0], np.int32))
    without = Block(np.zeros(0, np.int64), np.zeros((2, 0), np.float32), np.array([0, 1], np.int32))
    for coefficients in (np.arange(4.0), np.arange(8.0).reshape(4, 2)):
        expected = np.zeros((2, *coefficients.shape[1:]))
        expected[1] = coefficients[1] + 2 * coefficients[2]
        np.testing.assert_allclose(Blocks([without, some], (2, 4)) @ coefficients, expected)
        np.testing.assert_allclose(Blocks([], (2, 4))[np.array([0])] @ coefficients, 0 * expected[:1])


def test_a_penalty_sees_standardised_features_that_are_not_written_out() -> None:
    blocks, whole = drawn()
    made, wide = penalised_columns.columns(blocks), whole.astype(np.float64)
    standard = (wide - wide.mean(axis=0)) / np.where(wide.std(axis=0) > 0, wide.std(axis=0), np.inf)
    rng = np.random.default_rng(4)
    coefficients, by_row = rng.normal(size=8), rng.normal(size=50)
    np.testing.assert_allclose(made.values.times(coefficients), standard @ coefficients, atol=1e-12)
    np.testing.assert_allclose(made.values.summed(by_row), by_row @ standard, atol=1e-12)
    np.testing.assert_allclose(made.values.summed(by_row, roughly=True), by_row @ standard, atol=1e-4)
    np.testing.assert_allclose(made.values.times(coefficients, roughly=True), standard @ coefficients, atol=1e-4)


def test_columns_that_are_worked_on_join_and_part() -> None:
    blocks, whole = drawn()
    wide = whole.astype(np.float64)
    standard = (wide - wide.mean(axis=0)) / np.where(wide.std(axis=0) > 0, wide.std(axis=0), np.inf)
    rng = np.random.default_rng(4)
    for features, expected in (
        (blocks, standard),
        (csr_matrix(whole[:, np.any(whole, axis=0)]), whole[:, whole.any(0)]),
    ):
        chosen = penalised_columns.columns(features).values.none()
        for joining in ([5, 0], [2], [1, 3]):
            chosen.join(np.array(joining))
        chosen.keep(np.array([0, 2, 3]))
        some, coefficients, by_row, weight = (
            expected[:, [5, 2, 1]],
            rng.normal(size=3),
            rng.normal(size=50),
            rng.random(50),
        )
        np.testing.assert_allclose(chosen.times(coefficients), some @ coefficients, atol=1e-4)
        np.testing.assert_allclose(chosen.summed(by_row), by_row @ some, atol=1e-4)
        np.testing.assert_allclose(chosen.curvature(weight), some.T * weight @ some, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(chosen.curvature(weight, 1), (some.T * weight @ some)[:, 1:], rtol=1e-5, atol=1e-4)


def examples(seed: int) -> Examples:
    """Rows with vectors at places, whose outcome depends on them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, 600)
    vectors = PlacedVectors(rng.normal(size=(25, 3)).astype(np.float32), np.arange(25) % 5, np.array([0, 0, 1, -1, 1]))
    tokens, row = rng.integers(0, 25, lengths.sum()), np.repeat(np.arange(600), lengths)
    risk = 3 * np.bincount(row, vectors.vectors[tokens, 0], 600) / np.maximum(lengths, 1)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Examples(vectors, tokens, offsets, (rng.random(600) < expit(risk)).astype(np.int8))


@pytest.mark.parametrize(
    ("engine", "settings"), [(boosted_trees, BOOSTING), (regression, PATH)], ids=["trees", "logistic"]
)
def test_learners_predict_from_blocks_as_from_features_that_are_written_out(
    engine: object, settings: dict[str, object]
) -> None:
    given, run = examples(5), Run(1, settings, Part(np.arange(400), np.arange(400, 600)))
    written = examples(5)
    for counts in (True, False):
        written.cache["pooled", counts] = pool(given, counts).written_out()
    one, other = engine.fit(given, [run]), engine.fit(written, [run])
    assert one.kept == other.kept
    assert one.losses[0] < 0.65
    np.testing.assert_allclose(engine.predict(one, given), engine.predict(other, written), atol=1e-6)
    if engine is boosted_trees:
        tuned = [
            engine.tune(one, rows, [Run(1, settings, Part(run.part.check, run.part.train))], False)[0]
            for rows in (given, written)
        ]
        np.testing.assert_allclose(engine.predict(tuned[0], given), engine.predict(tuned[1], written), atol=1e-6)


@pytest.mark.parametrize("shown", [False, True])
def test_bins_are_those_of_all_columns_together(shown: bool) -> None:
    """As LightGBM makes them of the whole matrix: the same trees, to the byte, also where a forest is tuned."""
    rows = examples(6)
    part = Part(np.arange(400), np.arange(400, 600))
    parameters = {"objective": "binary", "num_leaves": 6, "verbosity": -1, "num_threads": 1, "enable_bundle": False}
    parameters |= {"feature_fraction": 0.5, "min_data_in_leaf": 5, **boosted_trees.HISTOGRAM}
    made = boosted_trees._binned(rows, True, part, parameters, shown)
    whole = pool(rows, True).written_out()
    start = lgb.train(parameters, lgb.Dataset(whole, 1 - rows.labels), 5) if shown else None
    train = lgb.Dataset(whole[part.train], rows.labels[part.train], params=parameters)
    check = lgb.Dataset(whole[part.check], rows.labels[part.check], reference=train, params=parameters)
    texts = [
        lgb.train(parameters, data, 20, valid_sets=watched, init_model=start).model_to_string()
        for data, *watched in (made, (train, check))
    ]
    assert texts[0] == texts[1]
