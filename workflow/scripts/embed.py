"""Make the table of one site's vectors under one embedding, computing only what the cache lacks."""

import argparse
from pathlib import Path

import yaml

from command import run
from conceptbridge.catalogue import embedding_of_folder
from conceptbridge.embed.tables import embed_site


def main(a: argparse.Namespace) -> None:
    embedding = embedding_of_folder(a.embedding, yaml.safe_load(a.catalogue.read_text(encoding="utf-8")))
    embed_site(a.vocabulary, embedding, a.cache, a.out, a.threads)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--vocabulary", type=Path, required=True)
    p.add_argument("--catalogue", type=Path, required=True, help="config/embeddings.yaml")
    p.add_argument("--embedding", required=True, help="name and hash, as planned")
    p.add_argument("--cache", type=Path, required=True, help="folder of cached vectors")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--threads", type=int, default=1)
    run(p, main)
