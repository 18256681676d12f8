"""Write the profile of its tokens that a source has sent in its bundles."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.exchange.receive.profile import receive_profile


def main(a: argparse.Namespace) -> None:
    receive_profile(a.bundle, a.source, a.min_cell_count, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--source", required=True)
    p.add_argument("--bundle", type=Path, nargs="*", default=[], help="those of the task")
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
