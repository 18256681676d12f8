"""Draw the figures of the study from its joint tables, as SVG and PNG."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.report.figures.draw import write_figures


def main(arguments: argparse.Namespace) -> None:
    write_figures(arguments.tables, arguments.out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="results/tables")
    parser.add_argument("--out", type=Path, required=True, help="folder for {name}.{svg,png}")
    run(parser, main)
