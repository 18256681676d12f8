"""The study, read once, and what the rules ask of it: paths, inputs and params as functions of wildcards alone."""

import gc
import inspect
import os
import shlex
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from snakemake.common import overwrite_function_params
from snakemake.exceptions import WorkflowError
from snakemake.resources import Resource
from snakemake.settings.types import DeploymentMethod

from conceptbridge.core import run_lock
from conceptbridge.study import embeddings
from conceptbridge.core.text import canonical
from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.receive.find_bundles import find_bundles
from conceptbridge.exchange.receive.aggregates import find_aggregates
from conceptbridge.core.code_fingerprint import fingerprint
from conceptbridge.learn import registry
from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.converters.codebook import read_codebook
from conceptbridge.sites.extract import (
    check_needs,
    extract_files as files_of,
    find_tables,
)
from conceptbridge.study.study import SIMULATED
from conceptbridge.study.config import read_study

# Snakemake keeps all that it makes while it plans: looking for what nobody needs any more is a tenth of the time
gc.disable()

HOME = Path(workflow.basedir)
SCRIPTS = HOME / "workflow/scripts"


def findings_files(findings):
    """The files that a site's findings are read from: all of them the user's."""
    return [
        findings[key] for key in ("codebook", "names", "train", "test") if findings[key]
    ]


def read_findings_codebook(findings):
    """Stop now, not in a job, where a file is missing or the codebook has a mistake."""
    for file in findings_files(findings):
        if not Path(file).is_file():
            raise StudyError(f"{file}: there is no such file (config: sites)")
    names = findings["names"] and Path(findings["names"])
    read_codebook(Path(findings["codebook"]), names)


def models_of(study, source):
    """What a source's bundles have to say of themselves, for each of the study's models."""
    return {
        (task, e.name, learner): study.model(source, task, e, learner)
        for task in study.config["tasks"]
        for e in study.embeddings.values()
        for learner in study.config["learners"]
    }


try:
    study = read_study(config)
    # the files of an extract are listed now, so that a change inside its folder is noticed
    EXTRACTS = {}
    for site in study.own + study.scored:
        if findings := study.findings(site):
            read_findings_codebook(findings)
        elif not study.simulated(site):
            found = find_tables(Path(study.extract(site)))
            check_needs(site, Path(study.extract(site)), found, study.config["tasks"])
            EXTRACTS[site] = [str(file) for file in files_of(found)]
    # what the aggregate results files of other sites say of themselves
    REPORTED = {
        site: find_aggregates(
            Path(study.results_file(site)),
            site,
            study.config["sites"][site]["role"],
            study.compared(),
        )
        for site in study.reported
    }
    # the bundles of other sites, by task, embedding and learner
    RECEIVED = {
        site: find_bundles(study.bundles(site), site, models_of(study, site))
        for site in study.bundled
    }
    VOCABULARY = (
        files_of(find_tables(Path(study.vocabulary))) if study.vocabulary else []
    )
    BENCHMARKS = [str(file) for file in study.benchmarks]
except StudyError as error:
    raise WorkflowError(str(error)) from None

RESULTS = study.config["results"]
# the built-in network has no devices
SIMULATED_TABLES = [table for table in TABLES if table != "device_exposure"]
# what a findings table is turned into
FINDINGS_TABLES = [
    "person",
    "observation_period",
    "visit_occurrence",
    "condition_occurrence",
    "observation",
    "concept",
]
# whether a site's rows are those of the built-in network
SIMULATED_ROWS = any(map(study.simulated, study.own)) or any(
    about["simulated"] for about in REPORTED.values()
)
TASKS = list(study.config["tasks"])
EMBEDDINGS = list(study.embeddings.values())
LEARNERS = list(study.config["learners"])
STRATEGIES = study.strategies
# what the list of patients of a site is scored with: each model that another site has, or has sent
SCORES = [
    f"{RESULTS}/scores/{task}/{site}/{source}/{e.id}/{learner}.csv"
    for site in study.scored
    for task in TASKS
    for source in study.others(site)
    for e in EMBEDDINGS
    for learner in LEARNERS
    if source not in RECEIVED or (task, e.name, learner) in RECEIVED[source]
]
SCORES += sorted({f"{os.path.dirname(file)}/coverage.md" for file in SCORES})
# embeddings that have a table a site, controls included
TABLED = list(
    dict.fromkeys(e.tables.id for e in EMBEDDINGS if e.tables and not e.tables.learned)
)
# a task's rows at the target
ROWS = [
    f"<results>/tasks/{{task}}/{{target}}/{kind}.parquet"
    for kind in ("cohort", "tokens", "sequences")
]
os.environ.update(
    # the place of the cache is no param: moving it runs nothing
    CONCEPTBRIDGE_CACHE=os.path.expanduser(study.config["embedding_cache"]),
    # nor are the catalogue's entries: what changes a vector is in an embedding's id, the rest (url, price) runs nothing
    CONCEPTBRIDGE_EMBEDDINGS=canonical(study.catalogue),
    # nor is the place of the workflow
    CONCEPTBRIDGE_SCRIPTS=str(SCRIPTS.resolve()),
    # a command ends with the Snakemake that started it (workflow/scripts/command.py)
    CONCEPTBRIDGE_RUN=str(os.getpid()),
    # `python` in a rule is the one that runs Snakemake, whether its environment is activated or not
    PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]),
    # where envs/conceptbridge.post-deploy.sh finds this package
    CONCEPTBRIDGE_HOME=str(HOME),
)


# the shell becomes the command, whose parent is then Snakemake itself
shell.prefix("set -euo pipefail; exec ")


envvars:
    "CONCEPTBRIDGE_CACHE",
    "CONCEPTBRIDGE_EMBEDDINGS",
    "CONCEPTBRIDGE_SCRIPTS",


if workflow.is_main_process:

    # one run at a time; a killed one holds nothing, so that Snakemake's lock, which stays behind, is off in the profiles
    onstart:
        gc.enable()
        # it limits jobs a second, and looks again a second after every look, for good: once some jobs have ended,
        # Snakemake (9.27) looks at all that is ready without a pause, and that takes as long as the jobs
        workflow.scheduler.job_rate_limiter = None
        global study_run
        try:
            study_run = run_lock.acquire(Path(RESULTS))
        except StudyError as error:
            raise WorkflowError(str(error)) from None

    onsuccess:
        run_lock.release(study_run)


def signed(function):
    """A function that Snakemake calls for every job, its parameters at hand: Snakemake asks for them at each call."""
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function


signed(Resource.evaluate)  # Snakemake's own, called for each resource of every job


@cache
def code(script, *modules):
    """A rule's code as a param: what its script, the library's part that it imports, and ``modules`` mean."""
    own_environment = (
        DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    )
    return fingerprint(SCRIPTS / script, modules, versions=not own_environment)


def arm_code(script):
    """The code of an arm: its learner's and its strategy's, and no other's."""

    @signed
    def of_arm(wildcards):
        own = [registry.LEARNERS[wildcards.learner]]
        if wildcards.get("strategy") in registry.STRATEGIES:
            own.append(registry.STRATEGIES[wildcards.strategy])
        return code(script, *own)

    return of_arm


def embedding_code(script):
    """The code of an embedding: its backend's, and that of the embedding which stands in for it, and no other's."""

    def of_embedding(wildcards):
        e = study.by_id[wildcards.embedding]
        backends = [one.spec["backend"] for one in (e, e.fallback) if one]
        return code(
            script,
            *(embeddings.MODULES[b] for b in backends if b in embeddings.MODULES),
        )

    return of_embedding


def folder(path):
    """A param that is a folder of outputs; a function, so that only its path counts."""
    return lambda wildcards: f"{RESULTS}/{path}".format(**wildcards)


def grow(least, per_mb=0):
    """A rule's mem_mb or runtime: so much at least, more a MB of its inputs, and once more at every further attempt."""
    return signed(
        lambda wildcards, input, attempt: attempt
        * round(least + (per_mb and per_mb * megabytes(input)))
    )


def megabytes(input):
    """The size of a job's inputs; of a folder, that of the tables in it."""
    size = 0
    for path in input:
        size += os.path.getsize(path)
        if os.path.isdir(path):
            size += sum(file.stat().st_size for file in Path(path).glob("*.parquet"))
    return size / 1e6


def extract_files(wildcards):
    """The files of a site's extract."""
    if study.simulated(wildcards.site):
        return [
            f"<results>/simulated/{wildcards.site}/{table}.parquet"
            for table in SIMULATED_TABLES
        ]
    if study.findings(wildcards.site):
        return [
            f"<results>/findings/{wildcards.site}/{table}.parquet"
            for table in FINDINGS_TABLES
        ]
    return EXTRACTS[wildcards.site]


def table_at(wildcards, site):
    """The table that holds an embedding's vectors of a site: none for one-hot, the parent's for shuffled.

    A learned one has a table a task and source, which the source's model carries to its targets.
    """
    tables = study.by_id[wildcards.embedding].tables
    if tables is None or (tables.learned and hasattr(wildcards, "strategy")):
        return []
    within = f"{wildcards.task}/" if tables.learned else ""
    return [f"<results>/embeddings/{tables.id}/{within}{site}.parquet"]


@signed
def table_of(wildcards):
    """The embedding's table of the target."""
    return table_at(wildcards, wildcards.target)


def rows_at(wildcards, site):
    """The task's rows at a site."""
    return [rows.format(task=wildcards.task, target=site) for rows in ROWS]


def local_text(wildcards):
    """The flag that lets an embedding see local and unmapped texts; only where a service elsewhere would read them."""
    remote = study.by_id[wildcards.embedding].remote
    return "--local-text" if study.config["send_local_text"] or not remote else ""


def names_of(wildcards):
    """The vectors by which a site's names are compared: those of the study's first embedding that is no control."""
    real = [e for e in EMBEDDINGS if not e.control and e.tables is not None]
    return [
        f"<results>/embeddings/{e.tables.id}/{wildcards.site}.parquet" for e in real[:1]
    ]


def local_arm(wildcards, site):
    """A site's local arm, whose models other sites use."""
    return f"<results>/arms/{wildcards.task}/{wildcards.embedding}/{wildcards.learner}/local/{site}"


def rows_of_sources(wildcards):
    """The task's rows and the embedding's tables of all sources."""
    return [
        file
        for site in study.sources
        for file in [*rows_at(wildcards, site), *table_at(wildcards, site)]
    ]


def left_out(wildcards):
    """Whether an arm is the sources' model, which no row of its target took part in."""
    left = wildcards.strategy == "leave-one-out"
    return left and wildcards.target not in study.sources


def sources_arm(wildcards):
    """The folder of the model of all sources' rows, which targets that are no source share."""
    return f"<results>/arms/{wildcards.task}/{wildcards.embedding}/{wildcards.learner}/sources"


@signed
def others_of(wildcards):
    """What stands for the other sites of a pooled arm: the sources' model, or a digest of their rows."""
    if left_out(wildcards):
        return sources_arm(wildcards)
    return f"<results>/arms/{wildcards.task}/{wildcards.embedding}/rows.sha256"


def tokens_at(wildcards):
    """The tokens of a target and of the sites that models come from, by site."""
    sites = [s for s in study.own + study.bundled if s in study.sources]
    return {
        site: f"<results>/tasks/{wildcards.task}/{site}/tokens.parquet"
        for site in dict.fromkeys([*sites, wildcards.target])
    }


def placed(files):
    """Files as a command is given them: in the folder of results."""
    return [file.replace("<results>", RESULTS) for file in files]


# What an arm's command is told is one param, its parts quoted once for all arms that share them: there are thousands of
# arms, and planning takes as long for a param of each as for an input.
@signed
def trained(wildcards):
    """What training at one site is told."""
    return " ".join(
        [
            f"--target {wildcards.target}",
            embedding_told(wildcards.embedding),
            arm_told(wildcards, "local"),
        ]
    )


@signed
def pooled(wildcards):
    """What training on the rows of several sites is told, or bringing what was trained so."""
    w = wildcards
    if left_out(w):
        (folder,) = placed([sources_arm(w)])
        sites = f"{rows_told(w.task, w.embedding, w.target)} {shlex.join(['--trained', folder])}"
    else:
        sites = all_rows_told(w.task, w.embedding, w.target)
    return " ".join(
        [
            sites,
            f"--strategy {w.strategy}",
            embedding_told(w.embedding),
            arm_told(w, w.strategy),
        ]
    )


@signed
def pooled_sources(wildcards):
    """What training on the rows of all sources is told."""
    return " ".join(
        [
            rows_told(wildcards.task, wildcards.embedding, *study.sources),
            "--sources-only --strategy leave-one-out",
            embedding_told(wildcards.embedding),
            arm_told(wildcards, "leave-one-out"),
        ]
    )


@signed
def transferred(wildcards):
    """What bringing models to a target is told."""
    return " ".join(
        [
            f"--target {wildcards.target} --strategy {wildcards.strategy}",
            sources_told(
                wildcards.task,
                wildcards.embedding,
                wildcards.learner,
                wildcards.target,
            ),
            arm_told(wildcards, wildcards.strategy),
        ]
    )


def arm_told(wildcards, strategy):
    """What every arm is told: its learner, its budget."""
    w = wildcards
    return f"--learner {w.learner} {budget_told(w.task, w.learner, strategy)}"


@cache
def budget_told(task, learner, strategy):
    return shlex.join(["--budget", study.budget(task, learner, strategy)])


@cache
def embedding_told(id):
    """What a model has to know of its embedding, as JSON."""
    e = study.by_id[id]
    about = {"name": e.name, "fingerprint": e.fingerprint, "backend": e.spec["backend"]}
    return shlex.join(["--embedding", canonical(about)])


@cache
def sources_told(task, embedding, learner, target):
    """What is known of the local models of all other sites, and the embedding that they have to be made with."""
    of = SimpleNamespace(task=task, embedding=embedding, learner=learner)
    arms = [local_arm(of, site) for site in study.others(target)]
    fingerprint = study.by_id[embedding].fingerprint
    return shlex.join(["--source", *placed(arms), "--fingerprint", fingerprint])


@cache
def all_rows_told(task, embedding, target):
    """The target and all other sites, their rows and their tables."""
    return rows_told(task, embedding, target, *study.others(target))


def rows_told(task, embedding, *sites):
    """The sites, their rows and their tables."""
    of = SimpleNamespace(task=task, embedding=embedding, strategy="pooled")
    rows = [file for site in sites for file in rows_at(of, site)]
    tables = [file for site in sites for file in table_at(of, site)]
    return shlex.join(
        ["--sites", *sites, "--rows", *placed(rows), "--tables", *placed(tables)]
    )


def measured_at(wildcards):
    """What evaluation found at the site itself, where it is tested."""
    if wildcards.site not in study.targets:
        return []
    folder = f"<results>/metrics/{wildcards.task}/{wildcards.site}"
    return [f"{folder}/{table}.parquet" for table in ("metrics", "site")]


def bundle_of(wildcards):
    """The received bundle of a model; none where the source has sent none."""
    model = (
        wildcards.task,
        study.by_id[wildcards.embedding].name,
        wildcards.learner,
    )
    return [str(path) for path in [RECEIVED[wildcards.received].get(model)] if path]


def patients_rows(wildcards):
    """Cohort, tokens and sequences of the listed patients."""
    kinds = ("cohort", "tokens", "sequences")
    return [
        f"<results>/scores/{wildcards.task}/{wildcards.site}/{kind}.parquet"
        for kind in kinds
    ]


def vectors_at(wildcards, site):
    """The table of a site's vectors; a learned embedding's go with the model."""
    tables = study.by_id[wildcards.embedding].tables
    if tables is None or tables.learned:
        return []
    return [f"<results>/embeddings/{tables.id}/{site}.parquet"]


def aggregated(wildcards):
    """What the aggregate results file of a site is made of."""
    measured = (
        expand(rules.evaluate.output, task=TASKS, target=wildcards.site)
        if wildcards.site in study.targets
        else []
    )
    outputs = (
        rules.cohort.output.attrition,
        rules.sequences.output.tokens,
        *rules.leaks.output,
    )
    return measured + [
        path for one in outputs for path in expand(one, task=TASKS, allow_missing=True)
    ]
