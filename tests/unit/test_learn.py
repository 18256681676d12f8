"""Spaces, learners and strategies on a small made-up site."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from conceptbridge.embed.vectors import vector_table
from conceptbridge.errors import StudyError
from conceptbridge.learn import boosting, cnn
from conceptbridge.learn.arms import PREDICTIONS, Budget, Target, read_target, train_local, transfer
from conceptbridge.learn.examples import Examples, SiteRows, examples
from conceptbridge.learn.space import NORM, Space, fit_space, load_space
from conceptbridge.tasks.cohort import SCHEMA as COHORT
from conceptbridge.tasks.sequences import SEQUENCES, TOKENS

CNN = {
    "filters": 8,
    "dropout": 0.5,
    "batch": 16,
    "weight_decay": 0.001,
    "momentum": 0.9,
    "learning_rate": 0.01,
    "steps": 60,
    "tune_learning_rate": 0.01,
    "tune_steps": 30,
    "check_every": 10,
}
BOOST = {
    "leaves": 4,
    "min_leaf": 10,
    "learning_rate": 0.1,
    "feature_share": 0.5,
    "row_share": 0.8,
    "trees": 20,
    "tune_trees": 10,
    "refit_decay": 0.5,
}
LEARNERS = [("cnn", CNN), ("lightgbm", BOOST)]
WIDTH = 6


def vectors_of(texts: list[str], seed: int = 0) -> dict[str, np.ndarray]:
    """A vector for each text: the same text has the same one everywhere."""
    return {t: np.random.default_rng([seed, *t.encode()]).normal(size=WIDTH).astype(np.float32) for t in texts}


def write_site(folder: Path, name: str, texts: list[str], rows: int = 300, events: bool = True, seed: int = 0) -> Path:
    """A site whose outcome depends on its first two concepts, by whatever name; token 0 is the first text."""
    rng = np.random.default_rng(seed)
    held = rng.random((rows, len(texts))) < 0.4
    risk = 1 / (1 + np.exp(-(3 * held[:, 0] - 3 * held[:, 1] - 0.5)))
    labels = (rng.random(rows) < risk) & events
    split = np.array(["train", "validation", "test"])[np.arange(rows) % 3]
    folder.mkdir(parents=True)
    n = np.arange(rows)
    cohort = {
        "row_id": n,
        "person_id": n,
        "index_date": [18000] * rows,
        "label": labels.astype(np.int8),
        "split": split,
        "sex": ["female"] * rows,
        "age": [40] * rows,
        "race": ["unknown"] * rows,
    }
    pq.write_table(
        pa.table({k: pa.array(v, COHORT.field(k).type) for k, v in cohort.items()}, schema=COHORT),
        folder / "cohort.parquet",
    )
    tokens = [
        {
            "token": i,
            "key": f"{text}|present",
            "text": text,
            "concept_id": i,
            "state": "present",
            "domain": "condition",
            "rows": int(held[split == "train", i].sum()),
            "bins": None,
        }
        for i, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(tokens, schema=TOKENS), folder / "tokens.parquet")
    sequences = [{"row_id": i, "tokens": np.flatnonzero(h).tolist(), "days": [0] * h.sum()} for i, h in enumerate(held)]
    pq.write_table(pa.Table.from_pylist(sequences, schema=SEQUENCES), folder / "sequences.parquet")
    vectors = vectors_of(texts)
    pq.write_table(vector_table(sorted(texts), np.stack([vectors[t] for t in sorted(texts)])), folder / "table.parquet")
    return folder


def target(folder: Path, name: str, table: bool = True) -> Target:
    files = [folder / f"{kind}.parquet" for kind in ("cohort", "tokens", "sequences")]
    return read_target(name, *files, folder / "table.parquet" if table else None)


def budget(settings: dict[str, Any], seeds: int = 2, min_events: int = 5) -> Budget:
    return Budget(settings, seeds, min_events, 1, 10, standardise=True)


def embedding(backend: str = "sentence-transformers") -> dict[str, str]:
    return {"name": "made", "fingerprint": "f" * 64, "backend": backend}


def auroc(folder: Path, source: str) -> float:
    from sklearn.metrics import roc_auc_score

    t = pq.read_table(folder / "predictions.parquet").to_pandas()
    t = t[(t.source == source) & (t.split == "test")]
    return float(np.mean([roc_auc_score(g.label, g.probability) for _, g in t.groupby("seed")]))


CONCEPTS = ["cough", "sprain", "fever", "rash", "thirst"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_site(tmp_path / "home", "home", CONCEPTS, seed=1)


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
@pytest.mark.parametrize("backend", ["onehot", "sentence-transformers", "shuffled"])
def test_an_arm_learns_at_home_and_covers_every_row(
    home: Path, tmp_path: Path, learner: str, settings: dict[str, Any], backend: str
) -> None:
    train_local(
        target(home, "home", backend != "onehot"), learner, embedding(backend), budget(settings), tmp_path / "arm"
    )
    made = pq.read_table(tmp_path / "arm/predictions.parquet")
    assert made.schema.equals(PREDICTIONS)
    cohort = pq.read_table(home / "cohort.parquet").to_pandas()
    tested = cohort[cohort.split != "train"]
    for seed in (1, 2):
        part = made.to_pandas()
        part = part[part.seed == seed]
        assert part.row_id.tolist() == tested.row_id.tolist()
        assert part.label.tolist() == tested.label.tolist()
    assert auroc(tmp_path / "arm", "home") > 0.75


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_a_model_meets_the_targets_concepts_by_text_whatever_their_position(
    home: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    train_local(target(home, "home"), learner, embedding(), budget(settings), tmp_path / "home-arm")
    made = []
    for name, order in (("same", CONCEPTS), ("mixed", CONCEPTS[::-1])):
        # the same rows of the same site, its token table in another order
        there = write_site(tmp_path / name, name, CONCEPTS, seed=2)
        if order != CONCEPTS:
            tokens = pq.read_table(there / "tokens.parquet").to_pylist()[::-1]
            place = {t["token"]: i for i, t in enumerate(tokens)}
            pq.write_table(
                pa.Table.from_pylist([t | {"token": i} for i, t in enumerate(tokens)], schema=TOKENS),
                there / "tokens.parquet",
            )
            rows = pq.read_table(there / "sequences.parquet").to_pylist()
            rows = [r | {"tokens": [place[t] for t in r["tokens"]]} for r in rows]
            pq.write_table(pa.Table.from_pylist(rows, schema=SEQUENCES), there / "sequences.parquet")
        out = tmp_path / f"{name}-arm"
        sources = {"home": tmp_path / "home-arm"}
        transfer(target(there, name), learner, "direct", sources, "f" * 64, budget({}), out)
        made.append(pq.read_table(out / "predictions.parquet")["probability"].to_numpy())
    np.testing.assert_allclose(made[0], made[1], rtol=1e-6)
    assert auroc(tmp_path / "same-arm", "home") > 0.75


def test_names_unknown_at_home_are_missing_to_one_hot_and_reached_by_text(home: Path, tmp_path: Path) -> None:
    aliases = ["a cough", "a sprain", "some fever", "a rash", "a thirst"]
    there = write_site(tmp_path / "there", "there", aliases, seed=3)
    vectors = vectors_of(CONCEPTS)
    meanings = np.stack([vectors[c] for c in CONCEPTS])
    pq.write_table(vector_table(aliases, meanings + np.float32(0.01)), there / "table.parquet")
    reached = {}
    for backend in ("onehot", "sentence-transformers", "shuffled"):
        table = backend != "onehot"
        train_local(target(home, "home", table), "cnn", embedding(backend), budget(CNN), tmp_path / backend)
        out = tmp_path / f"{backend}-there"
        transfer(
            target(there, "there", table), "cnn", "direct", {"home": tmp_path / backend}, "f" * 64, budget({}), out
        )
        reached[backend] = auroc(out, "home")
    assert reached["onehot"] == 0.5  # nothing that it knows is there: every row looks the same
    assert reached["sentence-transformers"] > 0.75
    assert reached["sentence-transformers"] > reached["shuffled"] + 0.1


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_direct_sees_no_label_of_the_target(home: Path, tmp_path: Path, learner: str, settings: dict[str, Any]) -> None:
    train_local(target(home, "home"), learner, embedding(), budget(settings), tmp_path / "arm")
    made = []
    for flip in (False, True):
        there = write_site(tmp_path / f"there{flip}", "there", CONCEPTS, seed=4)
        if flip:
            cohort = pq.read_table(there / "cohort.parquet").to_pandas()
            cohort["label"] = (1 - cohort.label).astype("int8")
            pq.write_table(pa.Table.from_pandas(cohort, schema=COHORT), there / "cohort.parquet")
        out = tmp_path / f"out{flip}"
        transfer(target(there, "there"), learner, "direct", {"home": tmp_path / "arm"}, "f" * 64, budget({}), out)
        made.append(pq.read_table(out / "predictions.parquet")["probability"].to_pylist())
    assert made[0] == made[1]


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_no_test_label_changes_a_model(home: Path, tmp_path: Path, learner: str, settings: dict[str, Any]) -> None:
    made = []
    for flip in (False, True):
        if flip:
            cohort = pq.read_table(home / "cohort.parquet").to_pandas()
            cohort.loc[cohort.split == "test", "label"] = 1 - cohort.label
            pq.write_table(pa.Table.from_pandas(cohort, schema=COHORT), home / "cohort.parquet")
        arms = tmp_path / f"arm{flip}"
        train_local(target(home, "home"), learner, embedding(), budget(settings), arms)
        out = tmp_path / f"tuned{flip}"
        transfer(target(home, "home"), learner, "tune-all", {"home": arms}, "f" * 64, budget(settings), out)
        made.append([pq.read_table(p / "predictions.parquet")["probability"].to_pylist() for p in (arms, out)])
    assert made[0] == made[1]


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
@pytest.mark.parametrize("strategy", ["tune-head", "tune-all"])
def test_tuning_never_keeps_what_the_validation_rows_find_worse(
    home: Path, tmp_path: Path, learner: str, settings: dict[str, Any], strategy: str
) -> None:
    """At a site where the first two concepts mean the opposite, tuning has to help."""
    there = write_site(tmp_path / "there", "there", [CONCEPTS[i] for i in (1, 0, 2, 3, 4)], seed=5)
    train_local(target(home, "home"), learner, embedding(), budget(settings), tmp_path / "arm")
    sources = {"home": tmp_path / "arm"}
    results = {}
    for name in ("direct", strategy):
        spent = budget(settings if name != "direct" else {})
        transfer(target(there, "there"), learner, name, sources, "f" * 64, spent, tmp_path / name)
        t = pq.read_table(tmp_path / name / "predictions.parquet").to_pandas()
        v = t[t.split == "validation"]
        results[name] = -np.mean(np.log(np.where(v.label == 1, v.probability, 1 - v.probability)))
    assert results[strategy] < results["direct"]


def test_tune_head_leaves_the_convolution_alone(home: Path, tmp_path: Path) -> None:
    # the first two concepts mean the opposite there, so that the validation rows want a change
    there = write_site(tmp_path / "there", "there", [CONCEPTS[i] for i in (1, 0, 2, 3, 4)], seed=6)
    train_local(target(home, "home"), "cnn", embedding(), budget(CNN), tmp_path / "arm")
    was = cnn.load(tmp_path / "arm/models/home", {"seeds": [1, 2], "spent": [0, 0]}).weights
    moved = {}
    for strategy in ("tune-head", "tune-all"):
        out = tmp_path / strategy
        transfer(target(there, "there"), "cnn", strategy, {"home": tmp_path / "arm"}, "f" * 64, budget(CNN), out)
        now = cnn.load(out / "models/home", {"seeds": [1, 2], "spent": [0, 0]}).weights
        moved[strategy] = {name for name in was if not torch.equal(was[name], now[name])}
    assert moved == {"tune-head": set(cnn.HEAD), "tune-all": set(cnn.HEAD + cnn.CONVOLUTION)}


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_too_few_events_are_a_finding_and_the_reason_travels(
    home: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    quiet = write_site(tmp_path / "quiet", "quiet", CONCEPTS, events=False)
    train_local(target(quiet, "quiet"), learner, embedding(), budget(settings), tmp_path / "arm")
    assert pq.read_table(tmp_path / "arm/predictions.parquet").num_rows == 0
    arm = json.loads((tmp_path / "arm/arm.json").read_text())["sources"]["quiet"]
    assert arm == {
        "train_rows": None,
        "train_events": None,
        "reason": "fewer than 5 events among the training rows at quiet",
    }
    out = tmp_path / "out"
    transfer(target(home, "home"), learner, "direct", {"quiet": tmp_path / "arm"}, "f" * 64, budget({}), out)
    reason = json.loads((out / "arm.json").read_text())["sources"]["quiet"]["reason"]
    assert reason == "no model from quiet: fewer than 5 events among the training rows at quiet"


def test_a_model_refuses_another_embedding_by_name(home: Path, tmp_path: Path) -> None:
    train_local(target(home, "home"), "cnn", embedding(), budget(CNN), tmp_path / "arm")
    with pytest.raises(StudyError, match=r"made with another made \(ffffffffffff\); train it again"):
        sources = {"home": tmp_path / "arm"}
        transfer(target(home, "home"), "cnn", "direct", sources, "0" * 64, budget({}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_a_seed_gives_the_same_model_whatever_runs_beside_it(
    home: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    made = []
    for seeds in (1, 3):
        train_local(target(home, "home"), learner, embedding(), budget(settings, seeds), tmp_path / str(seeds))
        t = pq.read_table(tmp_path / str(seeds) / "predictions.parquet").to_pandas()
        made.append(t[t.seed == 1].probability.to_numpy())
    np.testing.assert_allclose(made[0], made[1], rtol=1e-5)


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_a_saved_model_predicts_as_before(home: Path, tmp_path: Path, learner: str, settings: dict[str, Any]) -> None:
    train_local(target(home, "home"), learner, embedding(), budget(settings), tmp_path / "arm")
    transfer(
        target(home, "home"), learner, "direct", {"home": tmp_path / "arm"}, "f" * 64, budget({}), tmp_path / "out"
    )
    was, now = (pq.read_table(tmp_path / p / "predictions.parquet")["probability"].to_numpy() for p in ("arm", "out"))
    np.testing.assert_allclose(was, now, rtol=1e-6)


def test_a_lightgbm_file_tells_no_count_of_rows(home: Path, tmp_path: Path) -> None:
    train_local(target(home, "home"), "lightgbm", embedding(), budget(BOOST), tmp_path / "arm")
    text = (tmp_path / "arm/models/home/seed-1.txt").read_text()
    counts = re.findall(r"^(?:leaf|internal)_(?:count|weight)=(.*)$", text, flags=re.MULTILINE)
    assert counts
    assert set(" ".join(counts).split()) <= {"0"}


# --- the space ---------------------------------------------------------------------------------------------------


def rows_of(texts: list[str | None], training_rows: list[int]) -> SiteRows:
    empty = np.empty(0, np.int64)
    return SiteRows(
        keys=[f"{t}|present" for t in texts],
        texts=texts,
        training_rows=np.array(training_rows),
        row_ids=empty,
        labels=empty.astype(np.int8),
        split=empty.astype(str),
        tokens=empty.astype(np.int32),
        offsets=np.zeros(1, np.int64),
    )


def table_of(texts: list[str], scale: float = 1.0) -> tuple[list[str], np.ndarray]:
    vectors = vectors_of(texts)
    return texts, np.stack([vectors[t] * np.float32(scale) for t in texts])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 15.0])
def test_standardised_vectors_have_one_scale_whatever_the_embeddings(scale: float) -> None:
    rows = rows_of(["a", "b", "c", "unseen"], [9, 5, 1, 0])
    table = table_of(["a", "b", "c", "unseen"], scale)
    space = fit_space("e", "f", "sentence-transformers", rows, table, min_rows=1, standardise=True)
    made, known = space.vectors(rows, table)
    assert known.all()
    np.testing.assert_allclose(made[:3].mean(axis=0), 0, atol=1e-5)
    assert np.sqrt((made[:3] ** 2).sum(axis=1).mean()) == pytest.approx(NORM, rel=1e-5)


def test_raw_vectors_stay_raw_when_asked_for() -> None:
    rows, table = rows_of(["a", "b"], [1, 1]), table_of(["a", "b"])
    space = fit_space("e", "f", "sentence-transformers", rows, table, min_rows=1, standardise=False)
    np.testing.assert_array_equal(space.vectors(rows, table)[0], table[1])


def test_one_hot_has_a_column_for_each_token_seen_often_enough() -> None:
    rows = rows_of(["a", "b", "c"], [9, 2, 0])
    space = fit_space("e", "f", "onehot", rows, None, min_rows=2, standardise=True)
    assert space.names == ["a|present", "b|present"]
    _, known = space.vectors(rows_of(["x", "b"], [5, 5]), None)
    assert known.tolist() == [False, True]


def test_shuffled_has_the_parents_vectors_on_the_wrong_names() -> None:
    texts = [f"text {i}" for i in range(40)]
    rows, table = rows_of([*texts], [1] * 40), table_of(texts)
    space = fit_space("e", "f", "shuffled", rows, table, min_rows=1, standardise=False)
    made, _ = space.vectors(rows, table)
    assert sorted(made.tolist()) == sorted(table[1].tolist())
    assert (made == table[1]).all(axis=1).mean() < 0.2
    # an unseen text gets one of the source's vectors, always the same
    new = table_of(["unseen", "text 3"])
    first, _ = space.vectors(rows_of(["unseen", "text 3"], [1, 1]), new)
    again, _ = space.vectors(rows_of(["text 3", "unseen"], [1, 1]), new)
    np.testing.assert_array_equal(first, again[::-1])
    assert first[0].tolist() in table[1].tolist()


def test_a_token_without_a_vector_is_unknown_and_no_vector_at_all_is_an_error() -> None:
    rows, table = rows_of(["a", None, "lost"], [1, 1, 1]), table_of(["a"])
    space = fit_space("e", "f", "sentence-transformers", rows, table, min_rows=1, standardise=False)
    assert space.vectors(rows, table)[1].tolist() == [True, False, False]
    with pytest.raises(StudyError, match="no token of the training rows has a vector"):
        fit_space("e", "f", "sentence-transformers", rows_of(["lost"], [1]), table, min_rows=1, standardise=True)


def test_a_space_comes_back_from_disk(tmp_path: Path) -> None:
    rows, table = rows_of(["a", "b", "c"], [1, 1, 1]), table_of(["a", "b", "c"])
    for backend in ("onehot", "shuffled", "random"):
        space: Space = fit_space("e", "f", backend, rows, table, min_rows=1, standardise=True)
        back = load_space(tmp_path, json.loads(json.dumps(space.save(tmp_path))))
        np.testing.assert_array_equal(space.vectors(rows, table)[0], back.vectors(rows, table)[0])


# --- the network and the pooling ---------------------------------------------------------------------------------


def made_examples(rng: np.random.Generator, rows: int, tokens: int, longest: int) -> Examples:
    lengths = rng.integers(0, longest + 1, rows)
    return Examples(
        vectors=rng.normal(size=(tokens, WIDTH)).astype(np.float32),
        tokens=rng.integers(0, tokens, lengths.sum()),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        labels=rng.integers(0, 2, rows).astype(np.int8),
    )


def reference_logits(network: cnn.Network, seed: int, given: Examples) -> torch.Tensor:
    """The paper's network as written down: nn.Conv1d over each padded record, padding masked before the maximum."""
    w = {name: tensor[seed] for name, tensor in network.weights.items()}
    filters = w["filters"].shape[1]
    convolution, head = nn.Conv1d(WIDTH, filters, 1), nn.Linear(filters, 2)
    with torch.no_grad():
        convolution.weight.copy_(w["filters"].T[:, :, None])
        convolution.bias.copy_(w["filter_bias"][0])
        head.weight.copy_(w["head"].T)
        head.bias.copy_(w["head_bias"][0])
    longest = max(int(given.lengths.max(initial=0)), 1)
    padded = torch.zeros(len(given), WIDTH, longest)
    mask = torch.zeros(len(given), 1, longest)
    for i, (begin, length) in enumerate(zip(given.offsets, given.lengths, strict=False)):
        padded[i, :, :length] = torch.from_numpy(given.vectors[given.tokens[begin : begin + length]]).T
        mask[i, :, :length] = 1
    return head((torch.relu(convolution(padded)) * mask).amax(dim=2))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 12), tokens=st.integers(1, 9), longest=st.integers(0, 7))
def test_the_batched_network_is_the_papers(seed: int, rows: int, tokens: int, longest: int) -> None:
    given_rows = made_examples(np.random.default_rng(seed), rows, tokens, longest)
    network = cnn.fit(given_rows, given_rows, CNN | {"steps": 1}, [1, 2])
    logits = cnn._logits(network.weights, cnn.Records(given_rows))
    for k in range(2):
        torch.testing.assert_close(logits[k], reference_logits(network, k, given_rows), atol=1e-5, rtol=1e-5)


def test_a_step_of_training_is_that_of_torchs_optimiser() -> None:
    given_rows = made_examples(np.random.default_rng(1), 16, 9, 5)
    start = cnn.fit(given_rows, given_rows, CNN | {"steps": 1, "learning_rate": 1e-12}, [1])
    settings = CNN | {"dropout": 0.0, "tune_steps": 3, "check_every": 3, "batch": 16}
    no_rows = examples_without_rows(given_rows)
    tuned = cnn.tune(start, given_rows, no_rows, settings, head_only=False)
    model = nn.ParameterDict({name: nn.Parameter(tensor[:1].clone()) for name, tensor in start.weights.items()})
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.001)
    records = cnn.Records(given_rows)
    for _ in range(3):  # each batch is all rows in some order: the mean does not see the order
        logits = cnn._batch_logits(dict(model.items()), records, torch.arange(16)[None], torch.ones(1, 16, 8))
        optimiser.zero_grad()
        nn.functional.cross_entropy(logits[0], records.labels).backward()
        optimiser.step()
    for name, tensor in model.items():
        torch.testing.assert_close(tuned.weights[name], tensor.detach(), atol=1e-6, rtol=1e-5)


def examples_without_rows(given: Examples) -> Examples:
    return Examples(given.vectors, given.tokens[:0], given.offsets[:1], given.labels[:0])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(0, 12), tokens=st.integers(1, 9), longest=st.integers(0, 7))
def test_pooling_is_mean_maximum_and_count(seed: int, rows: int, tokens: int, longest: int) -> None:
    given_rows = made_examples(np.random.default_rng(seed), rows, tokens, longest)
    made = boosting.pool(given_rows)
    assert made.shape == (rows, 2 * WIDTH + 1)
    for i in range(rows):
        held = given_rows.vectors[given_rows.tokens[given_rows.offsets[i] : given_rows.offsets[i + 1]]]
        if len(held):
            np.testing.assert_allclose(made[i, :WIDTH], held.mean(axis=0), rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(made[i, WIDTH:-1], held.max(axis=0))
        else:
            assert not made[i].any()
        assert made[i, -1] == len(held)


def test_tokens_without_a_vector_change_nothing_for_rows_without_them() -> None:
    rows = SiteRows(
        keys=["a", "b", "c"],
        texts=["a", "b", "c"],
        training_rows=np.array([1, 1, 0]),
        row_ids=np.arange(2),
        labels=np.array([0, 1], np.int8),
        split=np.array(["test", "test"]),
        tokens=np.array([0, 1, 1, 2], np.int32),
        offsets=np.array([0, 2, 4]),
    )
    vectors = np.eye(3, dtype=np.float32)
    made = examples(rows, vectors, np.array([True, True, False]), "test")
    assert made.tokens.tolist() == [0, 1, 1]
    assert made.lengths.tolist() == [2, 1]
