"""Train a learner on an embedding at one site, with every seed, and predict its validation and test rows."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.site import read_site


def main(a: argparse.Namespace) -> None:
    embedding, budget = ArmEmbedding(**a.embedding), Budget(**a.budget)
    job = ArmJob("", a.target, [], "local", a.learner, embedding, budget)
    make_arm(job, a.out, read_site(a.target, a.rows, a.table))


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--target", required=True, help="the site")
    p.add_argument("--rows", type=Path, nargs=3, required=True, help="its cohort, tokens and sequences")
    p.add_argument("--table", type=Path, nargs="?", help="the embedding's table of the site; none for one-hot")
    p.add_argument("--learner", required=True)
    p.add_argument("--embedding", type=json.loads, required=True, help="name, fingerprint and backend, as JSON")
    p.add_argument("--budget", type=json.loads, required=True, help="settings, trials, seeds and minima, as JSON")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    run(p, main)
