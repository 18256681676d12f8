"""Write the feasibility page of a study."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.tasks.feasibility import write_feasibility


def main(a: argparse.Namespace) -> None:
    write_feasibility(a.tasks_folder, a.sites_folder, a.task, a.site, a.title, a.min_cell_count, a.out, a.warnings)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--tasks-folder", type=Path, required=True, help="folder with surveys and attrition tables")
    p.add_argument("--sites-folder", type=Path, required=True, help="folder with vocabularies and units")
    p.add_argument("--task", nargs="+", required=True)
    p.add_argument("--site", nargs="+", required=True)
    p.add_argument("--title", required=True)
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--warnings", type=json.loads, default=[], help="what is odd about the study, as JSON")
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
