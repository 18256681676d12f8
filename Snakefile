"""conceptbridge: one study as one DAG. `snakemake --cores 8` runs config/config.yaml."""

import os
import re
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from conceptbridge.catalogue import canonical
from conceptbridge.errors import StudyError
from conceptbridge.imports import code_files
from conceptbridge.sites.extract import table_files
from conceptbridge.study import SIMULATED, read_study

min_version("9.27")

# a study given by --configfile is whole; it is not mixed with the default one
if "sites" not in config:

    configfile: "config/config.yaml"


HOME = Path(workflow.basedir)


def read_yaml(path):
    return yaml.safe_load((HOME / path).read_text(encoding="utf-8"))


try:
    study = read_study(
        config,
        read_yaml("config/embeddings.yaml"),
        read_yaml("workflow/schemas/config.schema.yaml"),
        read_yaml("workflow/schemas/embeddings.schema.yaml"),
    )
except StudyError as error:
    raise WorkflowError(str(error)) from None


pathvars:
    results=study.config["results"],
    logs=study.config["results"] + "/logs",
    benchmarks=study.config["results"] + "/benchmarks",


wildcard_constraints:
    site="|".join(map(re.escape, study.sites)),
    target="|".join(map(re.escape, study.sites)),
    task="|".join(map(re.escape, study.config["tasks"])),
    embedding="|".join(map(re.escape, study.by_id)),
    learner="|".join(study.config["learners"]),
    strategy="|".join(s for s in study.config["strategies"] if s != "local") or "none",


def code(name):
    """A rule's code inputs: its script and all of the library that the script imports."""
    files = code_files(HOME / "workflow/scripts" / f"{name}.py")
    return [os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file) for file in files]


rule all:
    default_target: True
    input:
        "<results>/report/index.html",


include: "workflow/rules/sites.smk"
include: "workflow/rules/vocabulary.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/transfer.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
