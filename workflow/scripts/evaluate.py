"""Evaluate every arm of one task at one target: metrics, seeds, comparisons and the target's counts."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.evaluate.arms import evaluate
from conceptbridge.files import write_parquet


def main(arguments: argparse.Namespace) -> None:
    evaluation = evaluate(
        arms=arguments.arms,
        task=arguments.task,
        target=arguments.target,
        embeddings=dict(pair.split("=", 1) for pair in arguments.embeddings),
        learners=arguments.learners,
        strategies=arguments.strategies,
        cohort=arguments.cohort,
        controls=arguments.controls,
        replicates=arguments.replicates,
        seed=arguments.seed,
        min_cell_count=arguments.min_cell_count,
    )
    for name, table in evaluation._asdict().items():
        write_parquet(table, arguments.out / f"{name}.parquet")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", type=Path, required=True, help="results/arms/{task}")
    parser.add_argument("--task", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--embeddings", nargs="+", required=True, metavar="NAME=ID")
    parser.add_argument("--controls", nargs="*", default=[], help="the embeddings among them without meaning")
    parser.add_argument("--learners", nargs="+", required=True)
    parser.add_argument("--strategies", nargs="+", required=True)
    parser.add_argument("--cohort", type=Path, required=True, help="the target's cohort.parquet of the task")
    parser.add_argument("--replicates", type=int, required=True, help="resamples of the bootstrap")
    parser.add_argument("--seed", type=int, required=True, help="the study's seed")
    parser.add_argument("--min-cell-count", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder: {metrics,seeds,comparisons,site}.parquet")
    run(parser, main)
