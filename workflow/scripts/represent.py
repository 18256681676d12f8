"""Give each row of a task at a site its vector."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.embed.row_vectors import write_row_vectors
from conceptbridge.study.embeddings import embedding_of_folder, read_catalogue


def main(a: argparse.Namespace) -> None:
    embedding = embedding_of_folder(a.embedding, read_catalogue(a.catalogue))
    file, cohort_tokens_sequences = next(iter(a.file), None), tuple(a.rows)
    write_row_vectors(embedding, cohort_tokens_sequences, file, json.loads(a.windows), a.cache, a.out, a.threads)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rows", type=Path, nargs=3, required=True, help="cohort, tokens and sequences of the task")
    p.add_argument("--file", type=Path, nargs="*", default=[], help="the file of vectors, if they come from one")
    p.add_argument("--windows", required=True, help="JSON: first and last days of each window, the latest first")
    p.add_argument("--catalogue", required=True)
    p.add_argument("--embedding", required=True, help="its name and hash")
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--threads", type=int, default=1)
    run(p, main)
