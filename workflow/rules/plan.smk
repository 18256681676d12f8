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
from conceptbridge.core.contents import Contents
from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import canonical
from conceptbridge.plan import Plan
from conceptbridge.study.strategies import Needs
from conceptbridge.tasks.set_warnings import study_warnings

try:
    plan = Plan.read(config)
except StudyError as error:
    raise WorkflowError(str(error)) from None
study = plan.study
contents = Contents(Path(study.config["results"]))
RESULTS = study.config["results"]
TASKS, EMBEDDINGS, LEARNERS = plan.tasks, plan.embeddings, plan.learners
# folders of the embeddings that are translations, and of those that are not, as regular expressions
TRANSLATED = "|".join(e.id for e in study.translated) or "none"
TRAINED = "|".join(folder for folder, e in study.by_id.items() if not e.translated)
OF_ROWS = "|".join(plan.of_rows) or "none"
# folders of the embeddings that have a table of ancestors per site, and any others
WITH_ANCESTORS = "|".join(plan.with_ancestors) or "none"
WITH_VECTORS = f"(?!({WITH_ANCESTORS})/)[^/]+"
# beside the rules; of rules that Snakemake takes from a repository elsewhere, those of the installed package
SCRIPTS = Path(str(workflow.current_basedir)).parent / "scripts"
if not SCRIPTS.is_dir():
    SCRIPTS = layout.workflow_folder() / "workflow/scripts"

os.environ.update(
    # `python` in a rule is the one that runs Snakemake, whether its environment is activated or not, or is forked
    PATH=os.pathsep.join(
        [
            *filter(None, [os.environ.get("CONCEPTBRIDGE_PYTHON")]),
            os.path.dirname(sys.executable),
            os.environ.get("PATH", ""),
        ]
    ),
    # a command ends with the Snakemake that started it (workflow/scripts/command.py)
    CONCEPTBRIDGE_RUN=str(os.getpid()),
    # where envs/conceptbridge.post-deploy.sh finds this package
    CONCEPTBRIDGE_HOME=str(SCRIPTS.parents[1]),
)
# the shell becomes the command, whose parent is then Snakemake itself
shell.prefix("set -euo pipefail; exec ")

# What is kept of Snakemake's own affairs, in a study that is no module of another workflow:
if workflow.modifier.is_main_snakefile() and workflow.is_main_process:
    # it keeps all that it makes while it plans: looking for garbage is a tenth of the time
    gc.disable()

    onstart:
        gc.enable()
        for text in study.warnings:
            logger.warning(f"warning: {text}.")
        # its limit of jobs per second starts a look at all ready jobs a second after every look, for good (9.27): with
        # a thousand jobs that takes as long as the jobs
        workflow.scheduler.job_rate_limiter = None
        global study_run
        try:
            study_run = run_lock.acquire(Path(RESULTS))
        except StudyError as error:
            raise WorkflowError(str(error)) from None
        contents.save()

    onsuccess:
        for text in study_warnings(Path(RESULTS) / "tasks", TASKS, study.own):
            logger.warning(f"warning: {text}.")
        run_lock.release(study_run)

    onerror:
        for text in study_warnings(Path(RESULTS) / "tasks", TASKS, study.own):
            logger.warning(f"warning: {text}.")


class Untracked(str):
    """What a command is told and Snakemake does not compare: it runs nothing again when it changes."""

    def __repr__(self):
        return "untracked"


UNTRACKED = {
    "results": Untracked(RESULTS),
    "cache": Untracked(os.path.expanduser(study.config["embedding_cache"])),
    # what changes a vector is in the embedding's folder; the rest of an entry (url, price) runs nothing
    "catalogue": Untracked(canonical(study.catalogue)),
    # what they say of a target is in its translations' settings
    "corrections": Untracked(canonical(study.translations)),
}


@cache
def code(path, modules):
    """The fingerprint of a command's code; with an environment of its own, its packages have their own versions."""
    own = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    return fingerprint(path, modules, versions=not own)


def job(rule):
    """What a job of a rule gets, namely its script, whose code counts and whose place does not, and its settings."""

    def of_rule(wildcards):
        names = dict(wildcards.items())
        path = SCRIPTS / f"{plan.script(rule)}.py"
        told = {
            "script": Untracked(path),
            "code": code(path, plan.modules(rule, **names)),
        }
        # a file that was replaced by an older one is another file
        if given := contents.digest(plan.given(rule, **names)):
            told["given"] = given
        return plan.settings(rule, **names) | told | UNTRACKED

    return of_rule


def at(artefact, **names):
    """Where an artefact lies; placeholders that are not named are wildcards."""
    return f"<results>/{layout.place(artefact, **names)}"


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
