"""Pooling, logistic regression, recalibration, and the search for settings, against plain references."""

from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from conceptbridge.learn import boosted_trees, leaf_lookup
from conceptbridge.learn import penalised_regression as regression
from conceptbridge.learn import penalised_solver as solver
from conceptbridge.learn.arm_job import Budget
from conceptbridge.learn.learners.logistic import Logistic
from conceptbridge.learn.penalised_columns import columns
from conceptbridge.learn.pooled_features import pool, presence
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import (
    AT_CAP,
    EXTENDED,
    WITHIN,
    Part,
    Run,
    Spent,
    candidates,
    cross_entropy,
    search,
    sized_parts,
)
from conceptbridge.learn.strategies import recalibrate
from conceptbridge.study.learners import BELOW_ONE, POSITIVE, SHARE, Setting
from made_site import WIDTH, made_examples


def with_signal(rows: Examples) -> Examples:
    """The same rows, the first two tokens making the outcome likelier."""
    rng, tokens = np.random.default_rng(1), np.split(rows.tokens, rows.offsets[1:-1])
    risk = np.array([np.isin([0, 1], held).sum() for held in tokens])
    return Examples(rows.vectors, rows.tokens, rows.offsets, (rng.random(len(rows)) < expit(2 * risk - 2)).astype("i1"))


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
    # whether a token is there is the maximum of the vectors written out; then how many there are
    np.testing.assert_array_equal(made.toarray(), pool(dense, counts=True)[:, tokens:])
    np.testing.assert_array_equal(presence(never).toarray(), pool(dense, counts=False)[:, tokens:])


@pytest.mark.parametrize("l1_share", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_the_solver_finds_what_scikit_learn_finds(l1_share: float, kind: str) -> None:
    rng = np.random.default_rng(4)
    features = (rng.random((300, 12)) < 0.3).astype(np.float32)
    labels = (rng.random(300) < expit(2 * features[:, 0] - 2 * features[:, 1] - 0.5)).astype(np.int8)
    penalty = 0.01
    given_features: Any = features if kind == "dense" else sparse.csr_matrix(features)
    given, nothing = columns(given_features), np.zeros(300)
    start = solver.no_coefficients(given, labels, nothing)
    found = solver.solve(given, labels, nothing, penalty * l1_share, penalty * (1 - l1_share), start)
    made, shift = found.on_features(given)
    center, scale = (features.mean(axis=0), features.std(axis=0)) if kind == "dense" else (np.zeros(12), np.ones(12))
    wanted = LogisticRegression(C=1 / (penalty * 300), l1_ratio=l1_share, solver="saga", max_iter=20_000, tol=1e-5)
    wanted.fit((features - center) / scale, labels)
    np.testing.assert_allclose(made * scale, wanted.coef_[0], atol=2e-3)
    assert shift == pytest.approx(wanted.intercept_[0] - center @ (wanted.coef_[0] / scale), abs=5e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), l1_share=st.sampled_from([0.3, 1.0]), repeated=st.booleans())
def test_no_slope_is_steeper_than_the_penalty(seed: int, l1_share: float, repeated: bool) -> None:
    """The conditions of the minimum (Friedman et al. 2010, section 2), wherever the path is and whatever the data."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(60, 8)).astype(np.float32)
    if repeated:  # equal columns, of which either could be chosen
        features[:, 4:] = features[:, :4]
    labels = (rng.random(60) < expit(features[:, 0] - 1)).astype(np.int8)
    labels[:2] = 0, 1
    offset = rng.normal(size=60)
    given = columns(features)
    now = solver.no_coefficients(given, labels, offset)
    largest = solver.largest_penalty(given, labels, offset, now, l1_share)
    for share in (1.0, 0.5, 0.1, 0.01):
        l1, l2 = share * largest * l1_share, share * largest * (1 - l1_share)
        now = solver.solve(given, labels, offset, l1, l2, now)
        probability = expit(offset + given.values.times(now.coefficients) + now.shift)
        slope = given.values.summed(probability - labels) / 60 + l2 * now.coefficients
        zero = now.coefficients == 0
        assert zero.all() or share < 1
        assert (np.abs(slope[zero]) <= l1 * 1.01).all()
        np.testing.assert_allclose(slope[~zero], -l1 * np.sign(now.coefficients[~zero]), atol=0.01 * l1 + 1e-6)
        assert probability.mean() == pytest.approx(labels.mean(), abs=1e-3)


def test_the_path_ends_when_validation_loss_has_risen_and_its_end_is_extended_once() -> None:
    rows = with_signal(made_examples(np.random.default_rng(5), 400, 9, 5))
    part = Part(np.arange(300), np.arange(300, 400))

    def fitted(penalty: float, penalties: int, check: Any = part.check) -> regression.Regression:
        asked = {"penalty": penalty, "penalties": penalties, "patience": 4, "l1_share": 1.0}
        return regression.fit(rows, [Run(1, asked, Part(part.train, check))])

    long = fitted(1e-4, 41)
    assert long.capped == [WITHIN]
    assert 1 < long.kept[0] < 41
    # a path that ends before the best one goes on once, as far again
    short = fitted(10 ** (-0.1 * (long.kept[0] - 2)), long.kept[0] - 1)
    assert short.capped == [EXTENDED]
    np.testing.assert_allclose(short.coefficients, long.coefficients, atol=1e-3)
    assert fitted(0.8, 3).capped == [AT_CAP]
    assert fitted(0.8, 1).capped == [WITHIN]  # one alone is no path
    assert fitted(1e-4, 41, check=np.empty(0, np.int64)).kept == [21]  # the middle, where no row checks


def test_corrections_begin_at_the_source_and_a_strong_penalty_keeps_them_there() -> None:
    rows = made_examples(np.random.default_rng(5), 200, 9, 5)
    part = Part(np.arange(150), np.arange(150, 200))
    strong = {"penalty": 1.0, "penalties": 1, "patience": 1}
    source = regression.fit(rows, [Run(1, strong | {"penalty": 0.1, "l1_share": 0.5}, part)])
    flipped = Examples(rows.vectors, rows.tokens, rows.offsets, (1 - rows.labels).astype(np.int8))
    for l1_share in (0.0, 1.0):
        tuned, _ = regression.tune(source, flipped, [Run(1, strong | {"l1_share": l1_share}, part)], False)
        np.testing.assert_allclose(tuned.coefficients, source.coefficients, atol=2e-2)
        assert tuned.intercepts != source.intercepts  # the intercept is free


@pytest.mark.parametrize("head_only", [True, False])
@pytest.mark.parametrize("engine", [regression, boosted_trees])
def test_new_columns_begin_at_zero(engine: Any, head_only: bool) -> None:
    drawn = made_examples(np.random.default_rng(4), 200, 7, 5)
    known = Examples(OneHot(7, 1 / 7, 3.0), drawn.tokens, drawn.offsets, drawn.labels)
    asked = {"counts": True, "num_leaves": 4, "min_data_in_leaf": 5, "learning_rate": 0.3, "feature_fraction": "auto"}
    asked |= {"bagging_fraction": 0.8, "num_iterations": 20, "early_stopping_round": 20}
    asked |= {"penalty": 0.01, "penalties": 11, "patience": 3, "l1_share": 1.0}
    runs = [Run(seed, asked, Part(np.arange(150), np.arange(150, 200))) for seed in (1, 2)]
    source = engine.fit(known, runs)
    wide = OneHot(9, 1 / 9, 3.0, added=2)
    widened = engine.widen(source, wide, head_only)
    if widened is None:  # no leaf value of an old tree can tell of a new column
        assert (engine, head_only) == (boosted_trees, True)
        return
    # every row gets a new token, twice: what the source knows of it, shares and counts too, is what it knew
    each = zip(np.split(drawn.tokens, drawn.offsets[1:-1]), drawn.labels, strict=True)
    lists = [np.concatenate([tokens, [7 + label] * 2]) for tokens, label in each]
    offsets = np.concatenate([[0], np.cumsum([len(tokens) for tokens in lists])])
    with_new = Examples(wide, np.concatenate(lists), offsets, drawn.labels)
    np.testing.assert_array_equal(engine.predict(widened, with_new), engine.predict(source, known))
    tuned, _ = engine.tune(widened, with_new, runs, head_only)
    assert max(tuned.losses) < 0.1  # the new tokens say it all


def test_a_forest_keeps_the_same_trees_whether_or_not_its_depths_are_asked_for() -> None:
    rows = made_examples(np.random.default_rng(7), 400, 9, 5)
    asked = {"counts": True, "num_leaves": 4, "min_data_in_leaf": 5, "learning_rate": 0.3, "feature_fraction": 0.3}
    asked |= {"bagging_fraction": 0.8, "num_iterations": 40, "early_stopping_round": 5}
    runs = [Run(seed, asked, Part(np.arange(300), np.arange(300, 400))) for seed in (1, 2)]
    source = boosted_trees.fit(rows, [Run(run.seed, asked | {"num_iterations": 3}, run.part) for run in runs])
    flipped = Examples(rows.vectors, rows.tokens, rows.offsets, (1 - rows.labels).astype(np.int8))
    stopped, none = boosted_trees.tune(source, flipped, runs, head_only=False)
    made, along = boosted_trees.tune(source, flipped, runs, head_only=False, depths=[0.0, 1.0])
    assert none == []
    assert made.kept == stopped.kept
    assert made.steps == stopped.steps < 2 * 40  # patience ended both
    assert made.capped == stopped.capped == [WITHIN, WITHIN]
    np.testing.assert_array_equal(boosted_trees.predict(made, flipped), boosted_trees.predict(stopped, flipped))
    np.testing.assert_array_equal(boosted_trees.predict(along[0], flipped), boosted_trees.predict(source, flipped))
    assert along[1].kept == [start + 40 for start in source.kept]


def test_a_forest_that_goes_on_getting_better_has_its_cap_doubled_once() -> None:
    rows = with_signal(made_examples(np.random.default_rng(7), 400, 9, 5))
    asked = {"counts": True, "num_leaves": 4, "min_data_in_leaf": 5, "learning_rate": 0.1, "feature_fraction": 0.5}
    asked |= {"bagging_fraction": 1.0, "early_stopping_round": 10}
    part = Part(np.arange(300), np.arange(300, 400))
    long = boosted_trees.fit(rows, [Run(1, asked | {"num_iterations": 1000}, part)])
    assert long.capped == [WITHIN]
    assert long.kept[0] > 12
    beyond = boosted_trees.fit(rows, [Run(1, asked | {"num_iterations": long.kept[0]}, part)])
    assert (beyond.capped, beyond.kept) == ([EXTENDED], long.kept)
    slow = asked | {"learning_rate": 1e-4, "num_iterations": 15}
    assert boosted_trees.fit(rows, [Run(1, slow, part)]).capped == [AT_CAP]
    assert boosted_trees.fit(rows, [Run(1, slow | {"early_stopping_round": 15}, part)]).steps == 15  # fixed


@pytest.mark.parametrize("zero_is_missing", [True, False])
def test_leaves_are_looked_up_as_lightgbm_does(zero_is_missing: bool) -> None:
    rng = np.random.default_rng(5)
    features = sparse.random(900, 12, 0.4, "csr", np.float32, rng, rng.standard_normal)
    features.data[::7] = 1.0  # ties, as of tokens that are there
    labels = features[:, 0].toarray().ravel() + rng.normal(size=900) > 0
    asked = {"objective": "binary", "num_leaves": 9, "verbosity": -1, "zero_as_missing": zero_is_missing}
    text = lgb.train(asked, lgb.Dataset(features[:500], labels[:500]), 15).model_to_string()
    wanted = lgb.Booster(model_str=text).predict(features, pred_leaf=True)
    np.testing.assert_array_equal(leaf_lookup.leaves_of(text, features), wanted)


@pytest.mark.parametrize("share", [0.3, 0.5])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_a_forest_is_refitted_as_lightgbm_does(decay: float, share: float) -> None:
    rows = made_examples(np.random.default_rng(8), 400, 9, 5)
    asked = {"counts": True, "num_leaves": 4, "min_data_in_leaf": 5, "learning_rate": 0.3, "feature_fraction": share}
    asked |= {"bagging_fraction": 0.8, "num_iterations": 20, "early_stopping_round": 20, "refit_decay": decay}
    run = Run(1, asked, Part(np.arange(300), np.arange(300, 400)))
    source = boosted_trees.fit(rows, [run])
    flipped = Examples(rows.vectors, rows.tokens, rows.offsets, (1 - rows.labels).astype(np.int8))
    tuned, _ = boosted_trees.tune(source, flipped, [run], head_only=True)
    features, check = pool(rows, counts=True), run.part.check
    wanted = source.boosters[0].refit(features[:300], flipped.labels[:300], decay_rate=decay)
    # values that do no better on the rows that check them are not taken: one of these six are none
    said = [np.asarray(one.predict(features)) for one in (wanted, source.boosters[0])]
    losses = [cross_entropy(flipped.labels[check], of[check]) for of in said]
    assert (losses[0] > losses[1]) == (decay == 0 and share == 0.5)
    assert tuned.losses == [pytest.approx(min(losses))]
    np.testing.assert_allclose(boosted_trees.predict(tuned, flipped)[0], said[int(np.argmin(losses))], rtol=1e-4)


def test_trees_mend_a_source_that_is_wrong_and_sure_of_it() -> None:
    rng = np.random.default_rng(9)
    first = rng.random(600) < 0.5
    tokens = np.stack([np.where(first, 0, 1), rng.integers(2, 9, 600)], axis=1)
    rows = Examples(
        rng.normal(size=(9, 6)).astype(np.float32), tokens.ravel(), np.arange(601) * 2, first.astype(np.int8)
    )
    asked = {"counts": True, "num_leaves": 4, "min_data_in_leaf": 5, "learning_rate": 0.1, "feature_fraction": "auto"}
    asked |= {"bagging_fraction": 1.0, "num_iterations": 300, "early_stopping_round": 300}
    run = Run(1, asked, Part(np.arange(400), np.arange(400, 600)))
    source = boosted_trees.fit(rows, [run])
    assert source.losses[0] < 1e-3
    flipped = Examples(rows.vectors, rows.tokens, rows.offsets, (1 - rows.labels).astype(np.int8))
    tuned, _ = boosted_trees.tune(source, flipped, [run], head_only=False)
    assert tuned.losses[0] < 0.1


@pytest.mark.parametrize("depths", [(), (0.1, 0.5)])
def test_a_tuned_forest_keeps_its_sources_trees_where_patience_ends_it(depths: tuple[float, ...]) -> None:
    rows = with_signal(made_examples(np.random.default_rng(12), 900, 9, 5))
    asked = {"counts": True, "num_leaves": 2, "min_data_in_leaf": 5, "learning_rate": 0.05, "feature_fraction": "auto"}
    asked |= {"bagging_fraction": 1.0, "num_iterations": 200, "early_stopping_round": 5}
    source = boosted_trees.fit(rows, [Run(1, asked, Part(np.arange(300), np.arange(300, 450)))])
    part = Part(np.arange(450, 700), np.arange(700, 900))
    tuned, along = boosted_trees.tune(source, rows, [Run(1, asked, part)], False, depths)
    assert tuned.kept[0] >= source.kept[0] > 10
    assert tuned.steps < 200
    own, after = (forest.boosters[0].dump_model()["tree_info"] for forest in (source, tuned))
    assert [tree["tree_structure"] for tree in after[: len(own)]] == [tree["tree_structure"] for tree in own]
    # what is kept is what was measured
    features, check = pool(rows, counts=True), part.check
    said = expit(tuned.boosters[0].predict(features[check], raw_score=True))
    assert -np.mean(np.log(np.where(rows.labels[check], said, 1 - said))) == pytest.approx(tuned.losses[0], rel=1e-6)
    assert [forest.kept[0] for forest in along] == [source.kept[0] + round(depth * 200) for depth in depths]
    for forest in along:
        assert forest.boosters[0].current_iteration() >= forest.kept[0]


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


@settings(max_examples=80, deadline=None)
@given(
    probability=hypothesis_numpy.arrays(np.float64, 30, elements=st.floats(0, 1)),
    labels=hypothesis_numpy.arrays(np.int8, 30, elements=st.integers(0, 1)),
    turned=st.booleans(),
)
def test_recalibration_never_changes_the_auroc(probability: Any, labels: Any, turned: bool) -> None:
    """Whatever the model says, also where it ranks the wrong way round, says 0 or 1, or two rows differ by a bit."""
    labels[:2], labels[-2:] = (0, 1), (0, 1)
    if turned:
        probability = np.sort(probability)
        labels = np.sort(labels)[::-1].copy()
        labels[:10], labels[20:] = [1, 0] * 5, [1, 0] * 5
    part = Part(np.arange(20), np.arange(20, 30))
    _, [coefficients] = recalibrate.recalibrate(probability[None], labels, part)
    logits = recalibrate.to_logit(probability)
    for tried in (coefficients, recalibrate.intercept_and_slope(logits[:20], labels[:20]), (30.0, 20.0)):
        made = recalibrate.apply(probability, tried)
        assert ((made >= 0) & (made <= 1)).all()
        assert roc_auc_score(labels, made) == roc_auc_score(labels, probability)


def test_a_model_that_ranks_the_wrong_way_round_is_not_turned_round() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=2000)
    labels = (rng.random(2000) < expit(-logits - 1)).astype(np.int8)
    shift, slope = recalibrate.intercept_and_slope(logits, labels)
    assert slope == recalibrate.LEAST_SLOPE
    assert recalibrate.apply(expit(logits), (shift, slope)).mean() == pytest.approx(labels.mean(), abs=1e-3)


def test_an_edge_that_is_chosen_is_extended_once_and_told() -> None:
    """A learner whose loss is lowest at 8; it is the same for every seed."""

    @dataclass
    class Found:
        values: list[float]
        steps: int = 1

        @property
        def losses(self) -> list[float]:
            return [abs(value - 8) for value in self.values]

        @property
        def kept(self) -> list[int]:
            return [1] * len(self.values)

        def take(self, members: Any) -> "Found":
            return Found([self.values[i] for i in members])

        def join(self, others: Any) -> "Found":
            return Found([*self.values, *(value for one in others for value in one.values)])

    class Limits:
        cap = None

        def beyond(self, name: str, tried: Any, chosen: Any) -> Any:
            return Setting("a number", POSITIVE).beyond(tried, chosen)

    trained: list[float] = []

    def train(runs: Any, depths: Any) -> Any:
        trained.extend(run.settings["x"] for run in runs)
        return Found([run.settings["x"] for run in runs]), []

    def spent_on(*values: float) -> Spent:
        budget = Budget({}, {"x": values}, 9, 2, 5, 1, 10, True)
        model, _, [spent] = search(train, [Part(np.arange(1), np.arange(1))], budget, Limits())
        assert model.values == [spent.chosen["x"]] * 2
        return spent

    for values, chosen, extended, at_edge, trials in (
        ((2, 4, 8, 16), 8, [], [], 4),
        ((2, 4), 8, ["x"], ["x"], 3),  # better still, and nobody knows how much further
        ((4, 8), 8, ["x"], [], 3),  # the range contained its best value
        ((16, 32), 8, ["x"], ["x"], 3),
        ((3,), 3, [], [], 1),  # a fixed setting is none that is searched
    ):
        trained.clear()
        spent = spent_on(*values)
        assert (spent.chosen["x"] if spent.chosen else values[0]) == chosen
        assert (spent.extended, spent.at_edge, spent.trials) == (extended, at_edge, trials)
        assert len(trained) == (trials + 1 if trials > 1 else 2)  # the first seed is there since its trial


@pytest.mark.parametrize(
    ("schema", "tried", "chosen", "further"),
    [
        (POSITIVE, [0.001, 0.003, 0.01], 0.01, 0.0333),
        (POSITIVE, [0.001, 0.003, 0.01], 0.003, None),
        (BELOW_ONE, [0.3, 0.6], 0.6, 0.8),  # half the way to where it has to stay below
        (SHARE, [0.3, 0.6], 0.6, 1.0),
        (SHARE, [0.5, 1.0], 1.0, None),  # the limit of the setting is no edge
        (SHARE, [0.0, 0.5], 0.5, None),  # no ratio
        ({"type": "integer", "minimum": 2}, [2, 4, 8], 8, 16),
        ({"type": "integer", "minimum": 2}, [2, 4, 8], 2, None),
        ({"type": "integer", "minimum": 2}, [3, 7], 3, 2),
        ({"type": "boolean"}, [True, False], True, None),
    ],
)
def test_a_step_beyond_an_edge_has_the_same_ratio(schema: Any, tried: list[Any], chosen: Any, further: Any) -> None:
    assert Setting("a number", schema).beyond(tried, chosen) == further
    assert Setting("a number", schema, extends=False).beyond(tried, chosen) is None


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


def test_a_path_goes_on_though_the_loss_rises_before_it_falls() -> None:
    """Many rare tokens carry the signal, so the first ones to enter are noise."""
    rng = np.random.default_rng(8)
    held = rng.random((800, 87)) < np.repeat([0.3, 0.01], [24, 63])
    risk = 1 / (1 + np.exp(1 - held[:, 24:] @ np.where(np.arange(63) % 2, 4, -4)))
    row, token = np.nonzero(held)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=800))])
    rows = Examples(OneHot(87, 0.0, 1.0), token, offsets, (rng.random(800) < risk).astype(np.int8))
    path = {name: Logistic.default("fair")[name] for name in Logistic.settings}
    part = Part(np.arange(600), np.arange(600, 800))
    model = regression.fit(rows, [Run(1, path, part)])
    [first] = regression.fit(rows, [Run(1, path | {"penalty": 1.0, "penalties": 1}, part)]).losses
    assert model.losses[0] < 0.75 * first
    assert (model.coefficients != 0).sum() > 60
