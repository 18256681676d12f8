"""Write the tokens of a task, or the vocabulary, that a source has shared in its bundles."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.exchange.receive.bundles import receive_tokens, receive_vocabulary


def main(a: argparse.Namespace) -> None:
    if a.tokens:
        receive_tokens(a.bundle, a.source, a.tokens)
    else:
        receive_vocabulary(a.bundle, a.source, a.vocabulary)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--source", required=True)
    p.add_argument("--bundle", type=Path, nargs="*", default=[], help="those of the task; all for the vocabulary")
    out = p.add_mutually_exclusive_group(required=True)
    out.add_argument("--tokens", type=Path, help="tokens.parquet to write")
    out.add_argument("--vocabulary", type=Path, help="vocabulary.parquet to write")
    run(p, main)
