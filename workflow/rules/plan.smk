"""The study's plan, and what the rules ask of it: paths, inputs and params as functions of wildcards alone."""

import gc
import os
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

from conceptbridge import layout
from conceptbridge.core import run_lock
from conceptbridge.core.code_fingerprint import fingerprint
from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import canonical
from conceptbridge.plan import Plan
from conceptbridge.sites.cdm import TABLES
from conceptbridge.study.strategies import Needs

try:
    plan = Plan.read(config)
except StudyError as error:
    raise WorkflowError(str(error)) from None
study = plan.study
RESULTS = study.config["results"]
TASKS, EMBEDDINGS, LEARNERS = plan.tasks, plan.embeddings, plan.learners
TERM_PAIRS = [str(file) for file in study.term_pairs]
# beside the rules; of rules that Snakemake takes from a repository elsewhere, those of the installed package
SCRIPTS = Path(str(workflow.current_basedir)).parent / "scripts"
if not SCRIPTS.is_dir():
    SCRIPTS = layout.workflow_folder() / "workflow/scripts"

# `python` in a rule is the one that runs Snakemake, whether its environment is activated or not
os.environ["PATH"] = (
    f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
)
# a command ends with the Snakemake that started it (workflow/scripts/command.py)
os.environ["CONCEPTBRIDGE_RUN"] = str(os.getpid())
# where envs/conceptbridge.post-deploy.sh finds this package
os.environ["CONCEPTBRIDGE_HOME"] = str(SCRIPTS.parents[1])
# the shell becomes the command, whose parent is then Snakemake itself
shell.prefix("set -euo pipefail; exec ")

# What is kept of Snakemake's own affairs, in a study that is no module of another workflow:
if workflow.modifier.is_main_snakefile() and workflow.is_main_process:
    # it keeps all that it makes while it plans: looking for garbage is a tenth of the time
    gc.disable()

    onstart:
        gc.enable()
        # its limit of jobs per second starts a look at all ready jobs a second after every look, for good (9.27): with
        # a thousand jobs that takes as long as the jobs
        workflow.scheduler.job_rate_limiter = None
        global study_run
        try:
            study_run = run_lock.acquire(Path(RESULTS))
        except StudyError as error:
            raise WorkflowError(str(error)) from None

    onsuccess:
        run_lock.release(study_run)


class Untracked:
    """What a command is told and Snakemake does not compare: it runs nothing again when it changes."""

    def __init__(self, value):
        self.value = value

    def __str__(self):
        return str(self.value)

    def __repr__(self):
        return "untracked"


CACHE = Untracked(os.path.expanduser(study.config["embedding_cache"]))
# what changes a vector is in the embedding's folder; the rest of an entry (url, price) runs nothing
CATALOGUE = Untracked(canonical(study.catalogue))


@cache
def script(name, *modules):
    """A rule's command: the fingerprint of its code, that of ``modules`` included, counts; its path does not."""
    path = SCRIPTS / f"{name}.py"
    own = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    code = fingerprint(path, modules, versions=not own)
    return {"code": code, "path": Untracked(path)}


def arm_script(name):
    """The command of an arm, with the code of its learner and its strategy, and of no other."""
    return lambda wildcards: script(
        name, *plan.arm_modules(wildcards.learner, wildcards.get("strategy"))
    )


def embedding_script(name):
    """The command of an embedding, with the code of its backend and its fallback's, and of no other."""
    return lambda wildcards: script(name, *plan.embedding_modules(wildcards.embedding))


def settings(rule):
    """What the plan tells a job of a rule."""
    return lambda wildcards: plan.settings(rule, **dict(wildcards.items()))


def arm_job(wildcards):
    """The job of an arm, as JSON."""
    return plan.arm(**dict(wildcards.items())).to_json()


def at(artefact, **names):
    """Where an artefact lies; placeholders that are not named are wildcards."""
    return f"<results>/{layout.place(artefact, **names)}"


def folder(path):
    """A param that is a folder of outputs."""
    return lambda wildcards: f"{RESULTS}/{path}".format(**wildcards)


def grow(least, per_mb=0):
    """mem_mb or runtime of a rule: a minimum, more per MB of its inputs, and as much again with every attempt."""

    def resource(wildcards, input, attempt):
        return attempt * round(least + (per_mb and per_mb * megabytes(input)))

    return resource


def megabytes(input):
    """The size of a job's inputs; that of a folder is the size of its tables."""
    size = 0
    for path in map(Path, input):
        tables = path.glob("*.parquet") if path.is_dir() else []
        size += sum(file.stat().st_size for file in (path, *tables))
    return size / 1e6


def rows(site="{site}", task="{task}"):
    """Cohort, tokens and sequences of a task at a site."""
    kinds = (layout.COHORT, layout.TOKENS, layout.SEQUENCES)
    return [at(kind, task=task, site=site) for kind in kinds]


def vectors(embedding, site, task):
    """The table of a site's vectors: none for one-hot, the parent's for shuffled, one per task where it is learned."""
    tables = study.by_id[embedding].tables
    if tables is None:
        return []
    kind = layout.LEARNED_VECTORS if tables.learned else layout.VECTORS
    return [at(kind, embedding=tables.id, site=site, task=task)]


def known_vectors(wildcards, site):
    """The table of a site's vectors where a model comes from elsewhere: learned ones come with the model."""
    tables = study.by_id[wildcards.embedding].tables
    learned = tables is not None and tables.learned
    return [] if learned else vectors(wildcards.embedding, site, wildcards.task)


# what lists of patients are scored with, and how much of their records each source knows
SCORED = [at(layout.SCORES, **names) for names in plan.scores()]
SCORED += sorted({at(layout.COVERAGE_SHEET, **names) for names in plan.scores()})
