"""Arms on a small made-up site: every learner by every strategy."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.vectors import vector_table
from conceptbridge.learn.arm_files import CURVES, PREDICTIONS, load_model
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.networks.network import load
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.search import Part
from conceptbridge.learn.strategies.tune_all import TuneAll
from conceptbridge.learn.training import Arm
from conceptbridge.tasks.cohort import SCHEMA as COHORT
from conceptbridge.tasks.sequences import SEQUENCES, TOKENS
from made_arms import train_local, train_together, transfer
from made_site import CONCEPTS, site, vectors_of, write_site

DESCENT = {"dropout": 0.5, "batch": 16, "weight_decay": 0.001, "momentum": 0.9, "max_passes": 6, "checks_per_pass": 1}
DESCENT |= {"min_pass_steps": 10, "max_pass_steps": 10, "patience": 6}
CNN = DESCENT | {"filters": 8, "learning_rate": 0.02}
TRANSFORMER = {key: value for key, value in DESCENT.items() if key != "momentum"}
TRANSFORMER |= {"width": 16, "blocks": 1, "heads": 2, "tokens": 64, "dropout": 0.1, "learning_rate": 0.01}
BOOST = {
    "counts": True,
    "num_leaves": 4,
    "min_data_in_leaf": 10,
    "learning_rate": 0.1,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "num_iterations": 20,
    "early_stopping_round": 20,
    "refit_decay": 0.5,
}
LOGISTIC = {"penalty": 0.01, "penalties": 11, "patience": 3, "l1_share": 0.5}
LEARNERS = [("cnn", CNN), ("transformer", TRANSFORMER), ("lightgbm", BOOST), ("logistic", LOGISTIC)]
#: what each learner searches in one of the tests
SEARCHED = {
    "cnn": {"learning_rate": [1e-9, 0.01]},
    "transformer": {"learning_rate": [1e-9, 0.01]},
    "lightgbm": {"learning_rate": [1e-9, 0.1]},
    "logistic": {"l1_share": [0.0, 1.0]},
}


def budget(settings: dict[str, Any], seeds: int = 2, min_events: int = 5, **more: Any) -> Budget:
    return Budget(
        settings,
        more.pop("searched", {}),
        4,
        seeds,
        min_events,
        min_rows=1,
        min_cell_count=10,
        scale=True,
        **more,
    )


def embedding(backend: str = "sentence-transformers") -> dict[str, str]:
    return {"name": "made", "fingerprint": "f" * 64, "backend": backend}


def auroc(folder: Path, source: str) -> float:
    from sklearn.metrics import roc_auc_score

    t = pq.read_table(folder / "predictions.parquet").to_pandas()
    t = t[(t.source == source) & (t.split == "test")]
    return float(np.mean([roc_auc_score(g.label, g.probability) for _, g in t.groupby("seed")]))


@pytest.fixture
def riverside(tmp_path: Path) -> Path:
    return write_site(tmp_path / "riverside", CONCEPTS, seed=1)


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
@pytest.mark.parametrize("backend", ["onehot", "sentence-transformers", "shuffled"])
def test_a_local_arm_learns_and_covers_every_row(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any], backend: str
) -> None:
    train_local(
        site(riverside, "riverside", backend != "onehot"),
        learner,
        embedding(backend),
        budget(settings),
        tmp_path / "arm",
    )
    made = pq.read_table(tmp_path / "arm/predictions.parquet")
    assert made.schema.equals(PREDICTIONS)
    cohort = pq.read_table(riverside / "cohort.parquet").to_pandas()
    tested = cohort[cohort.split != "train"]
    for seed in (1, 2):
        part = made.to_pandas()
        part = part[part.seed == seed]
        assert part.row_id.tolist() == tested.row_id.tolist()
        assert part.label.tolist() == tested.label.tolist()
    assert auroc(tmp_path / "arm", "riverside") > 0.75


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_a_model_meets_the_targets_concepts_by_text_whatever_their_position(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    train_local(site(riverside, "riverside"), learner, embedding(), budget(settings), tmp_path / "riverside-arm")
    made = []
    for name, order in (("same", CONCEPTS), ("mixed", CONCEPTS[::-1])):
        # the same rows of the same site, its token table in another order
        there = write_site(tmp_path / name, CONCEPTS, seed=2)
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
        sources = {"riverside": tmp_path / "riverside-arm"}
        transfer(site(there, name), learner, "direct", sources, "f" * 64, budget({}), out)
        made.append(pq.read_table(out / "predictions.parquet")["probability"].to_numpy())
    np.testing.assert_allclose(made[0], made[1], rtol=1e-6)
    assert auroc(tmp_path / "same-arm", "riverside") > 0.75


def test_names_unknown_at_the_source_are_missing_to_one_hot_and_reached_by_text(
    riverside: Path, tmp_path: Path
) -> None:
    aliases = ["a cough", "a sprain", "some fever", "a rash", "a thirst"]
    there = write_site(tmp_path / "there", aliases, seed=3)
    vectors = vectors_of(CONCEPTS)
    meanings = np.stack([vectors[c] for c in CONCEPTS])
    pq.write_table(vector_table(aliases, meanings + np.float32(0.01)), there / "table.parquet")
    reached = {}
    for backend in ("onehot", "sentence-transformers", "shuffled"):
        table = backend != "onehot"
        train_local(site(riverside, "riverside", table), "cnn", embedding(backend), budget(CNN), tmp_path / backend)
        out = tmp_path / f"{backend}-there"
        transfer(
            site(there, "there", table), "cnn", "direct", {"riverside": tmp_path / backend}, "f" * 64, budget({}), out
        )
        reached[backend] = auroc(out, "riverside")
    assert reached["onehot"] == 0.5  # nothing that it knows is there: every row looks the same
    assert reached["sentence-transformers"] > 0.75
    assert reached["sentence-transformers"] > reached["shuffled"] + 0.1


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_a_one_hot_model_that_is_tuned_gets_the_tokens_that_its_source_never_had(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    there = site(write_site(tmp_path / "there", ["a cough", "a sprain", "some fever"], seed=3), "there", False)
    train_local(site(riverside, "riverside", False), learner, embedding("onehot"), budget(settings), tmp_path / "arm")
    sources = {"riverside": tmp_path / "arm"}
    given = {"direct": budget({}), "tune-all": budget(settings, sizes=[20], replicates=1)}
    for strategy, spent in given.items():
        transfer(there, learner, strategy, sources, "f" * 64, spent, tmp_path / strategy)
    assert auroc(tmp_path / "direct", "riverside") == 0.5
    assert auroc(tmp_path / "tune-all", "riverside") > 0.75
    tuned = json.loads((tmp_path / "tune-all/models/riverside/model.json").read_text())["space"]
    source = json.loads((tmp_path / "arm/models/riverside/model.json").read_text())["space"]
    assert tuned["names"][: len(source["names"])] == source["names"]
    assert tuned["added"] == len(tuned["names"]) - len(source["names"]) == 3
    assert "added" not in source
    # the saved model knows them by itself
    transfer(there, learner, "direct", {"riverside": tmp_path / "tune-all"}, "f" * 64, budget({}), tmp_path / "again")
    both = [pq.read_table(tmp_path / arm / "predictions.parquet")["probability"] for arm in ("tune-all", "again")]
    np.testing.assert_allclose(*both, rtol=1e-6)


def test_what_checks_a_model_is_what_it_is_scored_on(riverside: Path, tmp_path: Path) -> None:
    """The source knows cough, of which no training row of the target tells: its validation rows do, and are read so."""
    whole = site(write_site(tmp_path / "there", CONCEPTS, seed=3), "there")
    rows, cough = whole.rows, whole.rows.keys.index("cough|present")
    held = np.array([cough in tokens for tokens in np.split(rows.tokens, rows.offsets[1:-1])])
    there = replace(whole, rows=rows.take(np.flatnonzero(~(held & (rows.split == "train")))))
    assert there.rows.training_rows[cough] == 0
    train_local(site(riverside, "riverside"), "logistic", embedding(), budget(LOGISTIC), tmp_path / "arm")
    trained = load_model(tmp_path / "arm/models/riverside", "logistic", "f" * 64)
    job = ArmJob("made", "there", ["riverside"], "tune-all", "logistic", ArmEmbedding(**embedding()), budget({}))
    arm = Arm(job, tmp_path, there)
    splits = (there.rows.split[there.rows.of(*pair)] for pair in (("train", "validation"), ("validation", "test")))
    check, scored = (
        trained.predict(seen)[:, split == "validation"]
        for seen, split in zip((arm.labelled(trained.space), arm.tested(trained.space)), splits, strict=True)
    )
    np.testing.assert_array_equal(check, scored)
    # only what is learned from is without tokens of too few training rows
    few = Arm(replace(job, budget=replace(job.budget, min_rows=10_000)), tmp_path, there)
    learned = few.labelled(trained.space, few.budget.min_rows)[0]
    train = there.rows.split[there.rows.of("train", "validation")] == "train"
    assert learned.lengths[train].max() == 0 < learned.lengths[~train].max()


def test_a_point_of_the_learning_curve_adds_the_tokens_of_its_own_rows(riverside: Path, tmp_path: Path) -> None:
    there = site(write_site(tmp_path / "there", ["a cough", "a sprain"], seed=3), "there", False)
    train_local(
        site(riverside, "riverside", False), "logistic", embedding("onehot"), budget(LOGISTIC), tmp_path / "arm"
    )
    trained = load_model(tmp_path / "arm/models/riverside", "logistic", "f" * 64)
    held = np.array([0 in tokens for tokens in np.split(there.rows.tokens, there.rows.offsets[1:-1])])
    labelled = there.rows.of("train", "validation")
    part = Part(np.flatnonzero(~held[labelled]), np.flatnonzero(held[labelled]), size=20)
    job = ArmJob(
        "made", "there", ["riverside"], "tune-all", "logistic", ArmEmbedding(**embedding("onehot")), budget({})
    )
    wider = TuneAll().with_target_tokens(Arm(job, tmp_path, there), trained, part)
    assert wider.space.names == [*trained.space.names, there.rows.keys[1]]
    assert wider.model.coefficients.shape[1] == len(wider.space.names)


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_direct_sees_no_label_of_the_site(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    train_local(site(riverside, "riverside"), learner, embedding(), budget(settings), tmp_path / "arm")
    made = []
    for flip in (False, True):
        there = write_site(tmp_path / f"there{flip}", CONCEPTS, seed=4)
        if flip:
            cohort = pq.read_table(there / "cohort.parquet").to_pandas()
            cohort["label"] = (1 - cohort.label).astype("int8")
            pq.write_table(pa.Table.from_pandas(cohort, schema=COHORT), there / "cohort.parquet")
        out = tmp_path / f"out{flip}"
        transfer(site(there, "there"), learner, "direct", {"riverside": tmp_path / "arm"}, "f" * 64, budget({}), out)
        made.append(pq.read_table(out / "predictions.parquet")["probability"].to_pylist())
    assert made[0] == made[1]


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_no_test_label_changes_a_model(riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any]) -> None:
    made = []
    for flip in (False, True):
        if flip:
            cohort = pq.read_table(riverside / "cohort.parquet").to_pandas()
            cohort.loc[cohort.split == "test", "label"] = 1 - cohort.label
            pq.write_table(pa.Table.from_pandas(cohort, schema=COHORT), riverside / "cohort.parquet")
        arms = tmp_path / f"arm{flip}"
        train_local(site(riverside, "riverside"), learner, embedding(), budget(settings), arms)
        out = tmp_path / f"tuned{flip}"
        transfer(
            site(riverside, "riverside"), learner, "tune-all", {"riverside": arms}, "f" * 64, budget(settings), out
        )
        made.append([pq.read_table(p / "predictions.parquet")["probability"].to_pylist() for p in (arms, out)])
    assert made[0] == made[1]


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
@pytest.mark.parametrize("strategy", ["tune-head", "tune-all"])
def test_tuning_never_keeps_what_the_validation_rows_find_worse(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any], strategy: str
) -> None:
    """At a site where the first two concepts mean the opposite, tuning has to help."""
    there = write_site(tmp_path / "there", [CONCEPTS[i] for i in (1, 0, 2, 3, 4)], seed=5)
    train_local(site(riverside, "riverside"), learner, embedding(), budget(settings), tmp_path / "arm")
    sources = {"riverside": tmp_path / "arm"}
    results = {}
    for name in ("direct", strategy):
        spent = budget(settings if name != "direct" else {})
        transfer(site(there, "there"), learner, name, sources, "f" * 64, spent, tmp_path / name)
        t = pq.read_table(tmp_path / name / "predictions.parquet").to_pandas()
        v = t[t.split == "validation"]
        results[name] = -np.mean(np.log(np.where(v.label == 1, v.probability, 1 - v.probability)))
    assert results[strategy] < results["direct"]


def test_tune_head_leaves_the_convolution_alone(riverside: Path, tmp_path: Path) -> None:
    # the first two concepts mean the opposite there, so that the validation rows want a change
    there = write_site(tmp_path / "there", [CONCEPTS[i] for i in (1, 0, 2, 3, 4)], seed=6)
    train_local(site(riverside, "riverside"), "cnn", embedding(), budget(CNN), tmp_path / "arm")
    was = load(tmp_path / "arm/models/riverside", {"seeds": [1, 2], "kept": [0, 0]}).weights
    moved = {}
    for strategy in ("tune-head", "tune-all"):
        out = tmp_path / strategy
        transfer(site(there, "there"), "cnn", strategy, {"riverside": tmp_path / "arm"}, "f" * 64, budget(CNN), out)
        now = load(out / "models/riverside", {"seeds": [1, 2], "kept": [0, 0]}).weights
        moved[strategy] = {name for name in was if not np.array_equal(was[name], now[name])}
    assert moved == {"tune-head": {"head", "head_bias"}, "tune-all": set(was)}


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_too_few_events_are_a_finding_and_the_reason_travels(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    quiet = write_site(tmp_path / "quiet", CONCEPTS, events=False)
    train_local(site(quiet, "quiet"), learner, embedding(), budget(settings), tmp_path / "arm")
    assert pq.read_table(tmp_path / "arm/predictions.parquet").num_rows == 0
    arm = json.loads((tmp_path / "arm/arm.json").read_text())["sources"]["quiet"]
    assert arm == {
        "train_rows": None,
        "train_events": None,
        "reason": "fewer than 5 events among the training rows at quiet",
    }
    out = tmp_path / "out"
    transfer(site(riverside, "riverside"), learner, "direct", {"quiet": tmp_path / "arm"}, "f" * 64, budget({}), out)
    reason = json.loads((out / "arm.json").read_text())["sources"]["quiet"]["reason"]
    assert reason == "no model from quiet: fewer than 5 events among the training rows at quiet"


def test_a_model_refuses_another_embedding_by_name(riverside: Path, tmp_path: Path) -> None:
    train_local(site(riverside, "riverside"), "cnn", embedding(), budget(CNN), tmp_path / "arm")
    with pytest.raises(StudyError, match=r"made with another made \(ffffffffffff\); train it again"):
        sources = {"riverside": tmp_path / "arm"}
        transfer(site(riverside, "riverside"), "cnn", "direct", sources, "0" * 64, budget({}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_a_seed_gives_the_same_model_whatever_runs_beside_it(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    made = []
    for seeds in (1, 3):
        train_local(site(riverside, "riverside"), learner, embedding(), budget(settings, seeds), tmp_path / str(seeds))
        t = pq.read_table(tmp_path / str(seeds) / "predictions.parquet").to_pandas()
        made.append(t[t.seed == 1].probability.to_numpy())
    np.testing.assert_allclose(made[0], made[1], rtol=1e-5)


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_a_saved_model_predicts_as_before(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    train_local(site(riverside, "riverside"), learner, embedding(), budget(settings), tmp_path / "arm")
    transfer(
        site(riverside, "riverside"),
        learner,
        "direct",
        {"riverside": tmp_path / "arm"},
        "f" * 64,
        budget({}),
        tmp_path / "out",
    )
    was, now = (pq.read_table(tmp_path / p / "predictions.parquet")["probability"].to_numpy() for p in ("arm", "out"))
    np.testing.assert_allclose(was, now, rtol=1e-6)


def test_a_lightgbm_file_tells_no_count_of_rows(riverside: Path, tmp_path: Path) -> None:
    train_local(site(riverside, "riverside"), "lightgbm", embedding(), budget(BOOST), tmp_path / "arm")
    text = (tmp_path / "arm/models/riverside/seed-1.txt").read_text()
    counts = re.findall(r"^(?:leaf|internal)_(?:count|weight)=(.*)$", text, flags=re.MULTILINE)
    assert counts
    assert set(" ".join(counts).split()) <= {"0"}


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_settings_are_searched_on_validation_rows_and_what_was_spent_is_told(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    given = budget(settings, searched=SEARCHED[learner])
    train_local(site(riverside, "riverside"), learner, embedding(), given, tmp_path / "arm")
    spent = json.loads((tmp_path / "arm/arm.json").read_text())["sources"]["riverside"]["spent"]
    key, (_, good) = next(iter(SEARCHED[learner].items()))
    extended = [] if learner == "logistic" else [key]  # the shares of L1 are tried from none to all
    assert spent["extended"] == extended
    assert spent["at_edge"] == []
    assert spent["trials"] == 2 + len(extended)
    assert spent["chosen"] == {key: good}
    assert len(spent["kept"]) == 2
    if learner in ("cnn", "transformer"):
        assert spent["steps"] == (2 + 1 + 1) * 60  # a run a candidate, one beyond the edge, and the second seed


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_recalibration_keeps_the_order_of_a_seeds_rows(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    # a hospital where the outcome is far rarer
    there = write_site(tmp_path / "there", CONCEPTS, rows=900, seed=7, intercept=-3.0)
    train_local(site(riverside, "riverside"), learner, embedding(), budget(settings), tmp_path / "arm")
    found = {}
    for strategy in ("direct", "recalibrate"):
        out = tmp_path / strategy
        transfer(site(there, "there"), learner, strategy, {"riverside": tmp_path / "arm"}, "f" * 64, budget({}), out)
        found[strategy] = pq.read_table(out / "predictions.parquet").to_pandas()
    for seed in (1, 2):
        was, now = (t[(t.seed == seed) & (t.split == "test")] for t in found.values())
        assert (np.diff(now.probability.to_numpy()[np.argsort(was.probability.to_numpy())]) >= -1e-12).all()
        assert abs(now.probability.mean() - now.label.mean()) < 0.03 < abs(was.probability.mean() - was.label.mean())
    entry = json.loads((tmp_path / "recalibrate/arm.json").read_text())["sources"]["riverside"]
    assert entry["spent"]["chosen"]["recalibration"] in ("intercept", "slope")
    kept = json.loads((tmp_path / "recalibrate/models/riverside/model.json").read_text())
    assert len(kept["recalibration"]) == 2


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
@pytest.mark.parametrize("backend", ["onehot", "sentence-transformers"])
def test_sites_learn_together_and_leave_one_out_sees_no_label_of_the_target(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any], backend: str
) -> None:
    table = backend != "onehot"
    others = [
        site(write_site(tmp_path / "north", ["sprain", "cough", "thirst", "rash"], seed=8, swap=True), "north", table),
        site(write_site(tmp_path / "south", CONCEPTS, seed=9), "south", table),
    ]
    made: dict[tuple[str, bool], list[float]] = {}
    for flip in (False, True):
        if flip:
            cohort = pq.read_table(riverside / "cohort.parquet").to_pandas()
            cohort["label"] = (1 - cohort.label).astype("int8")
            pq.write_table(pa.Table.from_pandas(cohort, schema=COHORT), riverside / "cohort.parquet")
        for strategy, source in (("pooled", "all"), ("leave-one-out", "others")):
            out = tmp_path / f"{strategy}{flip}"
            train_together(
                site(riverside, "riverside", table),
                others,
                strategy,
                learner,
                embedding(backend),
                budget(settings),
                out,
            )
            made[strategy, flip] = pq.read_table(out / "predictions.parquet")["probability"].to_pylist()
            assert (out / "models" / source / "model.json").is_file()
            if not flip:
                assert auroc(out, source) > 0.75
    assert made["leave-one-out", False] == made["leave-one-out", True]
    assert made["pooled", False] != made["pooled", True]

    # the same model for every target that is no source: made once, and brought
    train_together(None, others, "leave-one-out", learner, embedding(backend), budget(settings), tmp_path / "sources")
    assert not len(pq.read_table(tmp_path / "sources/predictions.parquet"))
    job = ArmJob(
        "made", "riverside", [], "leave-one-out", learner, ArmEmbedding(**embedding(backend)), budget({}), True
    )
    make_arm(job, tmp_path / "brought", site(riverside, "riverside", table), shared_arm=tmp_path / "sources")
    for file in ("predictions.parquet", "curves.parquet", "arm.json"):
        assert (tmp_path / "brought" / file).read_bytes() == (tmp_path / "leave-one-outTrue" / file).read_bytes()


def test_a_target_without_events_still_has_the_arms_that_need_none_of_its_labels(
    riverside: Path, tmp_path: Path
) -> None:
    quiet = site(write_site(tmp_path / "quiet", CONCEPTS, events=False), "quiet")
    train_local(site(riverside, "riverside"), "logistic", embedding(), budget(LOGISTIC), tmp_path / "arm")
    reasons = {}
    for strategy in ("direct", "recalibrate", "tune-head", "tune-all"):
        out = tmp_path / strategy
        sources = {"riverside": tmp_path / "arm"}
        transfer(quiet, "logistic", strategy, sources, "f" * 64, budget(LOGISTIC), out)
        reasons[strategy] = json.loads((out / "arm.json").read_text())["sources"]["riverside"]["reason"]
    for strategy in ("pooled", "leave-one-out"):
        out = tmp_path / strategy
        train_together(quiet, [site(riverside, "riverside")], strategy, "logistic", embedding(), budget(LOGISTIC), out)
        reasons[strategy] = next(iter(json.loads((out / "arm.json").read_text())["sources"].values()))["reason"]
    few = "fewer than 5 events among the training rows at quiet"
    assert reasons == {
        "direct": None,
        "recalibrate": few,
        "tune-head": few,
        "tune-all": few,
        "pooled": None,
        "leave-one-out": None,
    }


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_site_of_hardly_any_row_is_not_estimable_and_breaks_nothing(
    riverside: Path, tmp_path: Path, rows: int
) -> None:
    tiny = site(write_site(tmp_path / "tiny", CONCEPTS, rows=rows), "tiny")
    for learner, settings in LEARNERS:
        if "max_passes" in settings:
            settings = settings | {"max_passes": 2}
        train_local(tiny, learner, embedding(), budget(settings), tmp_path / learner)
        entry = json.loads((tmp_path / learner / "arm.json").read_text())["sources"]["tiny"]
        assert entry["reason"] == "fewer than 5 events among the training rows at tiny"
        train_local(
            site(riverside, "riverside"), learner, embedding(), budget(settings), tmp_path / f"{learner}-riverside"
        )
        sources = {"riverside": tmp_path / f"{learner}-riverside"}
        transfer(tiny, learner, "direct", sources, "f" * 64, budget({}), tmp_path / f"{learner}-direct")
        assert pq.read_table(tmp_path / f"{learner}-direct/predictions.parquet").num_rows == 2 * (rows - (rows > 0))


def test_a_source_whose_names_nobody_can_embed_is_not_estimable(riverside: Path, tmp_path: Path) -> None:
    pq.write_table(vector_table(["another"], np.ones((1, 6), np.float32)), riverside / "table.parquet")
    train_local(site(riverside, "riverside"), "cnn", embedding(), budget(CNN), tmp_path / "arm")
    entry = json.loads((tmp_path / "arm/arm.json").read_text())["sources"]["riverside"]
    assert entry["reason"] == "no token of the training rows has a vector at riverside"


def test_an_embedding_learned_at_one_site_cannot_be_pooled(riverside: Path, tmp_path: Path) -> None:
    sites = site(riverside, "riverside"), [site(riverside, "other")]
    train_together(*sites, "pooled", "cnn", embedding("cooccurrence"), budget(CNN), tmp_path / "out")
    entry = json.loads((tmp_path / "out/arm.json").read_text())["sources"]["all"]
    assert entry["reason"] == "made is learned at one site and has no vectors for the rows of several"


# --- curves --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("learner", "settings"), LEARNERS)
def test_curves_tell_how_much_data_and_how_much_tuning(
    riverside: Path, tmp_path: Path, learner: str, settings: dict[str, Any]
) -> None:
    there = site(write_site(tmp_path / "there", CONCEPTS, rows=900, seed=5, swap=True, intercept=-2), "there")
    given = budget(settings, sizes=[10, 20, 10_000], replicates=2, depths=[0.0, 0.5, 1.0])
    train_local(there, learner, embedding(), given, tmp_path / "local")
    local = pq.read_table(tmp_path / "local/curves.parquet")
    assert local.schema.equals(CURVES)
    tested = int((there.rows.split == "test").sum())
    cells = local.to_pandas().groupby(["source", "size", "replicate", "seed"]).size()
    assert set(cells) == {tested}
    assert set(cells.index) == {("there", n, r, s) for n in (10, 20) for r in (1, 2) for s in (1, 2)}
    sizes = json.loads((tmp_path / "local/arm.json").read_text())["sources"]["there"]["sizes"]
    assert [(s["size"], s["replicate"], s["events"] >= s["size"]) for s in sizes] == [
        (10, 1, True),
        (20, 1, True),
        (10, 2, True),
        (20, 2, True),
    ]
    train_local(site(riverside, "riverside"), learner, embedding(), budget(settings), tmp_path / "arm")
    for strategy in ("direct", "recalibrate", "tune-head", "tune-all"):
        sources = {"riverside": tmp_path / "arm"}
        transfer(there, learner, strategy, sources, "f" * 64, given, tmp_path / strategy)
    curves = {s: pq.read_table(tmp_path / s / "curves.parquet").to_pandas() for s in ("direct", "tune-all")}
    assert not len(curves["direct"])
    depths = set(curves["tune-all"].depth.dropna())
    assert depths == (set() if learner == "logistic" else {0.0, 0.5, 1.0})
    if depths:  # the curve begins with the source's own model
        direct = pq.read_table(tmp_path / "direct/predictions.parquet").to_pandas()
        begin = curves["tune-all"][curves["tune-all"].depth == 0]
        np.testing.assert_allclose(begin.probability, direct.probability, rtol=1e-6)


def test_what_curves_are_drawn_changes_no_arm(riverside: Path, tmp_path: Path) -> None:
    for name, more in (("plain", {}), ("curved", {"sizes": [10, 20], "replicates": 2})):
        train_local(site(riverside, "riverside"), "cnn", embedding(), budget(CNN, **more), tmp_path / name)
    plain, curved = ((tmp_path / name / "predictions.parquet").read_bytes() for name in ("plain", "curved"))
    assert plain == curved


def test_a_small_target_size_knows_only_its_own_tokens(tmp_path: Path) -> None:
    """A token of few rows is no column of one-hot at a size whose rows lack it."""
    there = site(write_site(tmp_path / "there", [*CONCEPTS, "rare"], rows=900), "there", table=False)
    some = there.rows.of("train")[:40]
    counted = there.rows.trained_on(some)
    for position in range(len(counted.keys)):
        held = [position in there.rows.tokens[there.rows.offsets[i] : there.rows.offsets[i + 1]] for i in some]
        assert counted.training_rows[position] == sum(held)
    whole = there.rows.trained_on(there.rows.of("train"))
    np.testing.assert_array_equal(whole.training_rows, there.rows.training_rows)
