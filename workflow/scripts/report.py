"""Write the study's page from its tables, figures, data quality and provenance."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.report.page import write_page


def main(arguments: argparse.Namespace) -> None:
    write_page(
        tables=arguments.tables,
        figures=arguments.figures,
        sites=arguments.sites_folder,
        provenance=arguments.provenance,
        title=arguments.title,
        out=arguments.out,
        min_cell_count=arguments.min_cell_count,
        tasks=arguments.tasks_folder,
        warnings=arguments.warnings,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="results/tables")
    parser.add_argument("--figures", type=Path, required=True, help="results/figures")
    parser.add_argument("--sites-folder", type=Path, required=True, help="results/sites, for quality.json")
    parser.add_argument("--tasks-folder", type=Path, help="results/tasks, for concepts.json")
    parser.add_argument("--warnings", type=json.loads, default=[], help="what is odd about the study, as JSON")
    parser.add_argument("--provenance", type=Path, required=True, help="a JSON object, shown as it is")
    parser.add_argument("--title", required=True, help="the study's name")
    parser.add_argument("--min-cell-count", type=int, required=True, help="no smaller count is shown")
    parser.add_argument("--out", type=Path, required=True, help="the HTML file")
    run(parser, main)
