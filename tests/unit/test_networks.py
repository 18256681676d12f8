"""The networks against plain references: nothing padded, nothing repeated, and still the same function."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from conceptbridge.learn.networks import attention, cnn, compiled, shares
from conceptbridge.learn.networks.network import Network
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import Part, Run
from made_site import WIDTH, made_examples

CNN: dict[str, Any] = {
    "filters": 8,
    "widths": [1],
    "projection": 0,
    "dropout": 0.0,
    "batch": 16,
    "weight_decay": 0.001,
    "momentum": 0.9,
    "learning_rate": 0.01,
    "steps": 3,
    "check_every": 3,
    "patience": 100,
}
ATTENTION = CNN | {"units": 8, "heads": 2}
NOBODY = np.empty(0, np.int64)


def runs_of(given_rows: Examples, asked: dict[str, Any], seeds: int = 1, check: bool = False) -> list[Run]:
    everybody = np.arange(len(given_rows))
    part = Part(everybody, everybody if check else NOBODY)
    return [Run(seed, asked, part) for seed in range(1, seeds + 1)]


def one_seed(network: Network, seed: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array[seed]) for name, array in network.weights.items()}


def reference(w: dict[str, torch.Tensor], given_rows: Examples, widths: list[int]) -> torch.Tensor:
    """The paper's network as written down: nn.Conv1d over each padded record, padding masked before the maximum."""
    assert isinstance(given_rows.vectors, np.ndarray)
    longest = max(int(given_rows.lengths.max(initial=0)), 1) + max(widths)
    padded = torch.zeros(len(given_rows), given_rows.vectors.shape[1], longest)
    mask = torch.zeros(len(given_rows), 1, longest)
    for i, (begin, length) in enumerate(zip(given_rows.offsets, given_rows.lengths, strict=False)):
        padded[i, :, :length] = torch.from_numpy(given_rows.vectors[given_rows.tokens[begin : begin + length]]).T
        mask[i, :, :length] = 1
    if "projection" in w:
        padded = torch.einsum("rwl,wp->rpl", padded, w["projection"])
    pooled = []
    for taps in widths:
        filters = w[f"filters-{taps}"].view(padded.shape[1], taps, -1).permute(2, 0, 1)
        made = nn.functional.conv1d(padded, filters, w[f"filter_bias-{taps}"][0])
        pooled.append((torch.relu(made) * mask[:, :, : made.shape[2]]).amax(dim=2))
    return torch.cat(pooled, dim=1) @ w["head"] + w["head_bias"]


def attention_reference(w: dict[str, torch.Tensor], given_rows: Examples) -> torch.Tensor:
    """Attention pooling row by row, with torch's softmax over the row's distinct tokens."""
    assert isinstance(given_rows.vectors, np.ndarray)
    heads, logits = w["scores"].shape[1], []
    for begin, end in zip(given_rows.offsets, given_rows.offsets[1:], strict=False):
        x = torch.from_numpy(given_rows.vectors[np.unique(given_rows.tokens[begin:end])])
        x = torch.relu(x @ w["features"] + w["features_bias"])
        scores = shares.BOUND * torch.tanh((x @ w["scores"] + w["scores_bias"]) / shares.BOUND)
        values = (x @ w["values"] + w["values_bias"]).view(len(x), heads, w["values"].shape[1] // heads)
        pooled = (torch.softmax(scores, dim=0)[:, :, None] * values).sum(dim=0).flatten()
        hidden = torch.relu(pooled @ w["head_hidden"] + w["head_hidden_bias"])
        logits.append(hidden @ w["head"] + w["head_bias"])
    return torch.cat(logits)


def probability(logits: torch.Tensor) -> np.ndarray:
    return torch.softmax(logits.double(), dim=1)[:, 1].detach().numpy()


SIZES = {
    "seed": st.integers(0, 10**6),
    "rows": st.integers(1, 12),
    "tokens": st.integers(1, 9),
    "longest": st.integers(0, 7),
}


@settings(max_examples=40, deadline=None)
@given(**SIZES, widths=st.sampled_from([[1], [3], [1, 2, 4]]), projection=st.sampled_from([0, 3]))
def test_the_batched_network_is_the_papers(
    seed: int, rows: int, tokens: int, longest: int, widths: list[int], projection: int
) -> None:
    given_rows = made_examples(np.random.default_rng(seed), rows, tokens, longest)
    network = cnn.fit(given_rows, runs_of(given_rows, CNN | {"widths": widths, "projection": projection}, seeds=2))
    made = cnn.predict(network, given_rows)
    for k in range(2):
        wanted = probability(reference(one_seed(network, k), given_rows, widths))
        np.testing.assert_allclose(made[k], wanted, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(**SIZES)
def test_attention_is_a_softmax_over_the_distinct_tokens(seed: int, rows: int, tokens: int, longest: int) -> None:
    given_rows = made_examples(np.random.default_rng(seed), rows, tokens, longest)
    network = attention.fit(given_rows, runs_of(given_rows, ATTENTION, seeds=2))
    made = attention.predict(network, given_rows)
    for k in range(2):
        wanted = probability(attention_reference(one_seed(network, k), given_rows))
        np.testing.assert_allclose(made[k], wanted, atol=1e-5)


@pytest.mark.parametrize("tokens", [9, 3])  # as many as the vectors are wide and more; fewer: their span is used
@pytest.mark.parametrize("kind", ["cnn", "cnn of many", "wide", "projected", "attention", "attention of many"])
def test_training_is_that_of_the_reference_with_torchs_optimiser(
    kind: str, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_rows = made_examples(np.random.default_rng(1), 16, tokens, 5)
    asked = {
        "cnn": CNN,
        "cnn of many": CNN,
        "wide": CNN | {"widths": [1, 2]},
        "projected": CNN | {"projection": 3},
        "attention": ATTENTION,
        "attention of many": ATTENTION,
    }[kind]
    module: Any = attention if asked is ATTENTION else cnn
    if "many" in kind:
        monkeypatch.setattr(compiled, "TOKENS", 0)
    start = module.fit(given_rows, runs_of(given_rows, asked | {"steps": 1, "learning_rate": 1e-12}))
    tuned, along = module.tune(start, given_rows, runs_of(given_rows, asked), head_only=False, depths=[0.0, 1.0])
    model = {name: nn.Parameter(torch.tensor(array[0])) for name, array in start.weights.items()}
    optimiser = torch.optim.SGD(model.values(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.001)
    for _ in range(3):  # each batch is all rows in some order: the mean does not see the order
        w: dict[str, torch.Tensor] = dict(model)
        made = attention_reference(w, given_rows) if module is attention else reference(w, given_rows, asked["widths"])
        optimiser.zero_grad()
        nn.functional.cross_entropy(made, torch.from_numpy(given_rows.labels.astype(np.int64))).backward()
        optimiser.step()
    for name, tensor in model.items():
        np.testing.assert_allclose(tuned.weights[name][0], tensor.detach(), atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(along[0].weights[name], start.weights[name], atol=1e-6, rtol=1e-6)
        np.testing.assert_allclose(along[1].weights[name], tuned.weights[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("module", [cnn, attention])
def test_compiled_training_is_pytorchs(module: Any, frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = made_examples(np.random.default_rng(5), 80, 12, 9)
    asked = ATTENTION | {"dropout": 0.5, "steps": 120, "check_every": 10}
    part = Part(np.arange(60), np.arange(60, 80))
    start = module.fit(rows, [Run(seed, asked | {"steps": 10}, part) for seed in (1, 2)])
    runs = [Run(seed, asked, part) for seed in (1, 2)]
    made, along = module.tune(start, rows, runs, frozen, depths=[0.25])
    monkeypatch.setattr(compiled, "TOKENS", 0)
    torchs, torchs_along = module.tune(start, rows, runs, frozen, depths=[0.25])
    assert made.kept == torchs.kept
    assert made.steps == torchs.steps
    np.testing.assert_allclose(made.losses, torchs.losses, rtol=1e-5)
    for own, wanted in ((made, torchs), (along[0], torchs_along[0])):
        for name, array in wanted.weights.items():
            np.testing.assert_allclose(own.weights[name], array, atol=2e-5, err_msg=name)
            if frozen and not name.startswith("head"):
                np.testing.assert_array_equal(own.weights[name], start.weights[name], name)
    np.testing.assert_allclose(module.predict(made, rows), module.predict(torchs, rows), atol=1e-5)


@pytest.mark.parametrize("module", [cnn, attention])
def test_one_hot_vectors_are_never_written_out_and_yet_the_same(module: Any) -> None:
    written = made_examples(np.random.default_rng(2), 16, 7, 5)
    never = OneHot(7, center=1 / 7, scale=3.0)
    dense = Examples(
        ((np.eye(7) - never.center) * never.scale).astype(np.float32), written.tokens, written.offsets, written.labels
    )
    sparse = Examples(never, written.tokens, written.offsets, written.labels)
    made = [
        module.predict(module.fit(rows, runs_of(rows, ATTENTION | {"steps": 20})), rows) for rows in (dense, sparse)
    ]
    np.testing.assert_allclose(made[0], made[1], atol=1e-5)


@pytest.mark.parametrize("module", [cnn, attention])
def test_a_run_has_the_same_numbers_whatever_runs_beside_it(module: Any) -> None:
    rng = np.random.default_rng(3)
    rows = made_examples(rng, 60, 40, 9)
    asked = ATTENTION | {"dropout": 0.5, "steps": 60, "check_every": 5, "patience": 20}
    part, other = Part(np.arange(30), np.arange(30, 50)), Part(np.arange(20, 60), np.arange(20))
    alone = module.fit(rows, [Run(2, asked, part)])
    # one of the others runs out of patience long before it
    beside = [Run(1, asked, part), Run(2, asked, part), Run(3, asked | {"learning_rate": 3.0}, other)]
    among = module.fit(rows, beside)
    for name, array in alone.weights.items():
        np.testing.assert_array_equal(array[0], among.weights[name][1], name)
    assert alone.losses[0] == among.losses[1]
    assert alone.kept[0] == among.kept[1]


@settings(max_examples=25, deadline=None)
@given(**SIZES, more=st.integers(1, 5))
def test_neither_the_order_of_tokens_nor_other_records_change_a_prediction(
    seed: int, rows: int, tokens: int, longest: int, more: int
) -> None:
    rng = np.random.default_rng(seed)
    was = made_examples(rng, rows, tokens, longest)
    assert isinstance(was.vectors, np.ndarray)
    # the same rows in another vocabulary: positions permuted, tokens added, and a record that has them
    place = rng.permutation(tokens + more)
    vectors = np.empty((tokens + more, WIDTH), np.float32)
    vectors[place] = np.concatenate([was.vectors, rng.normal(size=(more, WIDTH)).astype(np.float32)])
    new = np.repeat(place[tokens:], 3)
    offsets = np.concatenate([was.offsets, [was.offsets[-1] + len(new)]])
    now = Examples(vectors, np.concatenate([place[was.tokens], new]), offsets, np.append(was.labels, 0).astype(np.int8))
    for module, asked in ((cnn, CNN), (cnn, CNN | {"widths": [1, 3]}), (attention, ATTENTION)):
        network = module.fit(was, runs_of(was, asked, check=True))
        np.testing.assert_allclose(module.predict(network, now)[:, :rows], module.predict(network, was), atol=1e-6)


def test_a_run_without_patience_left_is_over_and_marks_change_nothing() -> None:
    rng = np.random.default_rng(8)
    rows = made_examples(rng, 60, 40, 9)
    asked = CNN | {"learning_rate": 1.0, "steps": 200, "check_every": 5, "patience": 20}
    runs = [Run(seed, asked, Part(np.arange(30), np.arange(30, 60))) for seed in (1, 2, 3)]
    start = cnn.fit(
        rows, [Run(seed, asked | {"learning_rate": 0.01, "steps": 5}, run.part) for seed, run in enumerate(runs)]
    )
    plain, _ = cnn.tune(start, rows, runs, head_only=False)
    marked, along = cnn.tune(start, rows, runs, head_only=False, depths=[0.5, 1.0])
    assert plain.steps < marked.steps == 3 * 200
    assert plain.kept == marked.kept
    assert plain.losses == marked.losses
    for name, array in plain.weights.items():
        np.testing.assert_array_equal(array, marked.weights[name], name)
    assert len(along) == 2
