"""The transformer: the function that plain PyTorch computes, of events whose order, padding and neighbours do not
count, and which learns from time and from values."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import plain_transformer
from conceptbridge.learn.networks import event_engine
from conceptbridge.learn.networks.event_engine import EventNetwork
from conceptbridge.learn.networks.events import chunks, events_of
from conceptbridge.learn.networks.importance import importance
from conceptbridge.learn.registry import learner
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import Part, Run
from made_site import WIDTH, made_examples

SETTINGS: dict[str, Any] = {"width": 16, "blocks": 2, "heads": 4, "tokens": 100, "dropout": 0.1, "batch": 16}
SETTINGS |= {"weight_decay": 0.01, "learning_rate": 0.003, "min_pass_steps": 4, "max_pass_steps": 4, "max_passes": 2}
SETTINGS |= {"checks_per_pass": 1, "patience": 2}
NOBODY = np.empty(0, np.int64)


def made(seed: int, rows: int, tokens: int, longest: int) -> Examples:
    """Rows of events with days, and a value in every third."""
    rng = np.random.default_rng(seed)
    plain = made_examples(rng, rows, tokens, longest)
    count = len(plain.tokens)
    values = np.where(rng.random(count) < 1 / 3, rng.normal(size=count), np.nan).astype(np.float32)
    return replace(plain, days=-rng.integers(0, 400, count).astype(np.int16), values=values)


def runs_of(rows: Examples, seeds: int = 1, check: np.ndarray = NOBODY, **asked: Any) -> list[Run]:
    train = np.setdiff1d(np.arange(len(rows)), check)
    return [Run(seed, SETTINGS | asked, Part(train, check)) for seed in range(1, seeds + 1)]


def take(rows: Examples, chosen: np.ndarray) -> Examples:
    """The rows at these positions."""
    events = [np.arange(rows.offsets[i], rows.offsets[i + 1]) for i in chosen]
    at = np.concatenate([*events, NOBODY])
    assert rows.days is not None and rows.values is not None
    return Examples(
        rows.vectors,
        rows.tokens[at],
        np.concatenate([[0], np.cumsum([len(one) for one in events])]),
        rows.labels[chosen],
        rows.days[at],
        rows.values[at],
    )


@pytest.fixture(scope="module")
def rows() -> Examples:
    return made(1, 120, 9, 12)


@pytest.fixture(scope="module")
def network(rows: Examples) -> EventNetwork:
    """Two members, trained a little."""
    return event_engine.fit(rows, runs_of(rows, 2))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 12), tokens=st.integers(1, 9), longest=st.integers(0, 7))
def test_a_prediction_is_that_of_plain_pytorch(seed: int, rows: int, tokens: int, longest: int) -> None:
    given_rows = made(seed, rows, tokens, longest)
    trained = event_engine.fit(given_rows, runs_of(given_rows, 2, min_pass_steps=2, max_pass_steps=2))
    for k, predicted in enumerate(event_engine.predict(trained, given_rows)):
        weights = {name: array[k] for name, array in trained.weights.items()}
        np.testing.assert_allclose(predicted, plain_transformer.predict(weights, given_rows), atol=1e-5)


def test_the_order_of_a_days_events_changes_nothing(rows: Examples, network: EventNetwork) -> None:
    # all events of a row on three days, and more than the network sees
    assert rows.days is not None and rows.values is not None
    rows = replace(rows, days=(rows.days // 200 * 200).astype(np.int16))
    assert rows.days is not None and rows.values is not None
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(rows.tokens)), rows.days, rows.row_of))
    shuffled = replace(rows, tokens=rows.tokens[order], days=rows.days[order], values=rows.values[order], cache={})
    assert (shuffled.tokens != rows.tokens).any()
    for seen in (network, replace(network, tokens=5)):
        expected = event_engine.predict(seen, rows)
        np.testing.assert_allclose(event_engine.predict(seen, shuffled), expected, atol=1e-6)
    days = replace(rows, days=np.roll(rows.days, 1))
    assert np.abs(event_engine.predict(network, days) - event_engine.predict(network, rows)).max() > 1e-4


def test_rows_beside_a_row_and_padding_change_nothing(rows: Examples, network: EventNetwork) -> None:
    together = event_engine.predict(network, rows)
    for i in (0, 1, int(rows.lengths.argmax()), int(rows.lengths.argmin())):
        alone = event_engine.predict(network, take(rows, np.array([i])))
        np.testing.assert_allclose(alone[:, 0], together[:, i], atol=1e-6)


def test_a_row_without_events_has_a_prediction(rows: Examples, network: EventNetwork) -> None:
    empty = Examples(rows.vectors, NOBODY, np.zeros(4, np.int64), np.zeros(3, np.int8))
    predicted = event_engine.predict(network, empty)
    assert np.isfinite(predicted).all()
    assert (predicted == predicted[:, :1]).all()


def test_only_the_last_events_are_seen() -> None:
    rows = made(3, 40, 6, 20)
    assert rows.days is not None and rows.values is not None
    order = np.lexsort((rows.days, rows.row_of))
    rows = replace(rows, tokens=rows.tokens[order], days=rows.days[order], values=rows.values[order])
    events = events_of(rows, 4)
    for i in range(len(rows)):
        own = np.arange(rows.offsets[i], rows.offsets[i + 1])
        of_row = events.origin[events.begin[i] : events.begin[i + 1]]
        assert rows.days is not None
        np.testing.assert_array_equal(np.sort(rows.days[of_row]), np.sort(rows.days[own])[-4:])
    trained = event_engine.fit(rows, runs_of(rows, tokens=4))
    last = take(rows, np.arange(len(rows)))
    seen = Examples(last.vectors, events.tokens, events.begin, last.labels, rows.days[events.origin], events.values)
    np.testing.assert_allclose(event_engine.predict(trained, rows), event_engine.predict(trained, seen), atol=1e-6)


def test_a_chunk_is_no_larger_than_asked_and_all_rows_are_in_one() -> None:
    rows = made(4, 300, 5, 60)
    events = events_of(rows, 50)
    some = list(chunks(events, np.arange(300), 256))
    assert sorted(np.concatenate(some).tolist()) == list(range(300))
    assert all(len(one) * (events.lengths[one].max() + 1) <= 256 for one in some)


def test_one_hot_vectors_are_never_written_out_and_yet_the_same() -> None:
    written = made(2, 60, 7, 5)
    never = OneHot(7, center=1 / 7, scale=3.0)
    dense = replace(written, vectors=((np.eye(7) - never.center) * never.scale).astype(np.float32))
    sparse = replace(written, vectors=never, cache={})
    results = [event_engine.predict(event_engine.fit(rows, runs_of(rows)), rows) for rows in (dense, sparse)]
    np.testing.assert_allclose(results[0], results[1], atol=1e-4)


def test_equal_seeds_give_equal_bytes_and_others_do_not(rows: Examples) -> None:
    first, again = (event_engine.fit(replace(rows, cache={}), runs_of(rows, 2)) for _ in range(2))
    for name, array in first.weights.items():
        assert array.tobytes() == again.weights[name].tobytes(), name
    assert not np.array_equal(first.weights["head"][0], first.weights["head"][1])


@pytest.mark.parametrize("head_only", [True, False])
def test_tuning_the_head_leaves_the_body_as_it_was(rows: Examples, network: EventNetwork, head_only: bool) -> None:
    tuned, along = event_engine.tune(network, rows, runs_of(rows, 2), head_only, depths=[0.0, 1.0])
    moved = {name for name, array in tuned.weights.items() if not np.array_equal(array, network.weights[name])}
    assert moved == ({"head", "head_bias"} if head_only else set(network.weights))
    np.testing.assert_array_equal(event_engine.predict(along[0], rows), event_engine.predict(network, rows))
    np.testing.assert_array_equal(event_engine.predict(along[1], rows), event_engine.predict(tuned, rows))


@pytest.mark.parametrize("center", [1 / 7, 0.0], ids=["centred", "raw"])
def test_new_columns_change_no_row_without_them_and_can_be_trained(center: float) -> None:
    drawn = made(4, 60, 7, 5)
    known = replace(drawn, vectors=OneHot(7, center, 3.0))
    source = event_engine.fit(known, runs_of(known, 2))
    wide = OneHot(10, 1 / 10 if center else 0.0, 3.0, added=3)
    assert event_engine.widen(source, wide, head_only=True) is None  # what reads the columns is frozen
    widened = event_engine.widen(source, wide, head_only=False)
    assert widened is not None
    as_before = event_engine.predict(widened, replace(drawn, vectors=wide))
    np.testing.assert_allclose(as_before, event_engine.predict(source, known), atol=1e-6)
    new = Examples(wide, np.repeat(np.arange(7, 10), 20), np.arange(61), (np.arange(60) < 20).astype(np.int8))
    tuned, _ = event_engine.tune(widened, new, runs_of(new, 2, max_passes=30, learning_rate=0.01), False)
    probability = event_engine.predict(tuned, new)
    assert probability[:, :20].min() > probability[:, 20:].max()


def signal(kind: str, rows: int = 1500) -> Examples:
    """Rows that hold the same tokens; the outcome depends on the day of one of them, or on its value."""
    rng = np.random.default_rng(7)
    labels, length = rng.integers(0, 2, rows).astype(np.int8), 5
    tokens = np.tile(np.arange(length), (rows, 1))
    days = -rng.integers(0, 300, (rows, length))
    values = np.where(tokens < 3, rng.normal(size=tokens.shape), np.nan)
    if kind == "time":  # one of two tokens came last
        days[:, 0], days[:, 1] = np.where(labels, -2, -90), np.where(labels, -90, -2)
    else:
        values[:, 0] = np.where(labels, 1, -1) + 0.5 * rng.normal(size=rows)
    vectors = rng.normal(size=(length, WIDTH)).astype(np.float32) * 5
    offsets = np.arange(rows + 1) * length
    flat = (days.ravel().astype(np.int16), values.ravel().astype(np.float32))
    return Examples(vectors, tokens.ravel(), offsets, labels, *flat)


@pytest.mark.parametrize("kind", ["time", "value"])
def test_it_learns_from_when_and_how_much_where_a_bag_cannot(kind: str) -> None:
    rows = signal(kind)
    test, check = np.arange(1000, 1500), np.arange(800, 1000)
    asked = {"min_pass_steps": 50, "max_pass_steps": 50, "max_passes": 5, "batch": 32}
    run = Run(1, SETTINGS | asked, Part(np.arange(800), check))
    [probability] = event_engine.predict(event_engine.fit(rows, [run]), rows)
    assert roc_auc_score(rows.labels[test], probability[test]) > 0.9
    bag = learner("cnn")
    cnn = {key: value for key, value in bag.default("fair").items() if key not in bag.tuning}
    run = Run(1, cnn | {"learning_rate": 0.01, "max_passes": 3}, run.part)
    [probability] = bag.predict(bag.fit(rows, [run]), rows)
    assert roc_auc_score(rows.labels[test], probability[test]) < 0.6


def test_importance_adds_up_to_the_prediction_and_finds_what_was_planted() -> None:
    rng = np.random.default_rng(3)
    drawn = made_examples(rng, 600, 12, 8)
    has = np.bincount(drawn.row_of, drawn.tokens == 4, len(drawn)) > 0
    rows = replace(drawn, labels=(rng.random(600) < np.where(has, 0.9, 0.1)).astype(np.int8))
    asked = {"min_pass_steps": 40, "max_pass_steps": 40, "max_passes": 6, "batch": 32}
    trained = event_engine.fit(rows, runs_of(rows, 2, **asked))
    found = importance(trained, rows)
    assert found.shape == (2, len(rows.tokens))
    logit = np.log(event_engine.predict(trained, rows) / (1 - event_engine.predict(trained, rows)))
    empty = Examples(rows.vectors, NOBODY, np.zeros(2, np.int64), np.zeros(1, np.int8))
    without = np.log(event_engine.predict(trained, empty) / (1 - event_engine.predict(trained, empty)))
    for member, numbers in enumerate(found):
        summed = np.bincount(rows.row_of, numbers, len(rows))
        np.testing.assert_allclose(summed, logit[member] - without[member], atol=1e-3)
        of_token = np.bincount(rows.tokens, numbers, 12) / np.bincount(rows.tokens, minlength=12)
        assert of_token.argmax() == 4
        assert of_token[4] > 2 * np.abs(np.delete(of_token, 4)).max()
