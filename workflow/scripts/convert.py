"""Convert an input that is not an OMOP CDM into an extract of one."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.sites.converters.converter import find_converter


def main(a: argparse.Namespace) -> None:
    find_converter(a.converter).convert(a.settings, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--converter", required=True, help="its name, which is a site's key in the config")
    p.add_argument("--settings", required=True, type=json.loads, help="the value of that key, as JSON")
    p.add_argument("--out", required=True, type=Path, help="folder for the tables; replaced if it is there")
    run(p, main)
