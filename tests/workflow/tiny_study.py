"""The study that all tests of the workflow begin with, and the one way in which they run it."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from conceptbridge.core import forked_jobs

ROOT = Path(__file__).parents[2]

SITES = ["riverside", "lakeshore"]
LEARNERS = ["cnn", "lightgbm"]
# two sites have no leave-one-out: it would be the other's model, trained again
STRATEGIES = ["local", "direct", "tune-head", "pooled", "leave-one-out"]
TASK: dict[str, Any] = {
    "index": {"domain": "visit", "concepts": [9203], "occurrence": "all"},
    "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]},
    "split": {"by": "time", "validation": "2022-09-01", "test": "2023-09-01"},
    "min_events": 3,
    "min_rows": 3,
    "min_values": 3,
}
TINY: dict[str, Any] = {
    "name": "tiny",
    "simulate": {"persons": 600, "seed": 1},
    "sites": {site: {"extract": "simulated"} for site in SITES},
    "tasks": {"influenza": TASK},
    "embeddings": ["onehot", "random"],
    "learners": {"cnn": {"filters": 8, "min_pass_steps": 10, "max_pass_steps": 10}, "lightgbm": {"num_iterations": 10}},
    "strategies": STRATEGIES,
    "max_trials": 2,
    "max_passes": 2,
    "tuning_curve": [0, 1],
    "seeds": 2,
    "evaluation": {"replicates": 100, "min_persons": 2},
}


def task(**changed: Any) -> dict[str, Any]:
    """The study's tasks, with keys of the one task changed."""
    return {"tasks": {"influenza": TASK | changed}}


@cache
def forked() -> Path:
    """The folder of a `python` that is forked. The study `done` starts Python for every job: its logs are looked at."""
    return forked_jobs.start(["matplotlib.backends.backend_agg", "pyarrow.dataset", "requests", "snakemake.cli"])


def command(folder: Path, study: dict[str, Any], python: str = sys.executable) -> list[str]:
    """The command that runs the workflow in ``folder`` on ``study``, which is written there; the cache lies beside."""
    folder.mkdir(exist_ok=True)
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump({"embedding_cache": str(folder.parent / "cache")} | study))
    snakefile = str(ROOT / "workflow/Snakefile")
    parts = ["--snakefile", snakefile, "--directory", str(folder), "--configfile", str(config)]
    return [python, "-m", "snakemake", *parts]


def snakemake(
    folder: Path, study: dict[str, Any], *arguments: str, python: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the workflow in ``folder`` on ``study``, however it ends; ``python``: another than one that forks."""
    return subprocess.run(
        [*command(folder, study, python or str(forked() / "python")), *arguments],
        env=os.environ | ({} if python else {forked_jobs.VARIABLE: str(forked())}),
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )


def finish(folder: Path, study: dict[str, Any], *targets: str) -> str:
    """Run it on two cores up to ``targets``, which has to succeed, and return what it said."""
    run = snakemake(folder, study, "--cores", "2", "--", *targets)
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]
    return run.stdout + run.stderr
