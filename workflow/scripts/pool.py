"""Train a learner on the rows of several sites together, with every seed, and predict one target's rows."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.learn.arms import Budget, read_site, train_pooled


def main(a: argparse.Namespace) -> None:
    rows = [a.rows[i : i + 3] for i in range(0, len(a.rows), 3)]
    tables = a.tables or [None] * len(a.sites)
    target, *others = [read_site(name, of, table) for name, of, table in zip(a.sites, rows, tables, strict=True)]
    train_pooled(target, others, a.strategy, a.learner, a.embedding, Budget(**a.budget), a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--sites", nargs="+", required=True, help="the target, then all other sites")
    p.add_argument("--rows", type=Path, nargs="+", required=True, help="cohort, tokens and sequences of each site")
    p.add_argument("--tables", type=Path, nargs="*", required=True, help="the embedding's table of each site")
    p.add_argument("--learner", required=True)
    p.add_argument("--strategy", choices=["pooled", "leave-one-out"], required=True)
    p.add_argument("--embedding", type=json.loads, required=True, help="name, fingerprint and backend, as JSON")
    p.add_argument("--budget", type=json.loads, required=True, help="settings, trials, seeds and minima, as JSON")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    run(p, main)
