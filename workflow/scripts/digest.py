"""Write the SHA-256 of files, and of what is in folders: one input for the jobs that would have all of them."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.core.digests import digests


def main(a: argparse.Namespace) -> None:
    temporary = a.out.with_name(f".{a.out.name}")
    temporary.write_text(digests(a.paths), encoding="utf-8")
    temporary.replace(a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("paths", type=Path, nargs="+")
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
