"""Count what a site has for a task."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.tasks.survey import make_survey


def main(a: argparse.Namespace) -> None:
    make_survey(a.cohort, a.tokens, a.sequences, a.task, a.min_cell_count, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cohort", type=Path, required=True)
    p.add_argument("--tokens", type=Path, required=True)
    p.add_argument("--sequences", type=Path, required=True)
    p.add_argument("--task", type=json.loads, required=True, help="min_events and min_rows, as JSON")
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
