"""Summarise what a target's tokens are read as in the words of each source."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.translate.summary import write_summary


def main(a: argparse.Namespace) -> None:
    embeddings = dict(pair.split("=", 1) for pair in a.embeddings)
    write_summary(a.task, a.target, a.sources, embeddings, a.results, a.min_cell_count, a.readings, a.shares)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--task", required=True)
    p.add_argument("--target", required=True)
    p.add_argument("--sources", nargs="*", default=[])
    p.add_argument("--embeddings", nargs="*", default=[], metavar="NAME=ID", help="the translations")
    p.add_argument("--results", type=Path, required=True, help="the study's folder of outputs, where its inputs lie")
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--readings", type=Path, required=True)
    p.add_argument("--shares", type=Path, required=True)
    run(p, main)
