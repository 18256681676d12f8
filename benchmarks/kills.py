"""Kill a tiny study at random moments, run it again, and compare its tables with those of an undisturbed run.

    python benchmarks/kills.py 100              # 100 kills, each followed by a whole run
    python benchmarks/kills.py 100 --chain 5    # a run is killed up to five times before it may end

Half of the kills (signal 9) hit Snakemake, half one of its jobs. Told at the end: kills, at which stages, how many of
the runs after them had the same tables, metrics and predictions, byte for byte, and left nothing half written. Exit
status 1 unless all had.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from conceptbridge.simulate.network import write_extract

ROOT = Path(__file__).parents[1]
STUDY: dict[str, Any] = {
    "name": "killed",
    "embedding_cache": "cache",
    "simulate": {"persons": 400, "seed": 1},
    "sites": {"riverside": {"extract": "simulated"}, "lakeshore": {"extract": "extract"}},
    "data": ".",
    "tasks": {
        "influenza": {
            "index": {"domain": "visit", "concepts": [9203], "occurrence": "all"},
            "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]},
            "split": {"by": "time", "validation": "2022-09-01", "test": "2023-09-01"},
            "min_events": 3,
            "min_rows": 3,
        }
    },
    "embeddings": ["random"],
    "learners": {"logistic": {}},
    "strategies": ["local", "direct", "leave-one-out"],
    "trials": 1,
    "seeds": 1,
    "evaluation": {"replicates": 100},
}


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start the study in ``folder``; what it says goes to run.log."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    with (folder / "run.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--configfile", str(folder / "study.yaml"), "--cores", "2"], stdout=log, stderr=log
        )


def jobs_of(snakemake: int) -> dict[int, str]:
    """The jobs that Snakemake is running: process -> name of the script."""
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(snakemake)], capture_output=True, text=True)
    found = {}
    for line in listed.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        scripts = [Path(word).stem for word in command.split() if word.endswith(".py")]
        if scripts:
            found[int(pid)] = scripts[0]
    return found


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every table, metric and prediction."""
    results = folder / "results"
    files = [p for kind in ("tables/*", "metrics/**/*.parquet", "arms/**/*.parquet") for p in results.glob(kind)]
    return {str(p.relative_to(results)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def new(folder: Path, extract: Path) -> Path:
    """A folder with the study and nothing done."""
    folder.mkdir()
    shutil.copytree(extract, folder / "extract")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int)
    parser.add_argument("--chain", type=int, default=1, help="kills before a run may end")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    a = parser.parse_args()
    drawn = random.Random(a.seed)
    kills: Counter[str] = Counter()
    same = runs = 0
    with tempfile.TemporaryDirectory() as name:
        write_extract("lakeshore", 400, 1, Path(name) / "extract")
        undisturbed = new(Path(name) / "undisturbed", Path(name) / "extract")
        began = time.monotonic()
        if start(undisturbed).wait():
            sys.exit((undisturbed / "run.log").read_text())
        took = time.monotonic() - began
        expected = contents(undisturbed)
        print(f"undisturbed: {took:.0f} s, {len(expected)} files", flush=True)
        while kills.total() < a.kills:
            folder = new(Path(name) / str(runs), Path(name) / "extract")
            killed = 0
            while killed < min(a.chain, a.kills - kills.total()):
                process = start(folder)
                time.sleep(drawn.uniform(0, took / min(a.chain, 3)))
                running = jobs_of(process.pid)
                at_job = bool(running) and drawn.random() < 0.5
                if process.poll() is not None:
                    break  # it was faster than the undisturbed one
                victim = drawn.choice(sorted(running)) if at_job else process.pid
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    victim = process.pid
                    process.kill()
                process.wait()
                killed += 1
                stages = [running[victim]] if victim != process.pid else sorted({*running.values()} or {"no job"})
                kills[f"{'a job' if victim != process.pid else 'snakemake'} at {' and '.join(stages)}"] += 1
            if start(folder).wait():
                sys.exit(f"the run after {killed} kills failed\n{(folder / 'run.log').read_text()[-5000:]}")
            left = [p for p in folder.glob("results/**/.*") if p.name not in (".running", ".snakemake_timestamp")]
            runs += bool(killed)
            same += bool(killed) and contents(folder) == expected and not left
            print(f"{kills.total()} kills: {same} of {runs} runs the same; left behind: {left}", flush=True)
            shutil.rmtree(folder)
    for what, count in sorted(kills.items()):
        print(f"{count:4} {what}")
    print(f"{kills.total()} kills, {same} of {runs} runs after them with identical tables, metrics and predictions")
    sys.exit(same != runs)


if __name__ == "__main__":
    main()
