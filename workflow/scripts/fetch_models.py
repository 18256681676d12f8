"""Put the language models of a study into the hub's cache of this machine, at their pinned revisions."""

import argparse

from command import run
from conceptbridge.embed.compute import fetch_models
from conceptbridge.study.embeddings import read_catalogue


def main(a: argparse.Namespace) -> None:
    fetch_models(read_catalogue(a.catalogue).values())


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--catalogue", required=True, help="src/conceptbridge/study/catalogue.yaml, or its entries as JSON")
    run(p, main)
