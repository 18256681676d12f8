"""Federated training beside pooled and local models: AUROC at each hospital, CPU seconds, and the bytes that leave.

    python benchmarks/federated.py STUDY.yaml                       # cnn on minilm
    python benchmarks/federated.py STUDY.yaml --arms logistic:minilm cnn:translated

STUDY.yaml is a study whose cohorts, sequences and vectors lie in its ``results`` folder, such as the demo's after

    conceptbridge run config/studies/three-winters.yaml --until embed translate

Per arm, the federated model of all sources is trained with the settings that the sites' validation rows choose, all
sites in this process, one after the other. Local and pooled arms are taken from the study's results, or trained where
they are not there, but for a site whose role is `target`, which takes no part. Printed: of each hospital the mean AUROC
on its test rows over all seeds, local, pooled, federated; what was chosen; the CPU seconds of all training, and those
of one model of one seed with the chosen settings; and of each site how many bytes left it and came to it for that one
model.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq
import yaml
from sklearn.metrics import roc_auc_score

from conceptbridge import layout
from conceptbridge.learn.arm_files import load_model
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.federated.answers import Answer, size_of
from conceptbridge.learn.federated.client import Client
from conceptbridge.learn.federated.server import federate, refusal
from conceptbridge.learn.run_arm import read_site_of, run_arm
from conceptbridge.learn.training import Arm
from conceptbridge.learn.translated_arm import in_words_of_hub, run_translated_arm
from conceptbridge.plan import Plan


class Counted:
    """Sites in this process, with the bytes that left each and that came to it."""

    def __init__(self, clients: dict[str, Client]) -> None:
        self.clients = clients
        self.left, self.came = dict.fromkeys(clients, 0), dict.fromkeys(clients, 0)

    @property
    def names(self) -> list[str]:
        return list(self.clients)

    def ask(self, question: str, asked: dict[str, Any], of: Any) -> list[Answer]:
        answers = []
        for name in of:
            answers.append(self.clients[name].answer(question, asked))
            self.left[name] += size_of(answers[-1])
            self.came[name] += size_of(asked)
        return answers


def auroc(probability: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    return float(np.mean([roc_auc_score(labels, of_seed) for of_seed in probability]))


def of_arm(folder: Path) -> float:
    """Mean AUROC over the seeds of an arm that was made."""
    rows = pq.read_table(folder / "predictions.parquet").to_pandas()
    rows = rows[rows["split"] == "test"]
    return float(np.mean([roc_auc_score(one["label"], one["probability"]) for _, one in rows.groupby("seed")]))


def made(plan: Plan, results: Path, where: tuple[str, str, str], strategy: str, site: str) -> float:
    """The same of an arm of the study, which is made if it is not there."""
    folder = layout.arm(results, *where, strategy, site)
    if not (folder / "arm.json").is_file():
        began = time.process_time()
        job = plan.arm(*where, strategy, site)
        (run_arm if job.hub is None else run_translated_arm)(job, results, folder)
        print(f"  {strategy} at {site}: {time.process_time() - began:.0f} CPU s", flush=True)
    return of_arm(folder)


def one_model(job: ArmJob, clients: dict[str, Client], chosen: dict[str, Any]) -> tuple[float, Counted]:
    """CPU seconds of one model of one seed with the chosen settings, and what travelled."""
    budget = replace(job.budget, settings={**job.budget.settings, **chosen}, searched={}, max_trials=1, seeds=1)
    counted = Counted(clients)
    with TemporaryDirectory() as temporary:
        began = time.process_time()
        federate(Arm(replace(job, budget=budget), Path(temporary)), counted)
        return time.process_time() - began, counted


def compare(plan: Plan, results: Path, task: str, learner: str, embedding: str) -> None:
    folder = plan.study.embeddings[embedding].id
    job = plan.arm(task, folder, learner, "federated")
    print(f"\n{learner} on {embedding}, {len(job.sources)} sites, {job.budget.seeds} seeds", flush=True)
    if (reason := refusal(job)) is not None:
        print(f"  {reason}")
        return
    began = time.process_time()
    read = read_site_of if job.hub is None else in_words_of_hub
    sites = {name: read(job, results, name) for name in plan.study.own}
    clients = {name: Client(job, sites[name]) for name in job.sources}
    reading = time.process_time() - began
    with TemporaryDirectory() as temporary:
        began = time.process_time()
        entry = federate(Arm(job, Path(temporary)), Counted(clients)).entry
        taken = time.process_time() - began
        spent = entry["spent"]
        print(f"  reading {reading:.1f} CPU s, training {taken:.1f} CPU s, {spent['trials']} candidates")
        print(f"  chosen {spent['chosen']}, kept {spent['kept']}, at an edge: {spent['at_edge']}", flush=True)
        model = load_model(Path(temporary) / "models/all", learner, job.embedding.fingerprint)
        seconds, counted = one_model(job, clients, spent["chosen"])
        print(f"  one model of one seed: {seconds:.1f} CPU s")
        for name in job.sources:
            left, came = counted.left[name] / 1e6, counted.came[name] / 1e6
            print(f"  {name}: {left:.1f} MB left, {came:.1f} MB came", flush=True)
        print("  | hospital | local | pooled | federated |\n  |---|---|---|---|", flush=True)
        for name, site in sites.items():
            rows = site.rows.of("test")
            # a translation has no local arms of its own
            arms = {"local": job.embedding.local_arms, "pooled": folder}
            found = [
                f"{made(plan, results, (task, of, learner), strategy, name):.4f}"
                for strategy, of in arms.items()
                if name in job.sources
            ] or ["", ""]  # of a target that is no source
            found.append(f"{auroc(model.predict(site.draws(model.space, rows)), site.rows.labels[rows]):.4f}")
            print(f"  | {name} | " + " | ".join(found) + " |", flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("study", type=Path, help="a study whose results have cohorts, sequences and vectors")
    p.add_argument("--arms", nargs="+", default=["cnn:minilm"], help="learner:embedding")
    a = p.parse_args()
    config = yaml.safe_load(a.study.read_text(encoding="utf-8"))
    plan = Plan.read(config | {"strategies": ["local", "pooled", "federated"]})
    for arm in a.arms:
        learner, embedding = arm.split(":")
        compare(plan, Path(config["results"]), plan.tasks[0], learner, embedding)


if __name__ == "__main__":
    main()
