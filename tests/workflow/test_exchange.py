"""Hospitals in folders of their own, joined by bundles alone, find what the study on one disk finds."""

import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from conceptbridge.simulate.network import write_extract
from tiny_study import TINY, finish, task

pytestmark = pytest.mark.workflow

SOURCE, TARGET, CLINIC = "riverside", "lakeshore", "clinic"
EMBEDDINGS = ["onehot", "ontology", "random", "translated"]
STRATEGIES = ["local", "direct", "recalibrate", "tune-head", "tune-all"]
STUDY: dict[str, Any] = (
    TINY
    | {"name": "exchange", "simulate": {"persons": 900, "seed": 1}, "min_cell_count": 5}
    | {"embeddings": EMBEDDINGS}
    | {"learners": {"cnn": TINY["learners"]["cnn"]}, "strategies": STRATEGIES}
    | task(
        min_rows=15,  # what fewer persons have than may leave is in no model
        min_values=5,
        predictors={"domains": ["condition", "drug", "procedure", "measurement", "observation"]},
    )
)
del STUDY["tuning_curve"]


def run(folder: Path, sites: dict[str, Any], *targets: str, **changed: Any) -> str:
    """Run the workflow in ``folder`` with these sites and return what it said."""
    return finish(folder, STUDY | changed | {"sites": sites, "embedding_cache": str(folder / "cache")}, *targets)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``whole`` has both hospitals; ``source`` and ``target`` one each, and between them go zips."""
    folder = tmp_path_factory.mktemp("network")
    tables = "results/tables/arms.parquet"
    both = {SOURCE: {"extract": "simulated", "role": "source"}, TARGET: {"extract": "simulated"}}
    run(folder / "whole", both, tables)
    run(folder / "source", {SOURCE: {"extract": "simulated"}}, "bundle")
    shutil.copytree(folder / "source/results/bundles" / SOURCE, folder / "mail")
    shutil.rmtree(folder / "source")  # what is not in the mail is not there
    run(folder / "target", {TARGET: {"extract": "simulated"}, SOURCE: {"bundles": "../mail"}}, tables)
    return folder


def arms(folder: Path) -> list[dict[str, Any]]:
    table = duckdb.read_parquet(str(folder / "results/tables/arms.parquet")).to_arrow_table().to_pylist()
    return sorted((a for a in table if a["target"] == TARGET), key=lambda a: [str(a[k]) for k in KEY])


KEY = ("task", "embedding", "learner", "strategy", "source", "target")


def test_hospitals_joined_by_bundles_find_what_one_disk_finds(network: Path) -> None:
    whole, alone = arms(network / "whole"), arms(network / "target")
    assert {a["strategy"] for a in whole if a["auroc"] is not None} == set(STRATEGIES)
    assert whole == alone


def test_a_hospital_without_one_code_of_the_source_is_scored_and_told_what_the_model_knows(network: Path) -> None:
    """Prairie with its own codes for everything, and no outcome: only the names are left."""
    folder = network / "clinic"
    extract = folder / "extract"
    write_extract("prairie", STUDY["simulate"]["persons"], STUDY["simulate"]["seed"], extract)
    _recode(extract)
    with duckdb.connect() as db:
        listed = f"SELECT person_id, visit_start_date AS index_date FROM '{extract}/visit_occurrence.parquet'"
        db.execute(f"COPY ({listed} WHERE visit_concept_id = 9203 LIMIT 40) TO '{folder}/patients.csv'")
    sites = {CLINIC: {"extract": "extract", "patients": "patients.csv"}, SOURCE: {"bundles": "../mail"}}
    run(folder, sites, "score")
    scores = folder / "results/scores/influenza" / CLINIC / SOURCE
    (path,) = scores.glob("random-*/cnn.csv")
    rows = duckdb.read_csv(str(path)).to_arrow_table().to_pylist()
    asked = duckdb.read_csv(str(folder / "patients.csv")).to_arrow_table().to_pylist()
    assert {(r["person_id"], r["index_date"]) for r in rows} == {(r["person_id"], r["index_date"]) for r in asked}
    assert all(0 <= r["probability"] <= 1 for r in rows)
    assert {r["unseen_key"] for r in rows if r["tokens"]} == {1.0}  # not one code in common
    assert min(r["unseen_text"] for r in rows if r["tokens"]) < 1  # but names
    (path,) = scores.glob("random-*/coverage.csv")
    table = duckdb.read_csv(str(path)).to_arrow_table().to_pylist()
    assert {row["known"] for row in table} == {"text", "near"}
    assert all((row["similarity"] is not None) == (row["known"] == "near") for row in table)
    sheet = path.with_suffix(".md").read_text(encoding="utf-8")
    assert re.search(r"\| key \|.*\| 0 \| 0\.0% \|", sheet)
    (path,) = scores.glob("translated-*/coverage.csv")
    read = duckdb.read_csv(str(path)).to_arrow_table().to_pylist()
    assert {row["known"] for row in read} <= {"read", "unseen"}
    same_name = [row for row in read if row["known"] == "read" and row["text"] == row["nearest"]]
    assert len(same_name) > len(read) / 5  # it has names alone, and some patients
    (path,) = scores.glob("translated-*/cnn.csv")
    assert len(set(duckdb.read_csv(str(path)).to_arrow_table()["probability"].to_pylist())) > 10
    for name in ("onehot", "ontology"):  # they know ages and numbers of records alone: no hierarchy has local codes
        (path,) = scores.glob(f"{name}-*/coverage.csv")
        assert set(duckdb.read_csv(str(path)).to_arrow_table()["known"].to_pylist()) == {"unseen"}


def _recode(extract: Path) -> None:
    """Every clinical concept of the extract gets a local number, and keeps its name."""
    columns = {
        "condition_occurrence": "condition_concept_id",
        "drug_exposure": "drug_concept_id",
        "procedure_occurrence": "procedure_concept_id",
        "measurement": "measurement_concept_id",
        "observation": "observation_concept_id",
        "concept": "concept_id",
    }
    local = "CASE WHEN {0} > 0 AND {0} < 2000000000 THEN {0} + 2000000000 ELSE {0} END"
    with duckdb.connect() as db:
        for table, column in columns.items():
            path = extract / f"{table}.parquet"
            new = path.with_suffix(".new")
            if table == "concept":  # visits, sexes and units keep theirs
                recoded = f"SELECT * REPLACE ({local.format(column)} AS {column}) FROM '{path}'"
                query = f"FROM '{path}' UNION {recoded}"
            else:
                query = f"SELECT * REPLACE ({local.format(column)} AS {column}) FROM '{path}'"
            db.execute(f"COPY ({query}) TO '{new}' (FORMAT parquet)")
            new.replace(path)
