"""Count what a site's tokens keep company with, from its training rows of a task."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.learn.rows import read_rows
from conceptbridge.learn.site_profile import profile_of
from conceptbridge.translate.profile_file import write_profile


def main(a: argparse.Namespace) -> None:
    write_profile(profile_of(read_rows(*a.rows), a.min_cell_count), a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rows", type=Path, nargs=3, required=True, help="the site's cohort, tokens and sequences")
    p.add_argument("--min-cell-count", type=int, required=True)
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
