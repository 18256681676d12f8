"""Kill a tiny study at random moments, run it again, and compare its tables with those of an undisturbed run.

    python benchmarks/kills.py 100                      # 100 kills, each followed by a whole run
    python benchmarks/kills.py 100 --first 41           # goes on with the 41st, where the 40th was the last told
    python benchmarks/kills.py 100 --jobs 4             # four at once, each on two cores
    python benchmarks/kills.py 100 --chain 5            # a run is killed five times before it may end

Odd kills (signal 9) hit Snakemake, even ones a job. Each is told on a line: what was hit, when, and whether the run
after it had the same tables, metrics and predictions, byte for byte, and left nothing half written. Exit status 1
unless all had. The moment of a kill is drawn from its number and ``--seed`` alone.

Where SLURM is installed and does not run, its plugin waits 10 s whenever Snakemake starts; not here (SLURM_CONF).
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from conceptbridge.simulate.network import write_extract

ROOT = Path(__file__).parents[1]
#: hidden files that belong into results; any other is a draft that was left
KEPT = (".running", ".snakemake_timestamp", ".contents.json")
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
            "min_values": 3,
        }
    },
    "embeddings": ["random"],
    "learners": {"logistic": {}},
    "strategies": ["local", "direct", "leave-one-out"],
    "max_trials": 1,
    "seeds": 1,
    "evaluation": {"replicates": 100},
}


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start the study in ``folder``; what it says goes to run.log."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "workflow/Snakefile"),
        "--directory",
        str(folder),
    ]
    with (folder / "run.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--configfile", str(folder / "study.yaml"), "--cores", "2"],
            stdout=log,
            stderr=log,
            env=os.environ | {"SLURM_CONF": os.devnull},
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


def new(folder: Path) -> Path:
    """A folder with the study and nothing done."""
    folder.mkdir()
    shutil.copytree(folder.parent / "extract", folder / "extract")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


def whole(folder: Path) -> float:
    """Run the study to its end; returns the seconds that it took."""
    began = time.monotonic()
    if start(folder).wait():
        raise SystemExit(f"a run failed\n{(folder / 'run.log').read_text()[-5000:]}")
    return time.monotonic() - began


def kill(folder: Path, a_job: bool, after: float) -> str | None:
    """Start the study and kill it, or a job of it, so many seconds later; tells what was hit, None if all had ended."""
    process = start(folder)
    time.sleep(after)
    running = jobs_of(process.pid)
    while a_job and not running and process.poll() is None:
        running = jobs_of(process.pid)
    if process.poll() is not None:
        return None
    victim = sorted(running)[0] if a_job else process.pid
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:  # the job has just ended
        process.kill()
        a_job = False
    process.wait()
    if a_job:
        return f"{running[victim]} after {after:.1f} s"
    return f"snakemake after {after:.1f} s, at {' and '.join(sorted(running.values())) or 'no job'}"


def trial(number: int, base: Path, took: float, expected: dict[str, str], a: argparse.Namespace) -> bool:
    """Kill one run, as often as is asked for, run it to its end, and tell whether it is as if nothing had happened."""
    drawn = random.Random(f"{a.seed} {number}")
    hit: list[str] = []
    while len(hit) < a.chain:
        if not hit:  # nothing done, or it was too fast to be killed
            shutil.rmtree(base / str(number), ignore_errors=True)
            folder = new(base / str(number))
        what = kill(folder, (number + len(hit)) % 2 == 0, drawn.uniform(0, took / min(a.chain, 3)))
        if what is None:
            hit.clear()
        else:
            hit.append(what)
    whole(folder)
    found = contents(folder)
    wrong = sorted(file for file in expected.keys() | found.keys() if expected.get(file) != found.get(file))
    wrong += [str(p) for p in folder.glob("results/**/.*") if p.name not in KEPT]
    print(f"{number:3} {', '.join(hit)}: {', '.join(wrong) or 'the same'}", flush=True)
    shutil.rmtree(folder)
    return not wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, help="number of the last one")
    parser.add_argument("--first", type=int, default=1, help="number of the first one")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    parser.add_argument("--chain", type=int, default=1, help="kills before a run may end")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(a.jobs) as pool:
        base = Path(name)
        write_extract("lakeshore", 400, 1, base / "extract")
        # as many at once as later, so that the moments are spread over a run as it then is
        undisturbed = [new(base / f"undisturbed{i}") for i in range(a.jobs)]
        took = sum(pool.map(whole, undisturbed)) / a.jobs
        expected = contents(undisturbed[0])
        if any(contents(folder) != expected for folder in undisturbed):
            sys.exit("two undisturbed runs differ")
        print(f"undisturbed: {took:.0f} s, {len(expected)} files", flush=True)
        before = os.times()
        numbers = range(a.first, a.kills + 1)
        same = list(pool.map(lambda number: trial(number, base, took, expected, a), numbers))
        spent = sum(os.times()[2:4]) - sum(before[2:4])
    print(f"{sum(same)} of {len(same)} as if nothing had happened; {spent / len(same):.0f} CPU s each")
    sys.exit(not all(same))


if __name__ == "__main__":
    main()
