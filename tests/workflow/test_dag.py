"""The DAG on a tiny network: whole, and the same on one core and two."""

import re
import runpy
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pytest

from conceptbridge.study.embeddings import find_embedding
from tiny_study import LEARNERS, ROOT, SITES, STRATEGIES, TINY, finish, snakemake

pytestmark = pytest.mark.workflow


def test_every_cell_of_the_study_has_an_estimate_or_a_reason(done: Path) -> None:
    arms = duckdb.read_parquet(str(done / "results/tables/arms.parquet")).to_arrow_table().to_pylist()
    cells = {(a["embedding"], a["learner"], a["strategy"], a["source"], a["target"]) for a in arms}
    pairs = {
        strategy: [(s, t) for s, t in product(SITES, SITES) if (s == t) == (strategy == "local")]
        for strategy in STRATEGIES
    } | {"pooled": [("all", site) for site in SITES], "leave-one-out": []}
    assert cells == {
        (e, learner, strategy, s, t)
        for e, learner, strategy in product(TINY["embeddings"], LEARNERS, STRATEGIES)
        for s, t in pairs[strategy]
    }
    assert len(arms) == len(cells)
    assert all((a["auroc"] is None) == (a["status"] == "not estimable") for a in arms)
    assert all(a["reason"] for a in arms if a["status"] == "not estimable")
    assert any(a["status"] == "estimated" for a in arms)


def test_every_test_row_is_predicted_by_every_arm_and_seed(done: Path) -> None:
    for site in SITES:
        cohort = f"{done}/results/tasks/influenza/{site}/cohort.parquet"
        tested = duckdb.sql(f"SELECT count(*) FROM '{cohort}' WHERE split <> 'train'").fetchall()[0][0]
        for path in done.glob(f"results/arms/influenza/*/*/*/{site}/predictions.parquet"):
            counts = duckdb.sql(f"SELECT count(*) FROM '{path}' GROUP BY source, seed").fetchall()
            assert {n for (n,) in counts} <= {tested}


def test_every_job_has_a_log_that_ends_with_what_it_took(done: Path) -> None:
    logs = list((done / "results/logs").glob("**/*.log"))
    assert len(logs) > 50
    took = re.compile(r"[\d.]+ s, [\d.]+ CPU s on \d+ threads, \d+ MB$")
    assert [log for log in logs if not took.search(log.read_text(encoding="utf-8").strip())] == []


def test_no_job_uses_more_processors_than_it_was_granted(done: Path) -> None:
    # what a command says when it is through; in a shorter job, a tick of the clock counts
    logs = [path.read_text(encoding="utf-8") for path in done.glob("results/logs/**/*.log")]
    used = [re.search(r" ([\d.]+) s, ([\d.]+) CPU s on (\d+) threads, \d+ MB$", log, re.MULTILINE) for log in logs]
    jobs = [tuple(map(float, words.groups())) for words in used if words]
    assert len(jobs) == len(logs)
    assert {threads for _, _, threads in jobs} == {1, 2}
    assert max(cpu / (seconds * threads) for seconds, cpu, threads in jobs if seconds > 1) <= 1.1


def test_no_job_takes_more_than_four_fifths_of_the_memory_that_its_rule_asks_for(done: Path) -> None:
    asks = runpy.run_path(str(ROOT / "benchmarks/asks.py"))
    jobs = asks["read"](done)
    assert len(jobs) > 50
    assert jobs[jobs["took"] > asks["MOST"] * jobs["asked"]].empty
    lines = asks["table"]({"tiny": jobs, "again": jobs}).splitlines()
    assert len(lines) == 2 + jobs["rule"].nunique()
    assert all(line.count("|") == 5 for line in lines)


def test_the_page_is_written(done: Path) -> None:
    page = (done / "results/report/index.html").read_text(encoding="utf-8")
    assert "riverside" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_limits_for_methods_are_added_to_a_finished_study(done: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(done, tmp_path / "copy")
    evaluation = TINY["evaluation"] | {"training": "resampled", "resamples": 4}
    said = finish(folder, TINY | {"evaluation": evaluation}, "results/report/index.html")
    assert "rule train:" not in said
    limits = duckdb.read_parquet(str(folder / "results/tables/method_limits.parquet")).to_arrow_table().to_pylist()
    assert {row["target"] for row in limits} == set(SITES)
    estimated = [row for row in limits if row["lower"] is not None]
    assert any(row["quantity"] == "difference" for row in estimated)
    for row in estimated:
        assert (row["method_lower"] is None) == (row["reason"] is not None)
        assert row["reason"] or row["method_lower"] <= row["lower"] < row["upper"] <= row["method_upper"]
    assert "Table: limits for methods" in (folder / "results/report/index.html").read_text(encoding="utf-8")


def test_another_model_s_predictions_are_added_to_a_finished_study(done: Path, tmp_path: Path) -> None:
    """And cohort and predictions are written as MEDS; nothing is trained again."""
    folder = shutil.copytree(done, tmp_path / "copy")
    for site in SITES:
        cohort = f"'{folder}/results/tasks/influenza/{site}/cohort.parquet'"
        told = "person_id AS subject_id, index_date AS prediction_time, age / 200 AS probability"
        duckdb.sql(f"COPY (SELECT {told} FROM {cohort}) TO '{folder}/motor-{site}.csv'")
    study = TINY | {"external": {"motor": "motor-{site}.csv"}}
    metrics, meds = "results/metrics/influenza/riverside/metrics.parquet", "results/meds/influenza/riverside"
    said = finish(folder, study, metrics, meds)
    assert "rule train:" not in said
    (row,) = duckdb.sql(
        f"SELECT learner, strategy, source FROM '{folder / metrics}' "
        "WHERE embedding = 'motor' AND split = 'test' AND metric = 'auroc'"
    ).fetchall()
    assert row == ("external", "external", "elsewhere")
    written = folder / meds
    assert (written / "labels/held_out.parquet").is_file()
    assert (written / "predictions/motor/external/external/elsewhere/1.parquet").is_file()
    assert len(list((written / "predictions/onehot").rglob("*.parquet"))) > 2
    table = f"'{folder}/results/tasks/influenza/riverside/cohort.parquet'"
    duckdb.sql(f"COPY (SELECT person_id, index_date, [age, 1.5] AS v FROM {table}) TO '{folder}/v-riverside.parquet'")
    shutil.copy(folder / "v-riverside.parquet", folder / "v-lakeshore.parquet")
    spec = {"backend": "representation", "file": "v-{site}.parquet"}
    vectors = find_embedding("motor", {"motor": spec}, "embeddings").id
    table = f"results/embeddings/{vectors}/influenza/riverside.parquet"
    finish(folder, TINY | {"embeddings": [*TINY["embeddings"], {"motor": spec}]}, table)
    rows = duckdb.sql(f"SELECT count(*), min(len(vector)) FROM '{folder / table}'").fetchall()
    assert rows == duckdb.sql(f"SELECT count(*), 2 FROM '{folder}/v-riverside.parquet'").fetchall()


def test_snakemake_s_own_report_has_the_page_tables_and_figures(done: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(done, tmp_path / "copy")
    run = snakemake(folder, TINY, "--report", "report.html")
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]
    report = (folder / "report.html").read_text(encoding="utf-8")
    for category in ("Answers", "Tables", "Figures"):
        assert f'"{category}"' in report


def test_one_core_gives_the_same_bytes_as_two(done: Path, tmp_path: Path) -> None:
    alone = tmp_path / "one"
    alone.mkdir()
    run = snakemake(alone, TINY, "--cores", "1")
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]
    compared = 0
    for pattern in ("arms/**/predictions.parquet", "tables/*", "metrics/**/*.parquet"):
        for path in sorted((done / "results").glob(pattern)):
            assert path.read_bytes() == (alone / path.relative_to(done)).read_bytes(), path
            compared += 1
    assert compared > 40


def test_feasibility_asks_for_no_embedding_and_no_model(tmp_path: Path) -> None:
    run = snakemake(tmp_path, TINY, "--dry-run", "--quiet", "host", "--", "feasibility")
    assert "profiles/default" in run.stderr  # its settings count without being asked for
    rules = set(re.findall(r"^rule (\w+):", run.stdout + run.stderr, re.MULTILINE))
    assert rules == {"simulate", "ingest", "vocabulary", "cohort", "sequences", "survey", "units", "feasibility"}


def test_the_feasibility_page_is_written(done: Path) -> None:
    assert "riverside" in (done / "results/feasibility/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": ["onehot"]}, "unknown key 'embedding' (did you mean 'embeddings'?)"),
        ({"embeddings": ["onehott"]}, "'onehott' is not in the catalogue of embeddings (did you mean 'onehot'?)"),
        ({"sites": {"riverside": {}}}, "sites.riverside: the key 'extract' is missing"),
        ({"sites": {"mine": {"extract": "/no/such/folder"}}}, "/no/such/folder: does not exist"),
    ],
)
def test_a_mistake_ends_with_one_message(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run = snakemake(tmp_path, TINY | change, "--dry-run")
    assert run.returncode != 0
    assert message in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
