"""Predict the listed patients of a site with another site's model."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.exchange.score.predict import score
from conceptbridge.learn.site import read_site


def main(a: argparse.Namespace) -> None:
    site = read_site(a.site, a.rows, a.table)
    translation = a.translations / f"{a.source}.parquet" if a.translations else None
    rows = tuple(a.rows)
    model = (a.learner, a.arm, a.source, a.fingerprint)
    score(site, *model, rows, a.known, a.min_cell_count, a.out, translation, a.explained)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--site", required=True)
    p.add_argument("--rows", type=Path, nargs=3, required=True, help="the patients' cohort, tokens and sequences")
    p.add_argument("--table", type=Path, nargs="?", help="the embedding's table of the site; none for one-hot")
    p.add_argument("--learner", required=True)
    p.add_argument("--source", required=True, help="the site that the model is from")
    p.add_argument("--arm", type=Path, required=True, help="folder of its local arm")
    p.add_argument("--fingerprint", required=True, help="of the embedding that the model has to be made with")
    p.add_argument("--known", type=Path, required=True, help="the source's tokens")
    p.add_argument("--translations", type=Path, nargs="?", help="folder of the site's translations, if one is used")
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--out", type=Path, required=True, help="CSV to write")
    p.add_argument("--explained", type=Path, help="CSV of what speaks for and against the outcome, by patient")
    run(p, main)
