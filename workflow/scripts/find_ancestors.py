"""Make the table of one site's ancestors: which tokens each of its tokens is as well."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.embed.ancestors import write_ancestors
from conceptbridge.study.embeddings import embedding_of_folder, read_catalogue


def main(a: argparse.Namespace) -> None:
    embedding = embedding_of_folder(a.embedding, read_catalogue(a.catalogue))
    write_ancestors(a.vocabulary, a.cdm, embedding.spec["levels"], a.site, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--vocabulary", type=Path, required=True, help="of the site")
    p.add_argument("--cdm", type=Path, nargs="+", required=True, help="folders of typed tables, for concept_ancestor")
    p.add_argument("--catalogue", required=True, help="src/conceptbridge/study/catalogue.yaml, or its entries as JSON")
    p.add_argument("--embedding", required=True, help="name and hash, as planned")
    p.add_argument("--site", required=True)
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
