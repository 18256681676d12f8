"""Make a cohort of the listed patients of a site, whose outcome nobody knows yet."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.exchange.score.patient_list import make_patients


def main(a: argparse.Namespace) -> None:
    make_patients(a.cdm, a.site, a.patients, a.reference, a.out, a.threads)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cdm", type=Path, required=True, help="folder of typed tables")
    p.add_argument("--site", required=True)
    p.add_argument("--patients", type=Path, required=True, help="CSV or Parquet: person_id, index_date")
    p.add_argument("--reference", type=Path, required=True, help="the task's own cohort at the site")
    p.add_argument("--out", type=Path, required=True, help="cohort.parquet to write")
    p.add_argument("--threads", type=int, default=1)
    run(p, main)
