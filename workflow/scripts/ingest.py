"""Read one site's OMOP extract into typed Parquet tables and a quality report."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.sites.ingest import ingest


def main(a: argparse.Namespace) -> None:
    ingest(a.extract, a.cdm, a.quality, a.threads)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--extract", type=Path, required=True, help="folder of CDM tables")
    p.add_argument("--cdm", type=Path, required=True, help="folder to write")
    p.add_argument("--quality", type=Path, required=True, help="quality.json to write")
    p.add_argument("--threads", type=int, default=1)
    run(p, main)
