"""Make the cohort of a task at a site, with its attrition."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.sites.memory import MEMORY_MB
from conceptbridge.tasks.cohort import make_cohort


def main(a: argparse.Namespace) -> None:
    files = (a.cohort, a.attrition, a.splits)
    make_cohort(a.cdm, a.site, a.task, a.min_cell_count, *files, a.threads, a.memory, a.concepts)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cdm", type=Path, required=True, help="folder of typed tables")
    p.add_argument("--site", required=True)
    p.add_argument("--task", type=json.loads, required=True, help="the task's settings, as JSON")
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--cohort", type=Path, required=True, help="cohort.parquet to write")
    p.add_argument("--attrition", type=Path, required=True, help="attrition.csv to write")
    p.add_argument("--splits", type=Path, required=True, help="splits.parquet to write: the prevalence of each split")
    p.add_argument("--concepts", type=Path, help="concepts.json to write: what the concept sets match")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--memory", type=int, default=MEMORY_MB, help="MB that the job has")
    run(p, main, pandas=False)
