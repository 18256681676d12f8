"""Read one site's OMOP extract into typed Parquet tables and a quality report."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.sites.ingest import ingest
from conceptbridge.sites.memory import MEMORY_MB


def main(a: argparse.Namespace) -> None:
    ingest(a.extract, a.cdm, a.quality, a.reading, a.vocabulary, a.threads, a.memory)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--extract", type=Path, required=True, help="folder or zip of CDM tables, DuckDB or SQLite file")
    p.add_argument(
        "--reading", type=json.loads, required=True, help="headerless, cdm_version, on_error, last_date, as JSON"
    )
    p.add_argument("--vocabulary", type=Path, nargs="?", help="folder of an Athena download")
    p.add_argument("--cdm", type=Path, required=True, help="folder to write")
    p.add_argument("--quality", type=Path, required=True, help="quality.json to write")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--memory", type=int, default=MEMORY_MB, help="MB that the job has")
    run(p, main)
