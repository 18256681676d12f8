"""Measure one embedding without patients: rated term pairs, opposite states, alignment of sites, shape of the space."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.core.atomic_files import write_json
from conceptbridge.embed.quality import Site, measure
from conceptbridge.study.embeddings import embedding_of_folder, read_catalogue


def main(a: argparse.Namespace) -> None:
    embedding = embedding_of_folder(a.embedding, read_catalogue(a.catalogue))
    sites = [Site(*site) for site in zip(a.site, a.vocabulary, a.table, strict=True)]
    write_json(measure(embedding, sites, a.term_pairs, a.data, a.cache, a.min_cell_count), a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--site", nargs="+", required=True, help="names of the sites")
    p.add_argument("--vocabulary", type=Path, nargs="+", required=True, help="of every site, in that order")
    p.add_argument("--table", type=Path, nargs="+", required=True, help="of every site, in that order")
    p.add_argument("--term-pairs", type=Path, nargs="*", default=[], help="rated term pairs")
    p.add_argument("--catalogue", required=True, help="src/conceptbridge/study/catalogue.yaml, or its entries as JSON")
    p.add_argument("--embedding", required=True, help="name and hash, as planned")
    p.add_argument("--data", type=Path, default=Path(), help="folder that relative files are taken from")
    p.add_argument("--cache", type=Path, required=True, help="folder of cached vectors")
    p.add_argument("--min-cell-count", type=int, required=True, help="persons that have a concept, at least")
    p.add_argument("--out", type=Path, required=True)
    run(p, main)
