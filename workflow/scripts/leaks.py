"""List the predictors of a task at a site that stand suspiciously close to the outcome."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.tasks.leaks import make_leaks


def main(a: argparse.Namespace) -> None:
    make_leaks(a.cdm, a.cohort, a.vocabulary, a.tokens, a.sequences, a.vectors, a.task, a.min_cell_count, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cdm", type=Path, required=True, help="folder of typed tables")
    p.add_argument("--cohort", type=Path, required=True)
    p.add_argument("--vocabulary", type=Path, required=True)
    p.add_argument("--tokens", type=Path, required=True)
    p.add_argument("--sequences", type=Path, required=True)
    p.add_argument("--vectors", type=Path, nargs="?", help="table of an embedding's vectors of the site")
    p.add_argument("--task", type=json.loads, required=True, help="outcome, as JSON")
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
