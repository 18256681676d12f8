"""Join what was measured of every embedding into tables and a figure."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.embed.quality_tables import write_quality


def main(a: argparse.Namespace) -> None:
    write_quality(a.quality, a.tables, a.figures)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quality", type=Path, nargs="*", required=True, help="quality.json of every embedding, in order")
    p.add_argument(
        "--tables", type=Path, required=True, help="folder for {embeddings,alignment,texts}.{parquet,csv,md}"
    )
    p.add_argument("--figures", type=Path, required=True, help="folder for embeddings.{svg,png}")
    run(p, main)
