"""Write the simulated OMOP CDM extract of one hospital of the built-in network."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.simulate.network import write_extract


def main(a: argparse.Namespace) -> None:
    write_extract(a.hospital, a.persons, a.seed, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--hospital", required=True, help="riverside, lakeshore, prairie, highland or canyon")
    p.add_argument("--persons", required=True, type=int, help="persons of the whole network")
    p.add_argument("--seed", required=True, type=int)
    p.add_argument("--out", required=True, type=Path, help="folder for the tables; replaced if it is there")
    run(p, main)
