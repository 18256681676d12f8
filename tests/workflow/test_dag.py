"""The DAG on a tiny network: whole, the same on one core and two, and run again only where something changed."""

import re
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
        "lightgbm": {"trees": 10},
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
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    return subprocess.run(
        [*command, "--configfile", str(config), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def planned(folder: Path, study: dict[str, Any]) -> dict[str, int]:
    """Rule -> jobs that a dry run lists."""
    run = snakemake(folder, study, "--dry-run", "--quiet", "host")
    assert run.returncode == 0, run.stdout + run.stderr
    found = re.search(r"^job +count\n-+ +-+\n(.*?)^total", run.stdout + run.stderr, re.MULTILINE | re.DOTALL)
    return {} if found is None else {rule: int(n) for rule, n in (line.split() for line in found[1].splitlines())}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network") / "two"
    folder.mkdir()
    run = snakemake(folder, TINY, "--cores", "2")
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]
    return folder


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


def test_snakemake_s_own_report_has_the_page_tables_and_figures(done: Path) -> None:
    run = snakemake(done, TINY, "--report", "report.html")
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]
    report = (done / "report.html").read_text(encoding="utf-8")
    for category in ("Answers", "Tables", "Figures"):
        assert f'"{category}"' in report


def test_a_second_run_does_nothing(done: Path) -> None:
    assert planned(done, TINY) == {}


def test_one_core_gives_the_same_bytes_as_two(done: Path) -> None:
    alone = done.parent / "one"
    alone.mkdir(exist_ok=True)
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
    run = snakemake(done, TINY, "--cores", "2", "--", "feasibility")
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]
    assert "riverside" in (done / "results/feasibility/index.html").read_text(encoding="utf-8")


EMBEDDED = {"embedding_tables": 1}  # the joint table of what embeddings are like
JOINT = {"evaluate": len(SITES), "tables": 1, "figures": 1, "report": 1, "provenance": 1, "all": 1}


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        pytest.param(
            {"embeddings": ["onehot", "random", "minilm"]},
            {
                "compute_texts": 1,
                "embed": 2,
                "embedding_quality": 1,
                "train": 2 * 2,
                "transfer": 2 * 2 * 2,
                "pool": 2 * 2,
            }
            | {"leaks": 2}  # the first embedding with meaning: only now can names be compared with the outcome's
            | EMBEDDED
            | JOINT,
            id="an embedding more: its own jobs and the joint tables",
        ),
        pytest.param({"embeddings": ["onehot"]}, EMBEDDED | JOINT, id="an embedding less: the joint tables"),
        pytest.param(
            {"learners": {"lightgbm": TINY["learners"]["lightgbm"]}}, JOINT, id="a learner less: the joint tables"
        ),
        pytest.param(
            {"learners": TINY["learners"] | {"lightgbm": {"trees": 10, "tune-head": {"refit_decay": 0.9}}}},
            {"transfer": 2 * 2} | JOINT,
            id="other settings of a tuning strategy: that learner's arms by that strategy",
        ),
        pytest.param(
            {"steps": 30}, {"train": 4, "transfer": 8, "pool": 4} | JOINT, id="more steps: the networks' arms"
        ),
        pytest.param({"strategies": STRATEGIES[:-1]}, JOINT, id="a strategy less: the joint tables"),
        pytest.param(
            {"strategies": [*STRATEGIES, "recalibrate"]},
            {"transfer": 2 * 2 * 2} | JOINT,
            id="a strategy more: its arms",
        ),
        pytest.param({"pooling": False}, JOINT, id="no pooling: the joint tables"),
        pytest.param(
            {"evaluation": {"replicates": 200}}, JOINT, id="more replicates: evaluation and what comes after it"
        ),
        pytest.param(
            {"texts": {"absent": "No {name}"}},
            {"vocabulary": 2, "sequences": 2, "leaks": 2, "compute_texts": 1, "embed": 2, "embedding_quality": 1}
            | {"train": 8, "transfer": 16, "pool": 8}
            | EMBEDDED
            | JOINT,
            id="another template: the vocabulary and all after it, but no cohort",
        ),
        pytest.param(
            {"sites": TINY["sites"] | {"prairie": {"extract": "simulated"}}},
            dict.fromkeys(("simulate", "ingest", "vocabulary", "cohort", "sequences", "leaks", "embed"), 1)
            | {"compute_texts": 1, "embedding_quality": 1}  # each an embedding, over all sites
            | EMBEDDED
            | {"train": 2 * 2, "transfer": 3 * 2 * 2 * 2, "pool": 3 * 2 * 2}
            | JOINT
            | {"evaluate": 3},
            id="a site more: its own jobs, the arms into every target, and no old local model",
        ),
        pytest.param({"name": "renamed"}, {"provenance": 1, "report": 1, "all": 1}, id="another title: the page"),
    ],
)
def test_what_changed_runs_again_and_nothing_else(done: Path, change: dict[str, Any], jobs: dict[str, int]) -> None:
    assert planned(done, TINY | change) == jobs


def test_reordered_keys_change_nothing(done: Path) -> None:
    task = TINY["tasks"]["influenza"]
    assert planned(done, TINY | {"tasks": {"influenza": dict(reversed(task.items()))}}) == {}


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
