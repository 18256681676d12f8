"""Tell what the models that a study names look at, at one site."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.learn.importance import importance
from conceptbridge.learn.looking import Looking


def main(a: argparse.Namespace) -> None:
    what = Looking.from_json(a.looking)
    write_parquet(importance(what, a.task, a.site, a.comparisons, a.results), a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--looking", required=True, help="embeddings, windows and min_cell_count, as JSON")
    p.add_argument("--task", required=True)
    p.add_argument("--site", required=True)
    p.add_argument("--comparisons", type=Path, nargs="+", required=True, help="comparisons.parquet of all targets")
    p.add_argument("--results", type=Path, required=True, help="the study's folder of outputs, where its inputs lie")
    p.add_argument("--out", type=Path, required=True, help="the table to write")
    run(p, main)
