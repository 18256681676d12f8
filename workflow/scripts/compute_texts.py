"""Compute the vectors of sites' texts, and of rated terms, that the cache lacks; --dry says what that takes."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.core.atomic_files import write_json
from conceptbridge.embed.compute import compute_texts, dry_run
from conceptbridge.study.embeddings import embedding_of_folder, read_catalogue


def main(a: argparse.Namespace) -> None:
    embedding = embedding_of_folder(a.embedding, read_catalogue(a.catalogue))
    if a.dry:
        print(json.dumps(dry_run(embedding, a.vocabulary, a.term_pairs, a.cache, a.local_text), indent=2))
        return
    counts = compute_texts(embedding, a.vocabulary, a.term_pairs, a.data, a.cache, a.local_text, a.threads)
    write_json(counts, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--vocabulary", type=Path, nargs="*", default=[], help="of sites")
    p.add_argument("--term-pairs", type=Path, nargs="*", default=[], help="rated term pairs")
    p.add_argument("--catalogue", required=True, help="src/conceptbridge/study/catalogue.yaml, or its entries as JSON")
    p.add_argument("--embedding", required=True, help="name, or name and hash as planned")
    p.add_argument("--local-text", action="store_true", help="local and unmapped texts may be embedded")
    p.add_argument("--data", type=Path, default=Path(), help="folder that relative files are taken from")
    p.add_argument("--cache", type=Path, required=True, help="folder of cached vectors")
    how = p.add_mutually_exclusive_group(required=True)
    how.add_argument("--out", type=Path, help="JSON of how many texts were computed")
    how.add_argument("--dry", action="store_true", help="print texts, tokens and cost; compute and call nothing")
    p.add_argument("--threads", type=int, default=1)
    run(p, main)
