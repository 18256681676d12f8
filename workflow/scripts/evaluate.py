"""Evaluate every arm of one task at one target: metrics, comparisons, subgroups, curves, and the target's counts."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.evaluate.evaluate import ArmFolders, TargetFiles, evaluate


def main(a: argparse.Namespace) -> None:
    embeddings = dict(pair.split("=", 1) for pair in a.embeddings)
    external = {name: Path(folder) for name, folder in (pair.split("=", 1) for pair in a.external)}
    arms = ArmFolders(a.arms, embeddings, a.controls, a.learners, a.strategies, a.without, external)
    files = TargetFiles(a.cohort, a.sequences, dict(zip(a.sites, a.tokens, strict=True)))
    for name, table in evaluate(a.task, a.target, arms, files, a.settings, a.processes).items():
        write_parquet(table, a.out / f"{name}.parquet")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", type=Path, required=True, help="results/arms/{task}")
    parser.add_argument("--task", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--embeddings", nargs="+", required=True, metavar="NAME=ID")
    parser.add_argument(
        "--controls",
        type=json.loads,
        required=True,
        help="the embeddings among them without meaning, each with those whose place it takes, as JSON",
    )
    parser.add_argument(
        "--without", type=json.loads, default={}, help="the strategies that have no arms on an embedding, as JSON"
    )
    parser.add_argument("--learners", nargs="+", required=True)
    parser.add_argument("--strategies", nargs="+", required=True)
    parser.add_argument(
        "--external", nargs="*", default=[], metavar="NAME=FOLDER", help="arms of predictions from a file"
    )
    parser.add_argument("--cohort", type=Path, required=True, help="the target's cohort.parquet of the task")
    parser.add_argument("--sequences", type=Path, required=True, help="the target's sequences.parquet of the task")
    parser.add_argument("--sites", nargs="+", required=True, help="the target and all sources")
    parser.add_argument("--tokens", type=Path, nargs="+", required=True, help="tokens.parquet of each of them")
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="evaluation, min_cell_count, drawn, trained_as, as JSON"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables, {name}.parquet")
    run(parser, main)
