"""Train a site's local models again, those that headline arms use, on half-samples of its training persons."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.learn.resample import resample_local
from conceptbridge.learn.resampling import Resampling


def main(a: argparse.Namespace) -> None:
    what = Resampling.from_json(a.resampling)
    resample_local(what, a.task, a.site, a.comparisons, a.results, a.out, a.processes)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--resampling", required=True, help="arms, resamples, seed and sources, as JSON")
    p.add_argument("--task", required=True)
    p.add_argument("--site", required=True)
    p.add_argument("--comparisons", type=Path, nargs="+", required=True, help="comparisons.parquet of every target")
    p.add_argument("--results", type=Path, required=True, help="the study's folder of outputs, where its inputs lie")
    p.add_argument("--processes", type=int, default=1)
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    run(p, main)
