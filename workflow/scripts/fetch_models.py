"""Put the language models of a study into the hub's cache of this machine, at their pinned revisions."""

import argparse

from command import run
from conceptbridge.catalogue import read_catalogue
from conceptbridge.embed.models import fetch_models


def main(a: argparse.Namespace) -> None:
    fetch_models(read_catalogue(a.catalogue).values())


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--catalogue", required=True, help="config/embeddings.yaml, or its entries as JSON")
    run(p, main)
