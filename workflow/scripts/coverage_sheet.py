"""Write the coverage sheet: how much of the listed patients' records a model from elsewhere knows, and how."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.exchange.score.coverage_report import coverage, write_coverage


def main(a: argparse.Namespace) -> None:
    cohort, tokens, sequences = a.rows
    translation = a.translations / f"{a.source}.parquet" if a.translations else None
    table = coverage(cohort, tokens, sequences, a.known, a.own, a.theirs, a.min_cell_count, translation)
    write_coverage(table, a.title, a.min_cell_count, a.csv, a.sheet)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rows", type=Path, nargs=3, required=True, help="the patients' cohort, tokens and sequences")
    p.add_argument("--known", type=Path, required=True, help="the source's tokens")
    p.add_argument("--own", type=Path, nargs="?", help="vectors of the site's texts; none for one-hot")
    p.add_argument("--theirs", type=Path, nargs="?", help="vectors of the source's texts")
    p.add_argument("--source", required=True, help="the site that the model is from")
    p.add_argument("--translations", type=Path, nargs="?", help="folder of the site's translations, if one is used")
    p.add_argument("--title", required=True)
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--csv", type=Path, required=True)
    p.add_argument("--sheet", type=Path, required=True, help="Markdown")
    run(p, main)
