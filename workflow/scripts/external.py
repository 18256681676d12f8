"""Take in the predictions of another model at a target as an arm."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.evaluate.external import write_external


def main(a: argparse.Namespace) -> None:
    write_external(a.file, a.cohort, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--file", type=Path, required=True, help="the predictions: person, day or time, probability")
    p.add_argument("--cohort", type=Path, required=True, help="the target's cohort.parquet of the task")
    p.add_argument("--out", type=Path, required=True, help="the arm's folder")
    run(p, main)
