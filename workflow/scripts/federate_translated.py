"""Train one model of all sources by federated training, each of which reads its own rows in the words of one hub."""

import argparse
from pathlib import Path

from command import run
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.federated.hub_words import serve_in_words_of_hub
from conceptbridge.learn.run_federated import run_federated


def main(a: argparse.Namespace) -> None:
    run_federated(ArmJob.from_json(a.job), a.results, a.out, a.at_once, serve_in_words_of_hub)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--job", required=True, help="task, sources, hub, strategy, learner, embedding, budget, as JSON")
    p.add_argument("--results", type=Path, required=True, help="the study's folder of outputs, where its inputs lie")
    p.add_argument("--at-once", type=int, default=1, help="sites that compute at a time")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    run(p, main)
