"""Listed patients are scored without an outcome, and the coverage report says what the model knows of them."""

import csv
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.vectors import vector_table
from conceptbridge.exchange.score.coverage_report import coverage, write_coverage
from conceptbridge.exchange.score.patient_list import make_patients
from conceptbridge.exchange.score.predict import score
from conceptbridge.learn.arm_files import load_model
from conceptbridge.learn.arm_job import Budget
from conceptbridge.tasks.cohort import SCHEMA as COHORT
from conceptbridge.tasks.sequences import TOKENS
from made_arms import train_local, transfer
from made_site import CONCEPTS, site, vectors_of, write_site
from tiny_site import person, write_cdm

FINGERPRINT = "f" * 64
LOGISTIC = {"penalty": 0.01, "penalties": 11, "patience": 3, "l1_share": 0.5}
FILES = ("cohort", "tokens", "sequences")


def budget(settings: dict[str, Any]) -> Budget:
    return Budget(settings, {}, 1, 2, 5, min_rows=1, min_cell_count=5, scale=True)


def files(folder: Path) -> tuple[Path, Path, Path]:
    cohort, tokens, sequences = (folder / f"{name}.parquet" for name in FILES)
    return cohort, tokens, sequences


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A source with its local arms; its last concept is of too few rows to be told."""
    folder = write_site(tmp_path / "home", CONCEPTS, seed=1)
    tokens = pq.read_table(folder / "tokens.parquet").to_pylist()
    tokens[-1]["rows"] = 4
    pq.write_table(pa.Table.from_pylist(tokens, schema=TOKENS), folder / "tokens.parquet")
    for backend in ("onehot", "sentence-transformers"):
        embedding = {"name": "made", "fingerprint": FINGERPRINT, "backend": backend}
        at_home = site(folder, "home", backend != "onehot")
        train_local(at_home, "logistic", embedding, budget(LOGISTIC), tmp_path / backend)
    return folder


@pytest.mark.parametrize("backend", ["onehot", "sentence-transformers"])
def test_scores_are_those_of_the_model_brought_unchanged(home: Path, tmp_path: Path, backend: str) -> None:
    there = write_site(tmp_path / "there", CONCEPTS, seed=2)
    clinic = site(there, "there", backend != "onehot")
    tokens, least = home / "tokens.parquet", 5
    score(clinic, "logistic", tmp_path / backend, "home", FINGERPRINT, files(there), tokens, least, tmp_path / "a.csv")
    transfer(clinic, "logistic", "direct", {"home": tmp_path / backend}, FINGERPRINT, budget({}), tmp_path / "direct")
    direct = pq.read_table(tmp_path / "direct/predictions.parquet").to_pandas()
    expected = direct[direct.split == "test"].groupby("row_id").probability.mean()
    rows = read_csv(tmp_path / "a.csv")
    np.testing.assert_allclose([float(r["probability"]) for r in rows], expected, rtol=1e-12)
    held = pq.read_table(there / "sequences.parquet").to_pandas().set_index("row_id").tokens.loc[expected.index]
    rare = len(CONCEPTS) - 1
    for row, own in zip(rows, held, strict=True):
        assert int(row["tokens"]) == len(own)
        share = "" if not len(own) else float(np.mean(own == rare))
        assert (float(row["unseen_key"]) if row["unseen_key"] else "") == pytest.approx(share)
        assert row["unseen_text"] == row["unseen_key"]


def test_what_speaks_for_and_against_is_told_patient_by_patient(home: Path, tmp_path: Path) -> None:
    there = write_site(tmp_path / "there", CONCEPTS, seed=2)
    out, told = tmp_path / "a.csv", tmp_path / "a.explained.csv"
    arm, known = tmp_path / "onehot", home / "tokens.parquet"
    score(site(there, "there", False), "logistic", arm, "home", FINGERPRINT, files(there), known, 5, out, None, told)
    patients = {row["person_id"]: float(row["probability"]) for row in read_csv(out)}
    intercept = float(load_model(arm / "models/home", "logistic", FINGERPRINT).model.intercepts.mean())
    added = dict.fromkeys(patients, intercept)
    for row in read_csv(told):
        added[row["person_id"]] += float(row["log_odds"])
        assert row["text"] in CONCEPTS and row["read_as"] == ""
    of_first = [(row["text"], float(row["log_odds"]) > 0) for row in read_csv(told) if row["place"] == "1"]
    assert set(of_first) >= {("cough", True), ("sprain", False)}
    for one, probability in patients.items():  # of a regression on codes they add up
        assert added[one] == pytest.approx(np.log(probability / (1 - probability)), abs=1e-3)


def test_a_source_without_a_model_gives_rows_without_a_probability(home: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none/arm.json").write_text('{"sources": {"home": {"reason": "fewer than 10 events"}}}')
    out = tmp_path / "none.csv"
    none = tmp_path / "none"
    score(site(home, "home"), "logistic", none, "home", FINGERPRINT, files(home), home / "tokens.parquet", 5, out)
    assert {row["probability"] for row in read_csv(out)} == {""}


def test_a_site_with_codes_of_its_own_is_known_by_names(home: Path, tmp_path: Path) -> None:
    names = ["Cough", "a sprain", "no vector", "fever"]  # in another case; like a name; like nothing
    there = write_site(tmp_path / "there", names, seed=3)
    tokens = pq.read_table(there / "tokens.parquet").to_pylist()
    own = [t | {"key": f"there/{n}|present"} for n, t in enumerate(tokens)]
    own[3]["key"] = "fever|present"  # the one code that is the source's, too
    pq.write_table(pa.Table.from_pylist(own, schema=TOKENS), there / "tokens.parquet")
    vectors = vectors_of(CONCEPTS)
    made = {"Cough": vectors["cough"], "a sprain": vectors["sprain"] + np.float32(0.01), "fever": vectors["fever"]}
    pq.write_table(vector_table(list(made), np.stack(list(made.values()))), there / "table.parquet")
    known, tables = home / "tokens.parquet", (there / "table.parquet", home / "table.parquet")
    found = {row["text"]: row for row in coverage(*files(there), known, *tables, 5).to_pylist()}
    assert {text: row["known"] for text, row in found.items()} == {
        "Cough": "text",
        "a sprain": "near",
        "no vector": "unseen",
        "fever": "key",
    }
    assert found["a sprain"]["nearest"] == "sprain"
    assert found["a sprain"]["similarity"] > 0.99
    # one-hot columns are codes: the same name under another code is not seen
    onehot = coverage(*files(there), known, None, None, 5)
    assert dict(zip(onehot["text"].to_pylist(), onehot["known"].to_pylist(), strict=True)) == {
        "Cough": "unseen",
        "a sprain": "unseen",
        "no vector": "unseen",
        "fever": "key",
    }


def test_the_report_shows_no_small_count(home: Path, tmp_path: Path) -> None:
    tables = (home / "table.parquet", home / "table.parquet")
    table = coverage(*files(home), home / "tokens.parquet", *tables, 41)
    assert any(rows is None for rows in table["rows"].to_pylist())
    assert all(rows is None or rows >= 41 for rows in table["rows"].to_pylist())
    write_coverage(table, "home", 41, tmp_path / "coverage.csv", tmp_path / "coverage.md")
    assert len(read_csv(tmp_path / "coverage.csv")) == len(table)
    assert "| key | the source has the same concept" in (tmp_path / "coverage.md").read_text(encoding="utf-8")


def reference(folder: Path, rows: list[tuple[int, date]]) -> Path:
    columns = {"label": 1, "split": "test", "sex": "female", "age": 40, "race": "unknown"}
    made = [{"row_id": n, "person_id": p, "index_date": d} | columns for n, (p, d) in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(made, schema=COHORT), folder / "reference.parquet")
    return folder / "reference.parquet"


def test_a_list_of_patients_becomes_a_cohort_beside_the_site_s_own(tmp_path: Path) -> None:
    cdm = write_cdm(tmp_path / "cdm", person=[person(n) for n in (1, 2, 3)], observation_period=[])
    (tmp_path / "list.csv").write_text("person_id,index_date\n3,2024-05-01\n1,2024-06-01\n")
    own = reference(tmp_path, [(1, date(2024, 6, 1)), (2, date(2020, 1, 1))])
    make_patients(cdm, "clinic", tmp_path / "list.csv", own, tmp_path / "cohort.parquet")
    made = pq.read_table(tmp_path / "cohort.parquet")
    assert made.schema.equals(COHORT)
    assert [(r["person_id"], r["split"], r["label"]) for r in made.to_pylist()] == [
        (1, "test", 0),
        (2, "train", 0),
        (3, "test", 0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("person_id,index_date\n", "lists no patients"),
        ("person_id,index_date\n9,2024-05-01\n", "lists persons that clinic has no record of"),
        ("person_id\n1\n", "the column index_date is missing"),
        ("person_id,index_date\n1,tomorrow\n", "row 1 of the data, column index_date: is not a date; write YYYY-MM-DD"),
    ],
)
def test_a_list_that_cannot_be_scored_is_refused(tmp_path: Path, text: str, message: str) -> None:
    cdm = write_cdm(tmp_path / "cdm", person=[person(1)])
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(StudyError, match=message):
        make_patients(cdm, "clinic", tmp_path / "list.csv", reference(tmp_path, []), tmp_path / "cohort.parquet")
