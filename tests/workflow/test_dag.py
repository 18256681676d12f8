"""The DAG on a tiny network: whole, and the same on one core and two."""

import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.workflow

SITES = ["riverside", "lakeshore"]
LEARNERS = ["cnn", "lightgbm"]
STRATEGIES = ["local", "direct", "tune-head", "leave-one-out"]
TINY: dict[str, Any] = {
    "name": "tiny",
    "simulate": {"persons": 600, "seed": 1},
    "sites": {site: {"extract": "simulated"} for site in SITES},
    "tasks": {
        "influenza": {
            "index": {"domain": "visit", "concepts": [9203], "occurrence": "all"},
            "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]},
            "split": {"by": "time", "validation": "2022-09-01", "test": "2023-09-01"},
            "min_events": 3,
            "min_rows": 3,
        }
    },
    "embeddings": ["onehot", "random"],
    "learners": {
        "cnn": {"filters": 8, "check_every": 10},
        "lightgbm": {"num_iterations": 10},
    },
    "strategies": STRATEGIES,
    "trials": 2,
    "steps": 20,
    "tuning_depth": [0, 1],
    "seeds": 2,
    "evaluation": {"replicates": 100},
}


def snakemake(folder: Path, study: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow in ``folder`` on ``study``, its cache of vectors beside it."""
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump({"embedding_cache": str(folder.parent / "cache")} | study))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile"), "--directory", str(folder)]
    return subprocess.run(
        [*command, "--configfile", str(config), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )


def test_every_cell_of_the_study_has_an_estimate_or_a_reason(done: Path) -> None:
    arms = duckdb.read_parquet(str(done / "results/tables/arms.parquet")).to_arrow_table().to_pylist()
    cells = {(a["embedding"], a["learner"], a["strategy"], a["source"], a["target"]) for a in arms}
    pairs = {
        strategy: [(s, t) for s, t in product(SITES, SITES) if (s == t) == (strategy == "local")]
        for strategy in STRATEGIES
    } | {"leave-one-out": [("others", site) for site in SITES]}
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


def test_every_job_has_a_log_and_a_benchmark(done: Path) -> None:
    results = done / "results"
    logs = {p.relative_to(results / "logs").with_suffix("") for p in results.glob("logs/**/*.log")}
    measured = {p.relative_to(results / "benchmarks").with_suffix("") for p in results.glob("benchmarks/**/*.tsv")}
    assert logs == measured
    assert len(logs) > 40


def test_no_job_uses_more_processors_than_it_was_granted(done: Path) -> None:
    # what a command says when it is through; in a shorter job, a tick of the clock counts
    logs = [path.read_text(encoding="utf-8") for path in done.glob("results/logs/**/*.log")]
    used = [re.search(r" ([\d.]+) s, ([\d.]+) CPU s on (\d+) threads$", log, re.MULTILINE) for log in logs]
    jobs = [tuple(map(float, words.groups())) for words in used if words]
    assert len(jobs) == len(logs)
    assert {threads for _, _, threads in jobs} == {1, 2}
    assert max(cpu / (seconds * threads) for seconds, cpu, threads in jobs if seconds > 1) <= 1.1


def test_the_page_is_written(done: Path) -> None:
    page = (done / "results/report/index.html").read_text(encoding="utf-8")
    assert "riverside" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


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
        ({"sites": {"mine": {"extract": "/no/such/folder"}}}, "/no/such/folder: there is no such file or folder"),
    ],
)
def test_a_mistake_ends_with_one_message(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run = snakemake(tmp_path, TINY | change, "--dry-run")
    assert run.returncode != 0
    assert message in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
