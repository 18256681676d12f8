"""Join the metrics, cohorts and vocabularies of every task and site into the study's tables."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.report.ohdsi import write_ohdsi
from conceptbridge.report.tables import tables, write_tables


def main(a: argparse.Namespace) -> None:
    joint = tables(a.metrics, a.tasks, a.task, a.site, a.min_cell_count, a.target, a.more, a.looked_at)
    write_tables(joint, a.out)
    write_ohdsi(joint["metrics"], a.out.parent / "ohdsi")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", type=Path, required=True, help="results/metrics")
    parser.add_argument("--tasks", type=Path, required=True, help="results/tasks")
    parser.add_argument("--task", nargs="+", required=True, help="in the order of the tables")
    parser.add_argument("--site", nargs="+", required=True, help="in the order of the tables")
    parser.add_argument("--target", nargs="+", required=True, help="those of them where models are tested")
    parser.add_argument("--min-cell-count", type=int, required=True)
    parser.add_argument("--more", nargs="*", default=[], help="tables of each target besides those of evaluation")
    parser.add_argument("--looked-at", type=Path, nargs="*", default=[], help="what models look at, by task and site")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for {name}.{parquet,csv,md,tex}; ohdsi beside it"
    )
    run(parser, main)
