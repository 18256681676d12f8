"""Write a site's aggregate results file and the sheet of what leaves, after looking at all of it."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.exchange.egress.site_secrets import read_site_secrets
from conceptbridge.exchange.send.aggregates import write_aggregates


def main(a: argparse.Namespace) -> None:
    site, min_cell_count = a.about["site"], a.about["study"]["min_cell_count"]
    secrets = read_site_secrets([a.results / "sites" / site], a.cohorts, a.config, min_cell_count, a.folders)
    write_aggregates(a.results, a.about, secrets, a.out, a.sheet)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="the study's folder of outputs")
    parser.add_argument("--about", type=json.loads, required=True, help="site, role, simulated, study, as JSON")
    parser.add_argument("--cohorts", type=Path, nargs="+", required=True, help="of all tasks at the site")
    parser.add_argument("--config", required=True, help="the study's config, whose dates are no secret, as JSON")
    parser.add_argument("--folders", type=Path, nargs="*", default=[], help="of this machine, not to be named")
    parser.add_argument("--out", type=Path, required=True, help="the zip to write")
    parser.add_argument("--sheet", type=Path, required=True, help="the Markdown file to write beside it")
    run(parser, main)
