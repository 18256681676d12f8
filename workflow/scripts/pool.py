"""Train a learner on the rows of several sites together, with every seed, and predict one target's rows.

A model of all sources is the same for every target that is none of them: it is trained alone (--sources-only) and
brought to each (--trained).
"""

import argparse
import json
from pathlib import Path

from command import run
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.run_arm import make_arm
from conceptbridge.learn.site import read_site


def main(a: argparse.Namespace) -> None:
    rows = [a.rows[i : i + 3] for i in range(0, len(a.rows), 3)]
    tables = a.tables or [None] * len(a.sites)
    sites = [read_site(name, of, table) for name, of, table in zip(a.sites, rows, tables, strict=True)]
    target = None if a.sources_only else sites.pop(0)
    embedding, budget = ArmEmbedding(**a.embedding), Budget(**a.budget)
    names = [site.name for site in sites]
    job = ArmJob("", target.name if target else None, names, a.strategy, a.learner, embedding, budget, bool(a.trained))
    make_arm(job, a.out, target, sites, shared_arm=a.trained)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--sites", nargs="+", required=True, help="the target, then all other sites whose rows are needed")
    p.add_argument(
        "--sources-only", action="store_true", help="there is no target among the sites: train, predict none"
    )
    p.add_argument("--trained", type=Path, help="folder of what was trained so; then the target is the only site")
    p.add_argument("--rows", type=Path, nargs="+", required=True, help="cohort, tokens and sequences of each site")
    p.add_argument("--tables", type=Path, nargs="*", required=True, help="the embedding's table of each site")
    p.add_argument("--learner", required=True)
    p.add_argument("--strategy", required=True)
    p.add_argument("--embedding", type=json.loads, required=True, help="name, fingerprint and backend, as JSON")
    p.add_argument("--budget", type=json.loads, required=True, help="settings, trials, seeds and minima, as JSON")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    run(p, main)
