"""Check a site's aggregate results file and put its tables where the joint tables read them."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.exchange.receive.aggregates import receive_aggregates


def main(a: argparse.Namespace) -> None:
    receive_aggregates(a.file, a.site, a.task, a.names, a.results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, required=True, help="the aggregate results file")
    parser.add_argument("--site", required=True, help="whose it has to be")
    parser.add_argument("--task", nargs="+", required=True, help="the study's tasks")
    parser.add_argument("--names", type=json.loads, required=True, help="embedding, learner ... -> names, as JSON")
    parser.add_argument("--results", type=Path, required=True, help="the study's folder of outputs")
    run(parser, main)
