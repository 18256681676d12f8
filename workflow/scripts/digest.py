"""Write the SHA-256 of files, and of what is in folders: one input for the jobs that would have all of them."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.core.atomic_files import write_text
from conceptbridge.core.digests import digests


def main(a: argparse.Namespace) -> None:
    parts = [path / part for path in a.paths for part in a.parts] if a.parts else a.paths
    write_text(digests(parts), a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("paths", type=Path, nargs="+")
    p.add_argument("--parts", nargs="*", help="what counts of folders; all of them without it")
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
