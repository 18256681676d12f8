"""Make the tokens of a task at a site, and each row's sequence of them."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.sites.memory import MEMORY_MB
from conceptbridge.tasks.sequences import make_sequences


def main(a: argparse.Namespace) -> None:
    make_sequences(a.cdm, a.site, a.vocabulary, a.cohort, a.task, a.roll_up, a.tokens, a.sequences, a.threads, a.memory)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cdm", type=Path, required=True, help="folder of typed tables")
    p.add_argument("--site", required=True)
    p.add_argument("--vocabulary", type=Path, required=True)
    p.add_argument("--cohort", type=Path, required=True)
    p.add_argument("--task", type=json.loads, required=True, help="outcome, predictors, guards and min_values, as JSON")
    p.add_argument("--roll-up", type=json.loads, required=True, help="what drugs and conditions become, as JSON")
    p.add_argument("--tokens", type=Path, required=True, help="tokens.parquet to write")
    p.add_argument("--sequences", type=Path, required=True, help="sequences.parquet to write")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--memory", type=int, default=MEMORY_MB, help="MB that the job has")
    run(p, main, pandas=False)
