"""Learn an embedding from the training rows of one site or of several."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.embed.learned import write_learned
from conceptbridge.study.embeddings import embedding_of_folder, read_catalogue


def main(a: argparse.Namespace) -> None:
    embedding = embedding_of_folder(a.embedding, read_catalogue(a.catalogue))
    sites = list(zip(a.cohort, a.tokens, a.sequences, strict=True))
    write_learned(sites, embedding, a.min_cell_count, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cohort", type=Path, nargs="+", required=True, help="of every site, in one order")
    p.add_argument("--tokens", type=Path, nargs="+", required=True)
    p.add_argument("--sequences", type=Path, nargs="+", required=True)
    p.add_argument("--catalogue", required=True, help="src/conceptbridge/study/catalogue.yaml, or its entries as JSON")
    p.add_argument("--embedding", required=True, help="name and hash, as planned")
    p.add_argument("--min-cell-count", type=int, required=True, help="pairs of fewer persons are not used")
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
