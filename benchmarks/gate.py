"""What the check of all that leaves costs: the results file and every bundle of each site of a finished study.

    conceptbridge run STUDY.yaml && python benchmarks/gate.py STUDY.yaml    # in the folder that holds its results

Writes nothing to the study. Times are those of the processor, in seconds, from the reading of what a site keeps to
itself to the packed file.
"""

import json
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from conceptbridge import layout
from conceptbridge.exchange.egress.site_secrets import SiteSecrets, read_site_secrets
from conceptbridge.exchange.send.aggregates import write_aggregates
from conceptbridge.exchange.send.bundle import write_bundle
from conceptbridge.plan import Plan


def secrets_of(plan: Plan, results: Path, site: str, job: dict[str, str]) -> SiteSecrets:
    """What the site keeps to itself, as a rule reads it before it writes a file."""
    cohorts = [results / "tasks" / task / site / "cohort.parquet" for task in plan.tasks]
    least = plan.study.config["min_cell_count"]
    return read_site_secrets([results / "sites" / site], cohorts, job["config"], least, [job["folder"]])


def results_file(plan: Plan, results: Path, site: str, out: Path) -> None:
    """Write the site's results file."""
    job = plan.settings("write_aggregates", site=site)
    secrets = secrets_of(plan, results, site, job)
    write_aggregates(results, json.loads(job["about"]), secrets, out / "a.zip", out / "a.md")


def bundles(plan: Plan, results: Path, site: str, out: Path) -> int:
    """Write all bundles of the site and return how many they are."""
    wanted = list(product(plan.tasks, plan.sent, plan.learners))
    for task, embedding, learner in wanted:
        job = plan.settings("write_bundle", site=site, task=task, embedding=embedding, learner=learner)
        arm = layout.arm(results, task, embedding, learner, "local", site)
        vocabulary, tokens = results / "sites" / site / "vocabulary.parquet", results / "tasks" / task / site
        measured, secrets = results / "metrics" / task / site, secrets_of(plan, results, site, job)
        files = (arm, vocabulary, tokens / "tokens.parquet", measured)
        write_bundle(json.loads(job["about"]), *files, secrets, out / "b.zip", out / "b.md")
    return len(wanted)


def main(study_file: Path) -> None:
    """Print the seconds of each site: of its results file, and of all of its bundles."""
    plan = Plan.read(yaml.safe_load(study_file.read_text(encoding="utf-8")))
    results = Path(plan.study.config["results"])
    for site in plan.study.own:
        tables = [results / "metrics" / task / site / "training_budget.parquet" for task in plan.tasks]
        arms = sum(pq.read_metadata(table).num_rows for table in tables)
        with tempfile.TemporaryDirectory() as out:
            start = time.process_time()
            results_file(plan, results, site, Path(out))
            between = time.process_time()
            sent = bundles(plan, results, site, Path(out))
            end = time.process_time()
        print(f"{site}: {arms} arms, results file {between - start:.1f} s, {sent} bundles {end - between:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
