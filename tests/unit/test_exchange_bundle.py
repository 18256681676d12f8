"""Bundles: a model that was sent does what it did at home, and no bundle that a stranger changed is taken."""

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from conceptbridge.core.errors import StudyError
from conceptbridge.evaluate.calibration import CALIBRATION
from conceptbridge.evaluate.metrics import METRICS
from conceptbridge.evaluate.schemas import SCHEMAS
from conceptbridge.exchange.package import read_package, write_package
from conceptbridge.exchange.receive.bundles import receive, receive_tokens, receive_vocabulary
from conceptbridge.exchange.receive.find_bundles import find_bundles
from conceptbridge.exchange.receive.model_files import check_model
from conceptbridge.exchange.send.bundle import write_bundle
from conceptbridge.exchange.send.model_card import SHOWN, card
from conceptbridge.learn.arm_files import load_model
from conceptbridge.learn.arm_job import Budget
from conceptbridge.vocabulary.build import SCHEMA as VOCABULARY
from made_arms import train_local, transfer
from made_site import CONCEPTS, NOBODY, WIDTH, site, write_site

DESCENT = {"dropout": 0.5, "batch": 16, "weight_decay": 0.001, "momentum": 0.9, "max_passes": 2, "checks_per_pass": 1}
DESCENT |= {"min_pass_steps": 10, "max_pass_steps": 10, "patience": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "cnn": DESCENT | {"filters": 8, "learning_rate": 0.01},
    "transformer": {key: value for key, value in DESCENT.items() if key != "momentum"}
    | {"width": 8, "blocks": 1, "heads": 2, "tokens": 64, "learning_rate": 0.01},
    "lightgbm": {"counts": True, "num_leaves": 4, "min_data_in_leaf": 10, "learning_rate": 0.1}
    | {"feature_fraction": 0.5, "bagging_fraction": 0.8, "num_iterations": 6, "early_stopping_round": 20}
    | {"refit_decay": 0.5},
    "logistic": {"penalty": 0.03, "penalties": 1, "patience": 1, "l1_share": 0.5},
}
FINGERPRINT = "f" * 64
DEFINITION = {"index": {"domain": "visit", "concepts": [9203]}, "outcome": {"domain": "condition", "days": [1, 7]}}
DEFINITION["outcome"] |= {"concepts": [4266367]}
DEFINITION["predictors"] = {"days": [-365, 0], "domains": ["condition"]}


def budget(settings_of: dict[str, Any]) -> Budget:
    return Budget(settings_of, {}, 1, 2, 5, min_rows=1, min_cell_count=5, scale=True)


def about(learner: str, backend: str) -> dict[str, Any]:
    return {
        "source": "home",
        "task": "influenza",
        "definition": DEFINITION,
        "embedding": {"name": "made", "fingerprint": FINGERPRINT, "backend": backend, "entry": {"width": WIDTH}},
        "learner": learner,
        "seeds": 2,
    }


class Sent:
    """A site, its local arms and their bundles, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, write_site(folder / "home", CONCEPTS, seed=1)
        tokens = pq.read_table(self.home / "tokens.parquet").to_pylist()
        beside = {"vocabulary": "SNOMED", "named_by": "concept", "private": False}
        rows = [
            {k: t[k] for k in ("key", "concept_id", "domain", "state", "text")} | {"name": t["text"]} | beside
            for t in tokens
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=VOCABULARY), self.home / "vocabulary.parquet")

    def arm(self, learner: str, backend: str, **changed: Any) -> Path:
        out = self.folder / f"{learner}-{backend}{'-changed' if changed else ''}"
        if not out.exists():
            table = backend != "onehot"
            embedding = {"name": "made", "fingerprint": FINGERPRINT, "backend": backend}
            train_local(site(self.home, "home", table), learner, embedding, budget(SETTINGS[learner] | changed), out)
        return out

    def bundle(self, learner: str, backend: str, **changed: Any) -> Path:
        arm = self.arm(learner, backend, **changed)
        out = arm.with_suffix(".zip")
        if not out.exists():
            described = about(learner, backend) | {"min_cell_count": 5}
            files = (self.home / "vocabulary.parquet", self.home / "tokens.parquet")
            table = None if backend == "onehot" else self.home / "table.parquet"
            write_bundle(described, arm, *files, None, NOBODY, out, out.with_suffix(".md"), None, None, table)
        return out


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    return Sent(tmp_path_factory.mktemp("sent"))


@pytest.mark.parametrize("learner", SETTINGS)
@pytest.mark.parametrize("backend", ["onehot", "sentence-transformers"])
def test_a_received_model_predicts_and_is_tuned_as_the_one_at_home(
    sent: Sent, tmp_path: Path, learner: str, backend: str
) -> None:
    width = None if backend == "onehot" else WIDTH
    receive(sent.bundle(learner, backend), about(learner, backend), width, tmp_path / "received")
    there = site(write_site(tmp_path / "there", CONCEPTS, seed=2), "there", backend != "onehot")
    for strategy in ("direct", "recalibrate", "tune-head", "tune-all"):
        given_settings = {} if strategy in ("direct", "recalibrate") else SETTINGS[learner]
        made = []
        for arm in (sent.arm(learner, backend), tmp_path / "received"):
            out = tmp_path / strategy
            transfer(there, learner, strategy, {"home": arm}, FINGERPRINT, budget(given_settings), out)
            made.append(pq.read_table(out / "predictions.parquet"))
        assert len(made[0]) > 0
        assert made[0].equals(made[1])


def test_the_same_model_makes_the_same_bundle(sent: Sent) -> None:
    first = sent.bundle("cnn", "onehot").read_bytes()
    sent.bundle("cnn", "onehot").unlink()
    assert sent.bundle("cnn", "onehot").read_bytes() == first


def test_what_is_received_says_which_concepts_the_source_shares(sent: Sent, tmp_path: Path) -> None:
    bundles = [sent.bundle("cnn", "onehot"), sent.bundle("logistic", "onehot")]
    receive_tokens(bundles, "home", tmp_path / "tokens.parquet")
    receive_vocabulary(bundles, "home", tmp_path / "vocabulary.parquet")
    at_home = pq.read_table(sent.home / "tokens.parquet").to_pylist()
    received = pq.read_table(tmp_path / "tokens.parquet").to_pylist()
    assert {t["key"] for t in received} == {t["key"] for t in at_home if t["rows"] >= 5}
    assert {t["rows"] for t in received} == {None}
    assert all(t["scales"] for t in at_home)
    assert {t["scales"] for t in received} == {t["bins"] for t in received} == {None}
    vocabulary = pq.read_table(tmp_path / "vocabulary.parquet")
    assert vocabulary.schema.equals(VOCABULARY)
    assert vocabulary["text"].to_pylist() == [t["text"] for t in received]


def test_a_site_that_sent_no_bundle_is_not_estimable(tmp_path: Path) -> None:
    receive(None, about("cnn", "onehot"), None, tmp_path / "arm")
    reason = json.loads((tmp_path / "arm/arm.json").read_text())["sources"]["home"]["reason"]
    assert reason == "home has sent no bundle of cnn on made for influenza"


def test_a_bundle_tells_why_there_is_no_model(sent: Sent, tmp_path: Path) -> None:
    (tmp_path / "arm").mkdir()
    entry = {"reason": "fewer than 10 events among the training rows at home", "train_rows": None, "train_events": None}
    (tmp_path / "arm/arm.json").write_text(json.dumps({"sources": {"home": entry}}))
    files = (sent.home / "vocabulary.parquet", sent.home / "tokens.parquet")
    described = about("cnn", "onehot") | {"min_cell_count": 5}
    write_bundle(described, tmp_path / "arm", *files, None, NOBODY, tmp_path / "none.zip", tmp_path / "none.md")
    receive(tmp_path / "none.zip", about("cnn", "onehot"), None, tmp_path / "received")
    assert json.loads((tmp_path / "received/arm.json").read_text())["sources"]["home"] == entry


def test_columns_of_few_rows_go_without_their_names(sent: Sent, tmp_path: Path) -> None:
    tokens = pq.read_table(sent.home / "tokens.parquet").to_pylist()
    rare = tokens[0]["key"]
    few = [t | {"rows": 4} if t["key"] == rare else t for t in tokens]
    schema = pq.read_schema(sent.home / "tokens.parquet")
    pq.write_table(pa.Table.from_pylist(few, schema=schema), tmp_path / "tokens.parquet")
    for name in ("cohort", "sequences"):
        shutil.copy(sent.home / f"{name}.parquet", tmp_path)
    described = about("logistic", "onehot") | {"min_cell_count": 5}
    out = tmp_path / "bundle.zip"
    arm = sent.arm("logistic", "onehot")
    write_bundle(
        described,
        arm,
        sent.home / "vocabulary.parquet",
        tmp_path / "tokens.parquet",
        None,
        NOBODY,
        out,
        out.with_suffix(".md"),
    )
    assert rare.encode() not in out.read_bytes()
    receive(out, about("logistic", "onehot"), None, tmp_path / "received")


def test_what_a_receiver_would_refuse_is_not_sent(sent: Sent, tmp_path: Path) -> None:
    """Limits without end, names with control characters, and codes that are empty."""
    row = {"split": "test", "metric": "calibration_slope", "embedding": "made", "learner": "cnn", "strategy": "local"}
    row |= {"estimate": 1.0, "lower": float("-inf"), "upper": 2.0}
    pq.write_table(pa.Table.from_pylist([row], schema=SCHEMAS["metrics"]), tmp_path / "metrics.parquet")
    pq.write_table(SCHEMAS["site"].empty_table(), tmp_path / "site.parquet")
    vocabulary = pq.read_table(sent.home / "vocabulary.parquet").to_pylist()
    vocabulary[0]["name"] = vocabulary[0]["text"] = "\tcough"
    vocabulary[1]["concept_code"] = ""
    pq.write_table(pa.Table.from_pylist(vocabulary, schema=VOCABULARY), tmp_path / "vocabulary.parquet")
    files = (tmp_path / "vocabulary.parquet", sent.home / "tokens.parquet", tmp_path)
    described = about("cnn", "onehot") | {"min_cell_count": 5}
    out = tmp_path / "bundle.zip"
    write_bundle(described, sent.arm("cnn", "onehot"), *files, NOBODY, out, tmp_path / "report.md")
    receive(out, about("cnn", "onehot"), None, tmp_path / "received")
    receive_tokens([out], "home", tmp_path / "tokens.parquet")
    keys = [t["key"] for t in vocabulary[1:]]
    assert pq.read_table(tmp_path / "tokens.parquet")["key"].to_pylist() == sorted(keys)


def test_a_forest_whose_leaves_are_small_does_not_leave(sent: Sent) -> None:
    with pytest.raises(StudyError, match="min_data_in_leaf: 5"):
        sent.bundle("lightgbm", "onehot", min_data_in_leaf=4)


def test_a_card_tells_a_reader_how_the_model_does_at_home() -> None:
    def estimate(metric: str, value: float | None, split: str = "test") -> dict[str, Any]:
        known = {"estimate": value, "lower": value and value - 0.1, "upper": value and value + 0.1}
        return {"split": split, "metric": metric} | known

    measured = [estimate(name, 0.8) for name in SHOWN] + [estimate("auroc", 0.9, "validation"), estimate("ece", 0.1)]
    cohort = [{"split": "train", "persons": 90, "rows": 100, "events": None, "first_year": 2019, "last_year": 2022}]
    trained = {"train_rows": 100, "train_events": None}
    described = about("cnn", "onehot") | {"min_cell_count": 5, "version": "1", "reason": None}
    looks_at = [{"text": "cough | dry", "share": 0.31, "effect": 1.2}, {"text": "sprain", "share": 0.2, "effect": -0.5}]
    text = card(described, {"trained": trained, "cohort": cohort, "metrics": measured}, 42, looks_at)
    assert "| cough / dry | 31 % | +1.2 |\n| sprain | 20 % | -0.5 |" in text
    assert "| AUROC | 0.800 | 0.700 to 0.900 |" in text
    assert text.count("0.800") == len(SHOWN)
    assert "0.900 | 0.800" not in text
    assert set(SHOWN) <= {*METRICS, *CALIBRATION}
    assert "| train | 90 | 100 |  | 2019 | 2022 |" in text
    assert "which the bundle names: 42" in text


def test_a_card_is_one_that_the_hugging_face_hub_reads() -> None:
    described = about("cnn", "onehot") | {"min_cell_count": 5, "version": "1", "reason": None}
    measured = [{"split": "test", "metric": "auroc", "estimate": 0.81234, "lower": 0.7, "upper": 0.9}]
    trained = {"train_rows": 100, "train_events": 30}
    text = card(described, {"trained": trained, "cohort": [], "metrics": measured}, 42)
    data = ModelCard(text).data
    assert (data.library_name, data.pipeline_tag) == ("conceptbridge", "tabular-classification")
    [result] = data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("roc_auc", 0.812, "test")
    assert ModelCard(card(described, {"trained": trained, "cohort": [], "metrics": []}, 42)).data.eval_results is None


def test_a_bundle_says_what_its_model_looks_at(sent: Sent, tmp_path: Path) -> None:
    for backend in ("onehot", "sentence-transformers"):
        files = read_package(sent.bundle("logistic", backend), "bundle", tmp_path / backend)
        assert files["learner"] == "logistic"
        told = (tmp_path / backend / "card.md").read_text()
        rows = dict(re.findall(r"^\| (\w+) \| [\d.]+ % \| ([+-][\d.]+) \|$", told, re.MULTILINE))
        assert float(rows["cough"]) > 0 > float(rows["sprain"])


# -- what a stranger may have changed: every manifest below is honest about its files


def edit_json(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(change(value) or value))

    return edit


def model(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    return edit_json("model/model.json", change)


def token(**fields: Any) -> Callable[[Path], None]:
    return edit_json("vocabulary.json", lambda v: v["tokens"][0].update(fields))


def content(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def arrays(name: str, change: Callable[[dict[str, Any]], Any], **metadata: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        found = load_file(folder / "model" / name)
        change(found)
        save_file(found, folder / "model" / name, metadata or None)

    return edit


def narrower(weights: dict[str, Any]) -> None:
    """Heads of 3 instead of 4, all else as it was."""
    for name in ("queries_keys_values", "queries_keys_values_bias"):
        weights[name] = weights[name][..., :3].copy()


def header(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """The head of the weights' file changed, its numbers left."""

    def edit(folder: Path) -> None:
        path = folder / "model/weights.safetensors"
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        head = json.loads(data[8 : 8 + length])
        change(head)
        new = json.dumps(head).encode()
        path.write_bytes(struct.pack("<Q", len(new)) + new + data[8 + length :])

    return edit


def forest(pattern: str, replacement: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "model/seed-1.txt"
        text, made = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.MULTILINE)
        assert made, pattern
        path.write_text(text)

    return edit


def folder_for_file(folder: Path) -> None:
    path = folder / "metrics.json"
    path.unlink()
    path.mkdir()
    (path / "x").touch()


def told(**fields: Any) -> dict[str, Any]:
    return fields


Change = Callable[[Path], None] | dict[str, Any]
EMBEDDING = about("cnn", "sentence-transformers")["embedding"]
NAN = float("nan")
HOSTILE: dict[str, tuple[str, Change, str]] = {
    # what the bundle says of itself
    "an unknown learner": ("cnn", told(learner="attention"), "about: learner: 'attention' is not one of"),
    "another learner": ("cnn", told(learner="transformer"), "about: learner: is 'transformer' in the bundle"),
    "another source": ("cnn", told(source="elsewhere"), "about: source: is 'elsewhere' in the bundle and 'home'"),
    "another task": ("cnn", told(task="sepsis"), "about: task: is 'sepsis'"),
    "fewer seeds": ("cnn", told(seeds=1), "about: seeds: is 1 in the bundle and 2 in this study"),
    "a field too many": ("cnn", told(run="os.system"), "about: .*'run' was unexpected"),
    "another embedding": (
        "cnn",
        told(embedding=EMBEDDING | {"fingerprint": "e" * 64}),
        "about: embedding.fingerprint: the bundle's made .* is not this study's",
    ),
    "another backend": ("cnn", told(embedding=EMBEDDING | {"backend": "onehot"}), "embedding.backend: is 'onehot'"),
    "a fingerprint that is none": (
        "cnn",
        told(embedding=EMBEDDING | {"fingerprint": "../../etc"}),
        "about: embedding.fingerprint: .*does not match",
    ),
    "another outcome window": (
        "cnn",
        told(definition=DEFINITION | {"outcome": DEFINITION["outcome"] | {"days": [1, 30]}}),
        r"definition.outcome.days: is \[1, 30\] in the bundle and \[1, 7\] in this study",
    ),
    "a task with more to it": ("cnn", told(definition=DEFINITION | {"censoring": "drop"}), "definition.censoring"),
    "a reason beside a model": ("cnn", told(reason="none"), "model: does not belong in such a bundle"),
    # files
    "code beside the model": ("cnn", content("model/setup.py", b"print()"), "setup.py: is not a file of such a model"),
    "a pickle beside the model": ("cnn", content("model/model.pkl", b"\x80\x04."), "model.pkl: is not a file"),
    "a file beside the bundle's": ("cnn", content("run.sh", b"#!/bin/sh"), "run.sh: does not belong in such a bundle"),
    "no vocabulary": ("cnn", lambda f: (f / "vocabulary.json").unlink(), "vocabulary.json: is missing"),
    "a card that a terminal would obey": ("cnn", content("card.md", b"\x1b]0;x"), "card.md: has control characters"),
    "a card in another encoding": ("cnn", content("card.md", b"\xe4"), "card.md: is not UTF-8"),
    "a folder for a file": (
        "cnn",
        folder_for_file,
        "metrics.json: is missing",
    ),
    "no weights": ("cnn", lambda f: (f / "model/weights.safetensors").unlink(), "weights.safetensors: is missing"),
    "no model.json": ("cnn", lambda f: (f / "model/model.json").unlink(), "model.json: is missing"),
    # model.json
    "a model of no JSON": ("cnn", content("model/model.json", b"{'seeds': 1}"), "model.json: is not JSON"),
    "a model in another encoding": ("cnn", content("model/model.json", b"\xff\xfe{}"), "model.json: is not UTF-8"),
    "a deep model": (
        "cnn",
        content("model/model.json", b'{"a":' * 500 + b"1" + b"}" * 500),
        "more than 20 levels deep",
    ),
    "a field that nobody knows": ("cnn", model(lambda m: m.update(hook="x")), "model.json: .*'hook' was unexpected"),
    "another strategy": ("cnn", model(lambda m: m.update(strategy="pooled")), "model.json: strategy: "),
    "other seeds": ("cnn", model(lambda m: m.update(seeds=[1, 7])), r"seeds: is \[1, 7\], expected"),
    "seeds that are no numbers": ("cnn", model(lambda m: m.update(seeds=["../1", "2"])), "model.json: seeds"),
    "a scale of nothing": ("cnn", model(lambda m: m["space"].update(scale=0)), "space.scale"),
    "a scale that is none": ("cnn", model(lambda m: m["space"].update(scale=NAN)), "NaN is not a finite number"),
    "another space": ("cnn", model(lambda m: m["space"].update(fingerprint="0" * 64)), "space.fingerprint"),
    "names it should not have": ("cnn", model(lambda m: m["space"].update(names=["a"])), "space.names"),
    "a name twice": (
        "logistic",
        model(lambda m: m["space"].update(names=["a", "a"])),
        "space.names: are not distinct texts",
    ),
    "names that are none": ("logistic", model(lambda m: m["space"].update(names=[1, None])), "space.names"),
    # arrays
    "a pickle as weights": ("cnn", content("model/weights.safetensors", b"\x80\x04\x95" * 50), "cannot be read"),
    "a header of 9 exabytes": (
        "cnn",
        content("model/weights.safetensors", struct.pack("<Q", 2**63) + b"{}"),
        "weights.safetensors: cannot be read as safetensors",
    ),
    "a header that lies about the shape": (
        "cnn",
        header(lambda h: h["head"].update(shape=[10**6, 10**6])),
        "cannot be read as safetensors",
    ),
    "a header that lies about the place": (
        "cnn",
        header(lambda h: h["head"].update(data_offsets=[0, 10**12])),
        "cannot be read as safetensors",
    ),
    "two arrays in one place": (
        "cnn",
        header(lambda h: h["head_bias"].update(data_offsets=h["head"]["data_offsets"], shape=h["head"]["shape"])),
        "cannot be read as safetensors",
    ),
    "a shape below nothing": ("cnn", header(lambda h: h["head"].update(shape=[-1, 2])), "cannot be read"),
    "an array too many": ("cnn", arrays("weights.safetensors", lambda a: a.update(x=np.ones(3))), "x: is not an array"),
    "an array too few": ("cnn", arrays("weights.safetensors", lambda a: a.pop("head_bias")), "head_bias: is missing"),
    "a wrong shape": (
        "cnn",
        arrays("weights.safetensors", lambda a: a.update(head=a["head"][:, :-1].copy())),
        "head: is of 7 maxima, not 8",
    ),
    "an oversized array": (
        "transformer",
        arrays("weights.safetensors", lambda a: a.update(gathered=np.zeros((2, 1, 400, 400), np.float32))),
        "gathered: has the shape",
    ),
    "heads that do not make the width": (
        "transformer",
        arrays("weights.safetensors", narrower),
        "2 heads of 3 do not make the width of 8",
    ),
    "no numbers at all": (
        "cnn",
        arrays("weights.safetensors", lambda a: a.update({"filters-1": a["filters-1"][:, :, :0].copy()})),
        "has the shape",
    ),
    "a wrong type": (
        "cnn",
        arrays("weights.safetensors", lambda a: a.update(head=a["head"].astype(np.float64))),
        "head: has the type F64, not F32",
    ),
    "a weight that is no number": (
        "cnn",
        arrays("weights.safetensors", lambda a: a["head"].fill(np.nan)),
        "head: has a value that is not finite",
    ),
    "a weight without end": (
        "logistic",
        arrays("coefficients.safetensors", lambda a: a["intercepts"].fill(np.inf)),
        "intercepts: has a value that is not finite",
    ),
    "text beside the weights": (
        "cnn",
        arrays("weights.safetensors", lambda a: None, note="import os"),
        "__metadata__: does not belong in a model",
    ),
    "a center of another width": (
        "cnn",
        arrays("space.safetensors", lambda a: a.update(center=np.zeros(3, np.float32))),
        "center: has the shape",
    ),
    "vectors that it should not carry": (
        "cnn",
        arrays("space.safetensors", lambda a: a.update(carried=np.zeros((3, 3), np.float32))),
        "carried: is not an array",
    ),
    # LightGBM's text
    "no forest": (
        "lightgbm",
        content("model/seed-1.txt", b"import os"),
        "seed-1.txt: is not the text of a LightGBM model",
    ),
    "a forest in bytes": ("lightgbm", content("model/seed-1.txt", b"tree\n\xff"), "seed-1.txt: is not ASCII"),
    "a feature that is not there": ("lightgbm", forest(r"^split_feature=\d+", "split_feature=999999"), "split_feature"),
    "a feature before the first": ("lightgbm", forest(r"^split_feature=\d+", "split_feature=-1"), "split_feature"),
    "a tree that goes in circles": ("lightgbm", forest(r"^left_child=\S+", "left_child=0"), "left_child, right_child"),
    "a leaf that is not there": ("lightgbm", forest(r"^left_child=\S+", "left_child=-99"), "left_child, right_child"),
    "a tree with an empty line": ("lightgbm", forest(r"^leaf_value=", "\nleaf_value="), "Tree=0: an empty line"),
    "more leaves than there are": ("lightgbm", forest(r"^num_leaves=\d+", "num_leaves=99999999"), "split_feature: has"),
    "leaves beyond any number": ("lightgbm", forest(r"^num_leaves=\d+", "num_leaves=99999999999"), "num_leaves: "),
    "a leaf that is no number": ("lightgbm", forest(r"^leaf_value=\S+", "leaf_value=nan"), "leaf_value: 'nan"),
    "a leaf without end": ("lightgbm", forest(r"^leaf_value=\S+", "leaf_value=1e999"), "leaf_value: has a value that"),
    "a split of categories": ("lightgbm", forest(r"^num_cat=0", "num_cat=1"), "num_cat, is_linear"),
    "a decision that is none": ("lightgbm", forest(r"^decision_type=\d+", "decision_type=1"), "decision_type"),
    "a linear leaf": ("lightgbm", forest(r"^is_linear=0", "is_linear=1"), "num_cat, is_linear"),
    "a line that nobody knows": (
        "lightgbm",
        forest(r"^is_linear=0", "is_linear=0\nleaf_const=1"),
        "leaf_const: is ",
    ),
    "a line twice": ("lightgbm", forest(r"^is_linear=0", "is_linear=0\nis_linear=0"), "is_linear: is listed twice"),
    "a tree less": (
        "lightgbm",
        model(lambda m: m.update(kept=[m["kept"][0] + 1, m["kept"][1]])),
        "trees, but `kept` in model.json",
    ),
    "more features": ("lightgbm", forest(r"^max_feature_idx=\d+", "max_feature_idx=999999999"), "max_feature_idx"),
    "another objective": ("lightgbm", forest(r"^objective=.*", "objective=custom"), "objective: 'custom'"),
    "machines to talk to": (
        "lightgbm",
        forest(r"^\[seed: (\d+)\]", r"[seed: \1]\n[machines: 10.0.0.1:12400]"),
        r"parameters: \[machines: 10.0.0.1:12400\]",
    ),
    "a file to read": (
        "lightgbm",
        forest(r"^\[seed: (\d+)\]", r"[seed: \1]\n[forcedsplits_filename: /etc/passwd]"),
        "forcedsplits_filename",
    ),
    "all threads there are": ("lightgbm", forest(r"^\[num_threads: 1\]", "[num_threads: 999]"), "num_threads: 999"),
    "an end that is none": ("lightgbm", forest(r"^end of parameters", "end"), "does not end as a LightGBM model does"),
    # the rest
    "metrics that nobody knows": ("cnn", edit_json("metrics.json", lambda m: m.update(x=1)), "metrics.json: .*'x'"),
    "counts below nothing": (
        "cnn",
        edit_json("metrics.json", lambda m: m["trained"].update(train_rows=-1)),
        "metrics.json: trained.train_rows: -1 is less",
    ),
}
TOKENS_HOSTILE: dict[str, tuple[Change, str]] = {
    "a token with more to it": (token(run="x"), "tokens: 0: must have exactly the fields"),
    "a text without end": (token(text="x" * 5000), "tokens: 0: text: is not a text of 1 to 2000 characters"),
    "a text that a terminal would obey": (token(text="\x1b[2J"), "vocabulary.json: .*control characters"),
    "a text that is none": (token(text=["x"]), "tokens: 0: text"),
    "a concept below nothing": (token(concept_id=-1), "tokens: 0: concept_id"),
    "a concept that is none": (token(concept_id=True), "tokens: 0: concept_id"),
    "a key twice": (edit_json("vocabulary.json", lambda v: v["tokens"].append(v["tokens"][0])), "is listed twice"),
    "tokens that are no list": (
        edit_json("vocabulary.json", lambda v: v.update(tokens={})),
        "exactly the field tokens",
    ),
}


def changed(sent: Sent, learner: str, change: Change, tmp_path: Path) -> tuple[Path, str]:
    """A bundle with this change, and its backend."""
    backend = "onehot" if learner == "logistic" else "sentence-transformers"
    described = read_package(sent.bundle(learner, backend), "bundle", tmp_path / "files")
    if callable(change):
        change(tmp_path / "files")
    else:
        described |= change
    write_package(tmp_path / "files", "bundle", described, tmp_path / "bundle.zip")
    return tmp_path / "bundle.zip", backend


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_bundle_is_refused_by_name_and_nothing_is_written(sent: Sent, tmp_path: Path, case: str) -> None:
    learner, change, message = HOSTILE[case]
    bundle, backend = changed(sent, learner, change, tmp_path)
    width = None if backend == "onehot" else WIDTH
    with pytest.raises(StudyError) as refused:
        receive(bundle, about(learner, backend), width, tmp_path / "out" / "arm")
    assert re.search(message, str(refused.value)), str(refused.value)
    assert str(refused.value).startswith(str(bundle))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("case", TOKENS_HOSTILE)
def test_hostile_texts_are_refused_by_name(sent: Sent, tmp_path: Path, case: str) -> None:
    change, message = TOKENS_HOSTILE[case]
    bundle, _ = changed(sent, "cnn", change, tmp_path)
    with pytest.raises(StudyError) as refused:
        receive_tokens([bundle], "home", tmp_path / "tokens.parquet")
    assert re.search(message, str(refused.value)), str(refused.value)
    assert not (tmp_path / "tokens.parquet").exists()


FUZZED = {"lightgbm": "seed-1.txt", "cnn": "weights.safetensors", "logistic": "model.json"}


@pytest.mark.parametrize("learner", FUZZED)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_model_with_changed_bytes_is_refused_or_predicts(
    sent: Sent, tmp_path: Path, learner: str, data: st.DataObject
) -> None:
    """What passes the check is loaded and used: it must not take the process with it."""
    backend = "onehot" if learner == "logistic" else "sentence-transformers"
    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sent.arm(learner, backend) / "models/home", folder)
    path = folder / FUZZED[learner]
    # names of features alone are most of a forest's head
    whole = bytearray(path.read_bytes())
    first = max(whole.find(b"Tree=0"), 0)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(first, len(whole) - 1))
        some = data.draw(st.sampled_from([b"0", b"9", b"-", b"\n", b" ", b"=", b"e", b".", b"}", b"\x00", b"\xff"]))
        end = at + data.draw(st.integers(0, 2))
        whole[at:end] = some
    path.write_bytes(whole)
    try:
        check_model(folder, about(learner, backend), None if backend == "onehot" else WIDTH, "bundle")
    except StudyError as error:
        assert str(error).startswith("bundle: ")
        return
    trained = load_model(folder, learner, FINGERPRINT)
    home = site(sent.home, "home", backend != "onehot")
    tested = home.draws(trained.space, home.rows.of("test"))
    assert trained.predict(tested).shape == (2, len(tested[0]))


# -- a folder of bundles


def wanted(*learners: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {("influenza", "made", learner): about(learner, "onehot") for learner in learners}


def test_a_folder_has_the_bundles_that_a_study_asks_for(sent: Sent, tmp_path: Path) -> None:
    for learner in ("cnn", "logistic"):
        shutil.copy(sent.bundle(learner, "onehot"), tmp_path / f"{learner}.zip")
    found = find_bundles(tmp_path, "home", wanted("cnn", "lightgbm"))
    assert found == {("influenza", "made", "cnn"): tmp_path / "cnn.zip"}


@pytest.mark.parametrize(
    ("source", "names", "message"),
    [
        ("home", ["a.zip", "b.zip"], r"b\.zip: is a second bundle of influenza, made, cnn from home"),
        ("elsewhere", ["a.zip"], "has no bundle from elsewhere .*; it has bundles from home"),
        ("home", [], "has no bundle from home"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_when_the_study_is_planned(
    sent: Sent, tmp_path: Path, source: str, names: list[str], message: str
) -> None:
    for name in names:
        shutil.copy(sent.bundle("cnn", "onehot"), tmp_path / name)
    with pytest.raises(StudyError, match=message):
        find_bundles(tmp_path, source, wanted("cnn"))


def test_a_bundle_of_another_task_s_meaning_is_refused_when_the_study_is_planned(sent: Sent, tmp_path: Path) -> None:
    shutil.copy(sent.bundle("cnn", "onehot"), tmp_path / "cnn.zip")
    asked = wanted("cnn")
    asked["influenza", "made", "cnn"]["definition"] = DEFINITION | {"index": {"domain": "condition", "concepts": [1]}}
    with pytest.raises(StudyError, match=r"definition\.index\.domain: is 'visit' in the bundle and 'condition' in"):
        find_bundles(tmp_path, "home", asked)
