"""Draw the figures of the study from its joint tables, as SVG and PNG."""

import argparse
from pathlib import Path

import pyarrow.parquet as pq

from command import run
from conceptbridge.report.figures import write_figures


def main(arguments: argparse.Namespace) -> None:
    write_figures(pq.read_table(arguments.tables / "arms.parquet"), arguments.out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="results/tables")
    parser.add_argument("--out", type=Path, required=True, help="folder for transfer-{task}-{learner}.{svg,png}")
    run(parser, main)
