"""The predictions of another model stand beside the study's own: every row, once, or the file is not taken."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.evaluate.comparisons import Controls
from conceptbridge.evaluate.evaluate import ArmFolders
from conceptbridge.evaluate.external import write_external
from conceptbridge.evaluate.predictions import SPLITS, read_arm, read_cohort, rows_of
from conceptbridge.evaluate.schemas import Arm
from conceptbridge.plan import Plan
from conceptbridge.report.case import describe, in_words
from made_site import write_site
from tiny_extract import write_extract


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("made") / "site", ["cough", "sprain"], rows=30) / "cohort.parquet"


def predictions(cohort: Path) -> pd.DataFrame:
    """What another model says of every row, as MEDS has it."""
    rows = pq.read_table(cohort).to_pandas()
    time = pd.to_datetime(rows["index_date"]) + pd.Timedelta(hours=12)
    risk = np.linspace(0.1, 0.9, len(rows))
    return pd.DataFrame({"subject_id": rows["person_id"], "prediction_time": time, "probability": risk})


@pytest.mark.parametrize("name", ["motor.parquet", "motor.csv"])
def test_every_validation_and_test_row_has_its_prediction(cohort: Path, tmp_path: Path, name: str) -> None:
    told = predictions(cohort).sample(frac=1, random_state=1)
    told = pd.concat([told.assign(seed=1), told.assign(seed=2, probability=1 - told["probability"])])
    told.to_parquet(tmp_path / name) if name.endswith("parquet") else told.to_csv(tmp_path / name, index=False)
    write_external(tmp_path / name, cohort, tmp_path / "arm")
    expected = rows_of(read_cohort(cohort)).of(*SPLITS)
    (read,) = read_arm(tmp_path / "arm", expected)
    assert (read.source, read.seeds, read.reason) == ("elsewhere", [1, 2], None)
    np.testing.assert_allclose(read.probability[0], np.linspace(0.1, 0.9, 30)[expected.row_id])
    np.testing.assert_allclose(read.probability.sum(axis=0), 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.iloc[:-2], r"2 of 20 validation and test rows have no prediction; predict every row"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "1 rows have two predictions"),
        (lambda t: t.assign(probability=[np.nan, *t["probability"][1:]]), "row 1 of the data, column probability"),
        (lambda t: t.assign(probability=["high", *t["probability"][1:]]), "column probability: is not a number"),
        (lambda t: t.assign(probability=t["probability"] * 2), "15 probabilities are outside 0 to 1"),
        (
            lambda t: t.rename(columns={"probability": "score"}),
            "a column probability or predicted_boolean_probability is",
        ),
        (
            lambda t: t.assign(seed=[2] + [1] * (len(t) - 1)),
            r"validation and test rows have no prediction of seed 2|seed 1",
        ),
    ],
)
def test_a_file_with_other_rows_is_refused_by_name(cohort: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    spoil(predictions(cohort)).to_csv(tmp_path / "motor.csv", index=False)
    with pytest.raises(StudyError, match=rf"motor\.csv: .*({message})"):
        write_external(tmp_path / "motor.csv", cohort, tmp_path / "arm")
    assert not (tmp_path / "arm").exists()


def study(folder: Path, **change: Any) -> dict[str, Any]:
    task = {
        "index": {"domain": "visit", "concepts": [9203]},
        "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]},
        "split": {"by": "hash"},
    }
    for site in ("hill", "vale"):
        write_extract(folder / site)
    return {
        "name": "tiny",
        "data": str(folder),
        "sites": {"hill": {"extract": "hill"}, "vale": {"extract": "vale"}},
        "tasks": {"flu": task},
        "embeddings": ["onehot"],
        "learners": ["logistic"],
        "external": {"motor": "motor/{site}.csv"},
        **change,
    }


def test_its_files_are_looked_for_when_a_run_is_planned(tmp_path: Path) -> None:
    config = study(tmp_path)
    with pytest.raises(StudyError, match=r"hill\.csv: there is no such file \(config: external\.motor, flu at hill\)"):
        Plan.read(config)
    (tmp_path / "motor").mkdir()
    for site in ("hill", "vale"):
        (tmp_path / f"motor/{site}.csv").touch()
    plan = Plan.read(config)
    assert plan.given("external", external="motor", task="flu", target="vale") == [str(tmp_path / "motor/vale.csv")]
    with pytest.raises(StudyError, match=r"external\.motor: flu at vale and flu at hill have the same file"):
        Plan.read(config | {"external": {"motor": "motor/hill.csv"}})
    with pytest.raises(StudyError, match=r"external\.onehot: an embedding of the study has this name"):
        Plan.read(config | {"external": {"onehot": "motor/{site}.csv"}})
    names = json.loads(plan.settings("receive_aggregates", reported="hill")["names"])
    assert ("motor" in names["embedding"], names["learner"][-1], names["source"][-1]) == (True, "external", "elsewhere")
    assert "motor" not in " ".join(plan.sent)  # bundles hold models
    assert plan.study.compared()["external"] == ["motor"]


def test_it_has_a_name_in_words() -> None:
    row = {"embedding": "motor", "learner": "external", "strategy": "external", "source": "elsewhere", "target": "hill"}
    assert describe(row) == in_words(row) == "motor, from its file"
    assert Arm("motor", "external", "external", "") in ArmFolders(
        Path(), {}, {}, [], [], external={"motor": Path("here")}
    ).at("hill")
    assert not Controls({}, external=["motor"]).may_be_recommended("motor")
