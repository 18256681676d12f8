"""Make a target's headline arms from half-samples of training persons: limits for the method."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.learn.resample import resample_arms
from conceptbridge.learn.resampling import Resampling


def main(a: argparse.Namespace) -> None:
    what = Resampling.from_json(a.resampling)
    write_parquet(resample_arms(what, a.task, a.target, a.comparisons, a.results, a.processes), a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--resampling", required=True, help="arms, resamples, seed and sources, as JSON")
    p.add_argument("--task", required=True)
    p.add_argument("--target", required=True)
    p.add_argument("--comparisons", type=Path, required=True, help="comparisons.parquet of the target")
    p.add_argument("--results", type=Path, required=True, help="the study's folder of outputs, where its inputs lie")
    p.add_argument("--processes", type=int, default=1)
    p.add_argument("--out", type=Path, required=True, help="method_limits.parquet")
    run(p, main)
