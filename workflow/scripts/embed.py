"""Make the table of one site's vectors under one embedding from the cache."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.embed.tables import write_site_table
from conceptbridge.study.embeddings import embedding_of_folder, read_catalogue


def main(a: argparse.Namespace) -> None:
    embedding = embedding_of_folder(a.embedding, read_catalogue(a.catalogue))
    write_site_table(a.vocabulary, embedding, a.data, a.cache, a.local_text, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--vocabulary", type=Path, required=True)
    p.add_argument("--catalogue", required=True, help="src/conceptbridge/study/catalogue.yaml, or its entries as JSON")
    p.add_argument("--embedding", required=True, help="name and hash, as planned")
    p.add_argument("--local-text", action="store_true", help="local and unmapped texts may be embedded")
    p.add_argument("--data", type=Path, default=Path(), help="folder that relative files are taken from")
    p.add_argument("--cache", type=Path, required=True, help="folder of cached vectors")
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
