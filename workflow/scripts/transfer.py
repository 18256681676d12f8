"""Bring the models of all other sites to one target by one strategy, and predict its validation and test rows."""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.site import read_site


def main(a: argparse.Namespace) -> None:
    # an arm's folder is named after the site that it was trained at
    sources = {arm.name: arm for arm in a.source}
    embedding, budget = ArmEmbedding("", a.fingerprint, ""), Budget(**a.budget)
    job = ArmJob("", a.target, [*sources], a.strategy, a.learner, embedding, budget)
    make_arm(job, a.out, read_site(a.target, a.rows, a.table), source_arms=sources)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--target", required=True, help="the site where the models are used")
    p.add_argument("--rows", type=Path, nargs=3, required=True, help="its cohort, tokens and sequences")
    p.add_argument("--table", type=Path, nargs="?", help="the embedding's table of the site; none for one-hot")
    p.add_argument("--learner", required=True)
    p.add_argument("--strategy", required=True)
    p.add_argument("--source", type=Path, nargs="*", required=True, help="folder of each source's local arm")
    p.add_argument("--fingerprint", required=True, help="of the embedding that the models have to be made with")
    p.add_argument("--budget", type=json.loads, required=True, help="settings, trials, seeds and minima, as JSON")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    run(p, main)
