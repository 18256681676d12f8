"""Check a bundle of another site, and put its model where a local arm of that site would be."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.exchange.receive.bundles import receive


def main(a: argparse.Namespace) -> None:
    receive(a.bundle, a.expected, a.width, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--bundle", type=Path, nargs="?", help="none where the site has sent none")
    p.add_argument("--expected", type=json.loads, required=True, help="what the bundle has to say of itself, as JSON")
    p.add_argument("--width", type=int, nargs="?", help="of the embedding's vectors; none for one-hot")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    run(p, main)
