"""Jobs and planning time of studies of many sites: `snakemake -n` with nothing done yet.

    python benchmarks/dag.py                 # 3, 10, 20 and 50 sites

15 embeddings, 4 learners, 7 strategies, one task. Told beside it: how many jobs it would be with one for every source,
seed and target.

Where SLURM is installed and does not run, its plugin waits 10 s whenever Snakemake starts; not here (SLURM_CONF).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from conceptbridge.simulate.network import write_extract

ROOT = Path(__file__).parents[1]
EMBEDDINGS = [
    *("onehot", "random", "shuffled", "cooccurrence", "minilm", "mpnet", "bert", "sapbert", "biolord", "biomedbert"),
    *("clinicalbert", "medembed-small", "bge-small", "e5-base", "gte-modernbert"),
]
LEARNERS = ["cnn", "transformer", "lightgbm", "logistic"]
STRATEGIES = ["local", "direct", "recalibrate", "tune-head", "tune-all", "pooled", "leave-one-out"]
SEEDS = 3


def study(sites: int, extract: Path, cache: Path) -> dict[str, Any]:
    """A study of so many sites; all have the same extract, which planning never looks into."""
    return {
        "name": f"sites-{sites}",
        "embedding_cache": str(cache),
        "sites": {f"site{i:02}": {"extract": str(extract)} for i in range(sites)},
        "tasks": {
            "influenza": {
                "index": {"domain": "visit", "concepts": [9203], "occurrence": "all"},
                "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]},
                "split": {"by": "time", "validation": "2022-09-01", "test": "2023-09-01"},
            }
        },
        "embeddings": EMBEDDINGS,
        "learners": {learner: {} for learner in LEARNERS},
        "strategies": STRATEGIES,
        "seeds": SEEDS,
    }


def plan(folder: Path) -> tuple[int, float, float]:
    """Jobs of the study in ``folder``, and what planning them takes: wall and CPU seconds."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "workflow/Snakefile"),
        "--directory",
        str(folder),
    ]
    before, start = os.times(), time.perf_counter()
    run = subprocess.run(
        [*command, "--configfile", str(folder / "study.yaml"), "--dry-run", "--quiet", "host", "rules"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SLURM_CONF": os.devnull},
    )
    wall, after = time.perf_counter() - start, os.times()
    if run.returncode:
        sys.exit(run.stdout + run.stderr)
    total = re.search(r"^total +(\d+)$", run.stdout + run.stderr, re.MULTILINE)
    cpu = sum(after[2:4]) - sum(before[2:4])
    return int(total[1]) if total else 0, wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", type=int, nargs="*", default=[3, 10, 20, 50])
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'sites':>5} {'jobs':>7} {'one an arm':>10} {'ratio':>6} {'wall s':>7} {'CPU s':>7}")
    with tempfile.TemporaryDirectory() as name:
        extract = Path(name) / "extract"
        write_extract("riverside", 200, 1, extract)
        for sites in parser.parse_args().sites:
            folder = Path(name) / str(sites)
            folder.mkdir()
            (folder / "study.yaml").write_text(yaml.safe_dump(study(sites, extract, Path(name) / "cache")))
            jobs, wall, cpu = plan(folder)
            each = len(EMBEDDINGS) * len(LEARNERS) * SEEDS * sites
            arms = each * (3 + 4 * (sites - 1))
            print(f"{sites:5} {jobs:7} {arms:10} {arms / jobs:6.1f} {wall:7.1f} {cpu:7.1f}", flush=True)


if __name__ == "__main__":
    main()
