"""Write the OMOP CDM extract of a findings table."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.sites.converters.codebook import read_codebook
from conceptbridge.sites.converters.findings import write_findings


def main(a: argparse.Namespace) -> None:
    given = {key: Path(a.findings[key]) for key in ("codebook", "names", "train", "test") if a.findings[key]}
    codebook = read_codebook(given["codebook"], given.get("names"))
    files = {split: file for split, file in given.items() if split in ("train", "test")}
    write_findings(files, codebook, a.findings["missing"] == "absent", a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--findings", required=True, type=json.loads, help="a site's `findings` of the config, as JSON")
    p.add_argument("--out", required=True, type=Path, help="folder for the tables; replaced if it is there")
    run(p, main)
