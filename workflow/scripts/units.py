"""List the units of a site's measured values: what each becomes, and which are unknown."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.tasks.units import make_units


def main(a: argparse.Namespace) -> None:
    make_units(a.cdm, a.site, a.min_cell_count, a.out, a.threads)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cdm", type=Path, required=True, help="folder of typed tables")
    p.add_argument("--site", required=True)
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--threads", type=int, default=1)
    run(p, main)
