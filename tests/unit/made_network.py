"""Made-up hospitals that take part in federated training over a network, each with a folder of results of its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge import layout
from conceptbridge.exchange.network.hospital import Engagement
from conceptbridge.exchange.network.model_bundle import name_of
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.vocabulary.build import SCHEMA as VOCABULARY
from made_site import CONCEPTS, WIDTH, write_site

NAMES = ("riverside", "lakeshore", "prairie")
ROWS = (300, 300, 150)


def about_of(job: ArmJob) -> dict[str, Any]:
    """What a bundle's manifest says of the job's model."""
    embedding = {"name": job.embedding.name, "fingerprint": job.embedding.fingerprint}
    days = {"domain": "visit", "concepts": [9203], "days": [1, 7]}
    return {
        "source": "all",
        "task": job.task,
        "definition": {"index": days, "outcome": days, "predictors": {"days": [-365, 0], "domains": ["condition"]}},
        "embedding": embedding | {"backend": job.embedding.backend, "entry": {"width": WIDTH}},
        "learner": job.learner,
        "seeds": job.budget.seeds,
        "min_cell_count": job.budget.min_cell_count,
    }


def write_hospital(folder: Path, name: str, *jobs: ArmJob) -> Engagement:
    """A hospital's folder of results, and what it takes part in."""
    results, number = folder / "results", NAMES.index(name)
    for job in jobs[:1]:
        cohort, *_ = layout.rows(results, job.task, name)
        write_site(cohort.parent, CONCEPTS, rows=ROWS[number], seed=number)
        table = layout.vectors(results, job.embedding.tables or "none", name)
        table.parent.mkdir(parents=True)
        shutil.move(cohort.parent / "table.parquet", table)
    cdm = results / layout.place(layout.CDM, site=name)
    cdm.mkdir(parents=True)
    persons = [70_000_000 + 7 * n for n in range(ROWS[number])]
    sources = {column: ["F"] * len(persons) for column in ("gender_source_value", "race_source_value")}
    pq.write_table(pa.table({"person_id": persons, **sources}), cdm / "person.parquet")
    pq.write_table(pa.table({"visit_occurrence_id": persons}), cdm / "visit_occurrence.parquet")
    pq.write_table(VOCABULARY.empty_table(), results / layout.place(layout.VOCABULARY, site=name))
    told = {
        name_of(job.task, job.embedding.name, job.learner): {"about": about_of(job), "job": json.loads(job.to_json())}
        for job in jobs
    }
    few = jobs[0].budget.min_cell_count
    log, models = folder / "left.csv", folder / "models"
    return Engagement(name, str(results), few, told, str(models), str(log), "{}", [str(folder)])
