"""The public names: light to import, and what they do beside docs/api.md, whose examples tests/workflow runs."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

import conceptbridge
from conceptbridge import Results, Study, StudyError, load_bundle, metrics

ROOT = Path(__file__).parents[2]
PUBLIC = {"Bundle", "Results", "Study", "StudyError", "load_bundle", "metrics", "simulate"}


def demo(**changed: Any) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    return config | changed


def test_the_public_names_are_there_and_cost_nothing_until_they_are_asked_for() -> None:
    assert set(dir(conceptbridge)) >= PUBLIC
    code = f"""
import sys, conceptbridge
heavy = {{"numpy", "pandas", "pyarrow", "torch", "yaml"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
for name in {sorted(PUBLIC)}:
    getattr(conceptbridge, name)
from conceptbridge import simulate
assert callable(simulate.write_extract)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'study_of'"):
        conceptbridge.study_of  # noqa: B018


def test_a_study_is_read_from_a_file_or_from_its_keys(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(demo(results="out")))
    study = Study.read(tmp_path / "study.yaml")
    assert study.config == Study.read(demo(results="out")).config
    assert study.results == Path("out")
    with pytest.raises(StudyError, match=r"nothing.yaml: this study cannot be read \(No such file"):
        Study.read(tmp_path / "nothing.yaml")


def test_an_arm_is_one_cell_with_one_source() -> None:
    strategies = ["local", "direct", "pooled", "leave-one-out"]
    sites = {name: {"extract": "simulated"} for name in ("riverside", "lakeshore")}
    sites["prairie"] = {"extract": "simulated", "role": "target"}
    arms = Study.read(demo(sites=sites, embeddings=["onehot"], learners={"cnn": None}, strategies=strategies)).arms()
    assert Counter(arm.target for arm in arms) == {"riverside": 3, "lakeshore": 3, "prairie": 5}
    assert [(arm.strategy, arm.source) for arm in arms if arm.target == "prairie"] == [
        ("local", "prairie"),
        ("direct", "riverside"),
        ("direct", "lakeshore"),
        ("pooled", "all"),
        ("leave-one-out", "others"),
    ]


def test_every_file_that_a_study_lacks_is_a_mistake_of_its_own(tmp_path: Path) -> None:
    table = {"codebook": str(tmp_path / "none.yaml"), "train": "train.csv", "test": "test.csv"}
    sites = {
        "north": {"extract": "north"},
        "south": {"bundles": "received"},
        "west": {"findings": table},
        "clinic": {"extract": "clinic", "patients": "patients.csv"},
    }
    study = Study.read(demo(sites=sites, data=str(tmp_path), vocabulary="athena"))
    assert [message.split(":")[0].removeprefix(f"{tmp_path}/") for message in study.mistakes()] == [
        "north",
        "none.yaml",
        "clinic",
        "received",
        "patients.csv",
        "athena",
    ]


def test_results_name_what_they_have(tmp_path: Path) -> None:
    results = Results(tmp_path)
    with pytest.raises(StudyError, match=r"there is no table 'arms'; run the study first"):
        results.table("arms")
    (tmp_path / "tables").mkdir()
    pd.DataFrame({"auroc": [0.5]}).to_parquet(tmp_path / "tables/arms.parquet")
    assert results.tables == ["arms"]
    assert list(results.table("arms")["auroc"]) == [0.5]
    with pytest.raises(StudyError, match=r"there is no table 'arm' \(did you mean 'arms'\?\); there are arms"):
        results.table("arm")
    with pytest.raises(StudyError, match=r"index.html: there is no such file; run the study first"):
        results.page()


def test_predictions_are_of_the_embedding_that_the_results_were_made_with(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(json.dumps({"embeddings": {"minilm": "b" * 64}}))
    for version, probability in (("a", 0.1), ("b", 0.2)):
        arm = tmp_path / f"arms/influenza/minilm-{version * 12}/cnn/local/north"
        arm.mkdir(parents=True)
        pd.DataFrame({"probability": [probability]}).to_parquet(arm / "predictions.parquet")
    results = Results(tmp_path)
    assert list(results.predictions("influenza", "north", "local", "cnn", "minilm")["probability"]) == [0.2]
    with pytest.raises(StudyError, match="local/south: there is no such arm"):
        results.predictions("influenza", "south", "local", "cnn", "minilm")
    with pytest.raises(StudyError, match=r"no embedding 'mini' \(did you mean 'minilm'\?\); there are minilm"):
        results.predictions("influenza", "north", "local", "cnn", "mini")


def test_a_bundle_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("not a zip")
    with pytest.raises(StudyError, match=r"a\.zip: "):
        load_bundle(tmp_path / "a.zip")


def test_predictions_are_measured_by_person() -> None:
    rng = np.random.default_rng(0)
    risk = rng.uniform(0.05, 0.95, 400)
    label = (rng.random(400) < risk).astype(int)
    once = metrics(label, risk)
    expected = {
        "auroc": roc_auc_score(label, risk),
        "auprc": average_precision_score(label, risk),
        "brier": brier_score_loss(label, risk),
    }
    for metric, value in expected.items():
        assert once.loc[metric, "estimate"] == pytest.approx(value)
    limited = once.drop(["ici", "ece"])
    assert (limited["lower"] < limited["estimate"]).all()
    assert (limited["estimate"] < limited["upper"]).all()
    assert once.loc[["ici", "ece"], ["lower", "upper"]].isna().all(axis=None)
    assert once.loc["calibration_slope", "lower"] < 1 < once.loc["calibration_slope", "upper"]
    # four rows per person say no more than one
    fourfold = metrics(np.tile(label, 4), np.tile(risk, 4), person=np.tile(np.arange(400), 4))
    pd.testing.assert_frame_equal(fourfold, once, rtol=1e-4)


@pytest.mark.parametrize(
    ("label", "probability", "message"),
    [([0, 1], [0.5], "shapes"), ([0, 2], [0.5, 0.5], "not 0 or 1"), ([0, 1], [0.5, 1.5], "between 0 and 1")],
)
def test_what_cannot_be_measured_is_told(label: list[int], probability: list[float], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        metrics(label, probability)
