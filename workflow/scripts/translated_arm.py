"""Make one arm on a translation: a learner on one-hot, by one strategy, at one target; all sources and seeds."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.translated_arm import run_translated_arm


def main(a: argparse.Namespace) -> None:
    run_translated_arm(ArmJob.from_json(a.job), a.results, a.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--job", required=True, help="task, target, sources, strategy, learner, embedding, budget, as JSON")
    p.add_argument("--results", type=Path, required=True, help="the study's folder of outputs, where its inputs lie")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    run(p, main)
