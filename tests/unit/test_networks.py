"""The networks against plain PyTorch: nothing padded, nothing repeated, and still the same function."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import plain_networks
from conceptbridge.learn.networks import cnn, token_table
from conceptbridge.learn.networks.descent import steps_per_pass
from conceptbridge.learn.networks.gradient_descent import NetworkEngine
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import AT_CAP, EXTENDED, WITHIN, Part, Run, cross_entropy
from made_site import WIDTH, made_examples
from plain_networks import Plain

SETTINGS: dict[str, Any] = {
    "filters": 8,
    "dropout": 0.0,
    "batch": 16,
    "weight_decay": 0.001,
    "momentum": 0.9,
    "learning_rate": 0.01,
}


def steps(count: int, every: int | None = None, patience: int | None = None) -> dict[str, Any]:
    """Settings of at most ``count`` steps, with a look ``every`` so many, and a ``patience`` of so many: passes of as
    many steps as are between two looks."""
    every = every or count
    length = {"min_pass_steps": every, "max_pass_steps": every, "max_passes": count // every, "checks_per_pass": 1}
    return length | {"patience": count // every if patience is None else patience // every}


SETTINGS |= steps(3)
PLAIN = {cnn.ENGINE: plain_networks.cnn}
NOBODY = np.empty(0, np.int64)


def in_windows(rows: Examples, windows: int) -> Examples:
    """The same rows, with each token in one of so many windows."""
    drawn = np.random.default_rng(windows).integers(0, windows, len(rows.tokens)).astype(np.int8)
    return replace(rows, windows=windows, in_window=drawn if windows > 1 else None, cache={})


engines = pytest.mark.parametrize("engine", [cnn.ENGINE], ids=["cnn"])
#: the token table of a small vocabulary, and that of a large one
tables = pytest.mark.parametrize("gram_tokens", [token_table.GRAM_TOKENS, 0], ids=["gram", "vectors"])


def runs_of(given_rows: Examples, asked: dict[str, Any], seeds: int = 1, check: bool = False) -> list[Run]:
    everybody = np.arange(len(given_rows))
    part = Part(everybody, everybody if check else NOBODY)
    return [Run(seed, asked, part) for seed in range(1, seeds + 1)]


SIZES = {
    "seed": st.integers(0, 10**6),
    "rows": st.integers(1, 12),
    "tokens": st.integers(1, 9),
    "longest": st.integers(0, 7),
}


@engines
@settings(max_examples=40, deadline=None)
@given(**SIZES, windows=st.integers(1, 3))
def test_a_prediction_is_the_plain_networks(
    engine: NetworkEngine, seed: int, rows: int, tokens: int, longest: int, windows: int
) -> None:
    given_rows = in_windows(made_examples(np.random.default_rng(seed), rows, tokens, longest), windows)
    network = engine.fit(given_rows, runs_of(given_rows, SETTINGS, seeds=2))
    result = engine.predict(network, given_rows)
    for k in range(2):
        weights = {name: torch.from_numpy(array[k]) for name, array in network.weights.items()}
        np.testing.assert_allclose(result[k], Plain(PLAIN[engine], given_rows).predict(weights), atol=1e-5)


@engines
def test_a_saved_network_predicts_as_it_did(engine: NetworkEngine, tmp_path: Path) -> None:
    rows = made_examples(np.random.default_rng(0), 80, 9, 12)
    network = engine.fit(rows, runs_of(rows, SETTINGS, seeds=2))
    loaded = engine.load(tmp_path, network.save(tmp_path))
    np.testing.assert_array_equal(engine.predict(network, rows), engine.predict(loaded, rows))


@engines
@pytest.mark.parametrize("frozen", [False, True], ids=["all", "head"])
@pytest.mark.parametrize(
    ("tokens", "gram_tokens", "windows"),
    [(12, 2000, 1), (12, 0, 1), (3, 0, 1), (2500, 2000, 1), (12, 2000, 3), (12, 0, 3)],
)
def test_training_is_plain_pytorchs_step_by_step(
    engine: NetworkEngine, frozen: bool, tokens: int, gram_tokens: int, windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_table, "GRAM_TOKENS", gram_tokens)
    rows = in_windows(made_examples(np.random.default_rng(5), 80, tokens, 9 if tokens < 100 else 70), windows)
    check = np.arange(60, 80)
    asked = SETTINGS | {"dropout": 0.5, "weight_decay": 0.01} | steps(120, every=1)
    runs = [Run(seed, asked, Part(np.arange(60), check)) for seed in (1, 2)]
    start = engine.fit(rows, [Run(run.seed, asked | steps(10), run.part) for run in runs])
    tuned, along = engine.tune(start, rows, runs, frozen, depths=[step / 120 for step in range(121)])
    plain = Plain(PLAIN[engine], rows)
    for k, run in enumerate(runs):
        states = list(plain.train({name: array[k] for name, array in start.weights.items()}, run, frozen))
        wanted = np.array([loss for _, loss in states])
        losses = [cross_entropy(rows.labels[check], engine.predict(network, rows)[k, check]) for network in along]
        np.testing.assert_allclose(losses, wanted, atol=1e-5)
        assert tuned.losses[k] == pytest.approx(wanted.min(), abs=1e-5)
        assert wanted[tuned.kept[k]] == pytest.approx(wanted.min(), abs=1e-5)
        for name, tensor in states[-1][0].items():
            np.testing.assert_allclose(along[-1].weights[name][k], tensor.detach(), atol=2e-5, err_msg=name)
            np.testing.assert_allclose(along[0].weights[name][k], start.weights[name][k], atol=1e-6)
            if frozen and not name.startswith("head"):
                np.testing.assert_array_equal(tuned.weights[name][k], start.weights[name][k], name)


@engines
def test_one_hot_vectors_are_never_written_out_and_yet_the_same(engine: NetworkEngine) -> None:
    written = made_examples(np.random.default_rng(2), 16, 7, 5)
    never = OneHot(7, center=1 / 7, scale=3.0)
    dense = Examples(
        ((np.eye(7) - never.center) * never.scale).astype(np.float32), written.tokens, written.offsets, written.labels
    )
    sparse = Examples(never, written.tokens, written.offsets, written.labels)
    results = [engine.predict(engine.fit(rows, runs_of(rows, SETTINGS | steps(20))), rows) for rows in (dense, sparse)]
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)


@engines
@tables
def test_a_run_has_the_same_numbers_whatever_runs_beside_it(
    engine: NetworkEngine, gram_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_table, "GRAM_TOKENS", gram_tokens)
    rng = np.random.default_rng(3)
    rows = made_examples(rng, 60, 40, 9)
    asked = SETTINGS | {"dropout": 0.5} | steps(60, every=5, patience=20)
    part, other = Part(np.arange(30), np.arange(30, 50)), Part(np.arange(20, 60), np.arange(20))
    alone = engine.fit(rows, [Run(2, asked, part)])
    # one of the others runs out of patience long before it
    several = [Run(1, asked, part), Run(2, asked, part), Run(3, asked | {"learning_rate": 3.0}, other)]
    among = engine.fit(rows, several)
    for name, array in alone.weights.items():
        np.testing.assert_array_equal(array[0], among.weights[name][1], name)
    assert alone.losses[0] == among.losses[1]
    assert alone.kept[0] == among.kept[1]


@engines
@tables
@settings(max_examples=25, deadline=None)
@given(**SIZES, more=st.integers(1, 5))
def test_neither_the_order_of_tokens_nor_other_rows_change_a_network(
    engine: NetworkEngine, gram_tokens: int, seed: int, rows: int, tokens: int, longest: int, more: int
) -> None:
    rng = np.random.default_rng(seed)
    before = made_examples(rng, rows, tokens, longest)
    assert isinstance(before.vectors, np.ndarray)
    # the same rows in another vocabulary: positions permuted, tokens added, and a row that has them
    index = rng.permutation(tokens + more)
    vectors = np.empty((tokens + more, WIDTH), np.float32)
    vectors[index] = np.concatenate([before.vectors, rng.normal(size=(more, WIDTH)).astype(np.float32)])
    new = np.repeat(index[tokens:], 3)
    offsets = np.concatenate([before.offsets, [before.offsets[-1] + len(new)]])
    labels = np.append(before.labels, 0).astype(np.int8)
    after = Examples(vectors, np.concatenate([index[before.tokens], new]), offsets, labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_table, "GRAM_TOKENS", gram_tokens)
        runs = runs_of(before, SETTINGS, check=True)
        networks = [engine.fit(given_rows, runs) for given_rows in (before, after)]
    for network in networks:
        np.testing.assert_allclose(
            engine.predict(network, after)[:, :rows], engine.predict(networks[0], before), atol=1e-6
        )


@engines
def test_a_run_without_patience_left_is_over_and_marks_change_nothing(engine: NetworkEngine) -> None:
    rng = np.random.default_rng(8)
    rows = made_examples(rng, 60, 40, 9)
    asked = SETTINGS | {"learning_rate": 1.0} | steps(200, every=5, patience=20)
    runs = [Run(seed, asked, Part(np.arange(30), np.arange(30, 60))) for seed in (1, 2, 3)]
    start = engine.fit(
        rows, [Run(seed, asked | {"learning_rate": 0.01} | steps(5), run.part) for seed, run in enumerate(runs)]
    )
    plain, _ = engine.tune(start, rows, runs, head_only=False)
    marked, along = engine.tune(start, rows, runs, head_only=False, depths=[0.5, 1.0])
    assert plain.steps < marked.steps == 3 * 200
    assert plain.kept == marked.kept
    assert plain.losses == marked.losses
    for name, array in plain.weights.items():
        np.testing.assert_array_equal(array, marked.weights[name], name)
    assert len(along) == 2


@pytest.mark.parametrize(
    ("rows", "limits", "wanted"),
    [
        (6400, (100, 0), 200),  # each row once
        (6401, (100, 0), 201),
        (300, (100, 0), 100),  # ten times each: a small hospital is not starved
        (6400, (100, 100), 100),  # the paper's, whatever the rows
        (50, (100, 100), 100),
    ],
)
def test_a_pass_is_each_row_once_within_limits(rows: int, limits: tuple[int, int], wanted: int) -> None:
    asked = {"batch": 32, "min_pass_steps": limits[0], "max_pass_steps": limits[1]}
    assert steps_per_pass(rows, asked) == wanted


@engines
def test_a_cap_is_doubled_once_for_a_run_that_validation_loss_has_not_ended(engine: NetworkEngine) -> None:
    drawn = made_examples(np.random.default_rng(1), 120, 9, 5)
    labels = np.array([0 in tokens for tokens in np.split(drawn.tokens, drawn.offsets[1:-1])]).astype(np.int8)
    rows = Examples(drawn.vectors, drawn.tokens, drawn.offsets, labels)
    part = Part(np.arange(80), np.arange(80, 120))

    def capped(max_passes: int, patience: int, check: bool = True) -> tuple[int, int]:
        asked = SETTINGS | {"learning_rate": 1e-5} | steps(10) | {"max_passes": max_passes, "patience": patience}
        network = engine.fit(rows, [Run(1, asked, part if check else Part(part.train, NOBODY))])
        return network.steps // 10, network.capped[0]

    assert capped(4, 2) == (8, AT_CAP)  # so slow that every look finds it better
    assert capped(4, 4) == (4, WITHIN)  # patience cannot end it: a fixed number of passes
    assert capped(4, 2, check=False) == (4, WITHIN)
    learns = SETTINGS | {"learning_rate": 0.3} | steps(10) | {"max_passes": 1000, "patience": 10}
    ended = engine.fit(rows, [Run(1, learns, part)])
    assert ended.capped == [WITHIN]
    assert ended.kept[0] + 100 == ended.steps > 110
    beyond = engine.fit(rows, [Run(1, learns | {"max_passes": ended.steps // 10 - 1}, part)])
    assert beyond.capped == [EXTENDED]
    assert beyond.kept == ended.kept


@engines
@pytest.mark.parametrize("center", [1 / 7, 0.0], ids=["centred", "raw"])
def test_new_columns_change_no_row_without_them_and_can_be_trained(engine: NetworkEngine, center: float) -> None:
    rng = np.random.default_rng(4)
    drawn = made_examples(rng, 60, 7, 5)
    known = Examples(OneHot(7, center, 3.0), drawn.tokens, drawn.offsets, drawn.labels)
    source = engine.fit(known, runs_of(known, SETTINGS | steps(20), seeds=2))
    wide = OneHot(10, 1 / 10 if center else 0.0, 3.0, added=3)
    as_before = Examples(wide, drawn.tokens, drawn.offsets, drawn.labels)
    assert engine.widen(source, wide, head_only=True) is None  # what reads the columns is frozen
    widened = engine.widen(source, wide, head_only=False)
    assert widened is not None
    np.testing.assert_allclose(engine.predict(widened, as_before), engine.predict(source, known), atol=1e-6)
    new = Examples(wide, np.repeat(np.arange(7, 10), 20), np.arange(61), (np.arange(60) < 20).astype(np.int8))
    tuned, _ = engine.tune(widened, new, runs_of(new, SETTINGS | {"learning_rate": 0.1} | steps(200), 2), False)
    probability = engine.predict(tuned, new)
    assert probability[:, :20].min() > probability[:, 20:].max()
