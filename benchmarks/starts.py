"""How much of a study's processor time is starting Python: `python benchmarks/starts.py` (the demo), `... STUDY.yaml`.

Every process that `conceptbridge run` starts counts the seconds before its program begins and those that it spends on
imports, at its start or later, and tells them at its end, with those of its life; `--usual`: without a process that
jobs are forked from. Vectors are computed afresh.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
#: run by every Python at its start
COUNT = """
import time
begun = time.process_time()
import atexit, builtins, os, sys
real, spent, inside = builtins.__import__, 0.0, False

def counted(*arguments, **more):
    global spent, inside
    if inside:
        return real(*arguments, **more)
    inside, since = True, time.thread_time()
    try:
        return real(*arguments, **more)
    finally:
        spent, inside = spent + time.thread_time() - since, False

def tell():
    with open(os.path.join(os.path.dirname(__file__), "told"), "a") as file:
        print(os.path.basename(sys.argv[0]), begun + spent, time.process_time(), sep="\\t", file=file)

def begin():
    global begun, spent
    begun, spent = time.process_time(), 0.0

builtins.__import__ = counted
os.register_at_fork(after_in_child=begin)
atexit.register(tell)
"""


def run(study: Path, cores: int, folder: Path, usual: bool) -> pd.DataFrame:
    """Run a study in ``folder``; one row per process: its program, seconds of its start, seconds in all."""
    (folder / "sitecustomize.py").write_text(COUNT, encoding="utf-8")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = ["--cores", str(cores), "--config", f"embedding_cache={folder}/cache"]
    workflow = ["-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile"), "--configfile"]
    program = workflow if usual else ["-m", "conceptbridge.cli", "run"]
    command = [sys.executable, *program, str(study.resolve()), *settings]
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return pd.read_csv(folder / "told", sep="\t", names=["program", "start", "all"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", default=ROOT / "config/config.yaml")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--usual", action="store_true", help="run Snakemake, which starts Python for every job")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = run(a.study, a.cores, Path(folder), a.usual)
    table = told.groupby("program").agg(processes=("all", "size"), start=("start", "sum"), all=("all", "sum"))
    print(table.sort_values("all", ascending=False).round(1).to_string())
    start, whole = told["start"].sum(), told["all"].sum()
    print(f"\n{len(told)} processes, {whole:.0f} CPU s, of which starting Python {start:.0f}: {start / whole:.0%}")


if __name__ == "__main__":
    main()
