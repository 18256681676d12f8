"""What changed runs again, and nothing else does: one table of changes, and an edit planted in every module.

pytest tests/workflow/test_reruns.py -k table -s     # prints the table
"""

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from conceptbridge.core import code_fingerprint
from conceptbridge.learn import registry
from conceptbridge.plan import Plan
from conceptbridge.study import strategies
from planning import DryRun, Job, followed, jobs, plan
from tiny_study import ROOT, STRATEGIES, TASK, TINY, snakemake, task

pytestmark = pytest.mark.workflow

#: a line of Python's own trace of imports
IMPORTED = r"^import time: .*\| +(conceptbridge[\w.]*)$"
#: the package of what networks have in common
NETWORKS = "conceptbridge.learn.networks"
#: jobs of the tiny study that always go together: 2 sites x 2 embeddings x 2 learners, 2 strategies of transfer
PAGE = {"provenance": 1, "report": 1, "all": 1}
JOINT = {"tables": 1, "figures": 1} | PAGE
EVALUATED = {"evaluate": 2, "importance": 2} | JOINT
MOVED = {"models_digest": 4, "transfer": 16}
LEARNED = {"train": 8, "pool": 8} | MOVED | EVALUATED
ROWS = {"sequences": 2, "leaks": 2, "rows_digest": 2} | LEARNED
MEASURED = {"embedding_quality": 1, "embedding_tables": 1}
EMBEDDED = {"compute_texts": 2, "embed": 2} | MEASURED
# random's arms, but onehot's not
OF_RANDOM = {"rows_digest": 1, "train": 4, "models_digest": 2, "transfer": 8, "pool": 4}
# of one embedding, without its rows' digest
OF_ONEHOT = {rule: jobs for rule, jobs in OF_RANDOM.items() if rule != "rows_digest"}
INGESTED = {"ingest": 2, "vocabulary": 2, "cohort": 2} | EMBEDDED | ROWS
# one learner's arms, on both embeddings
OF_LEARNER = {"train": 4, "models_digest": 2, "transfer": 8, "pool": 4} | EVALUATED


@dataclass
class Row:
    """A change, the jobs that it should run, rule by rule, and why these."""

    change: str
    jobs: dict[str, int]
    why: str
    study: dict[str, Any] = field(default_factory=dict)
    #: file of the workflow -> what is appended, or (old, new)
    code: dict[str, str | tuple[str, str]] = field(default_factory=dict)
    #: what is done to the study's folder
    done: Callable[[Path], object] | None = None
    #: whether Snakemake plans it: where other jobs, files or folders are there; else the plan and the fingerprints tell
    dry_run: bool = False


def learner(name: str, **settings: Any) -> dict[str, Any]:
    return {"learners": TINY["learners"] | {name: TINY["learners"].get(name, {}) | settings}}


def module(name: str) -> dict[str, str | tuple[str, str]]:
    """A statement more in a module of the library."""
    return {f"src/conceptbridge/{name}.py": "\nCHANGED = True\n"}


def version(package: str) -> dict[str, str | tuple[str, str]]:
    return {f"src/{package}-99.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 99\n"}


def a_row_less(folder: Path) -> None:
    path = folder / "results/simulated/lakeshore/condition_occurrence.parquet"
    pq.write_table(pq.read_table(path)[1:], path)


#: of the tiny study what a second task is quickly done with
SMALL: dict[str, Any] = {
    "sites": {"riverside": TINY["sites"]["riverside"]},
    "embeddings": ["onehot"],
    "learners": {"lightgbm": TINY["learners"]["lightgbm"]},
    "strategies": ["local"],
}


def two_tasks(folder: Path) -> None:
    run = snakemake(folder, TINY | SMALL | {"tasks": {"influenza": TASK, "again": TASK | {"min_rows": 4}}}, "--cores=2")
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]


def touched(folder: Path) -> None:
    for path in folder.glob("results/simulated/*/*.parquet"):
        os.utime(path)


TABLE = [
    Row("nothing", {}, "all is up to date", dry_run=True),
    Row(
        "an embedding more",
        {"leaks": 2} | EMBEDDED | OF_RANDOM | EVALUATED,
        "its texts, tables and arms; names are compared by the first embedding with meaning, and this is the first",
        {"embeddings": ["onehot", "random", "minilm"]},
        dry_run=True,
    ),
    Row(
        "a translation more",
        {"profile": 2, "compute_texts": 2, "embed": 2, "translate": 2, "summarise_translations": 2, "rows_digest": 1}
        | {"transfer_translated": 8, "pool_translated": 4}
        | EVALUATED,
        "names' vectors, profiles, translations, and arms on the models that are there",
        {"embeddings": ["onehot", "random", "translated"]},
        dry_run=True,
    ),
    Row(
        "an embedding less",
        {"embedding_tables": 1} | EVALUATED,
        "what compares embeddings",
        {"embeddings": ["onehot"]},
        dry_run=True,
    ),
    Row("a learner more", OF_LEARNER, "its arms", learner("logistic"), dry_run=True),
    Row(
        "a learner less", EVALUATED, "what compares arms", {"learners": {"cnn": TINY["learners"]["cnn"]}}, dry_run=True
    ),
    Row("a learner's settings", OF_LEARNER, "its arms", learner("lightgbm", num_iterations=11)),
    Row(
        "settings of one strategy of a learner",
        {"transfer": 4} | EVALUATED,
        "its arms by that strategy",
        learner("lightgbm", **{"tune-head": {"refit_decay": 0.9}}),
    ),
    Row(
        "a strategy more",
        {"transfer": 8} | EVALUATED,
        "its arms; the models are there",
        {"strategies": [*STRATEGIES, "recalibrate"]},
        dry_run=True,
    ),
    Row(
        "a strategy of rounds more",
        {"federate": 4, "use_federated": 8} | EVALUATED,
        "one model of all sources, and its use at each target",
        {"strategies": [*STRATEGIES, "federated"]},
        dry_run=True,
    ),
    Row(
        "the same, trained over a network",
        {"receive_federated": 4, "use_federated": 8} | EVALUATED,
        "a bundle takes the place of what a job trains",
        {"strategies": [*STRATEGIES, "federated"], "federated_models": "models"},
        dry_run=True,
    ),
    Row(
        "a strategy less", EVALUATED, "what compares arms", {"strategies": ["local", "direct", "pooled"]}, dry_run=True
    ),
    Row(
        "no leave-one-out",
        {"figures": 1} | PAGE,
        "what names strategies; two sites have none of its arms",
        {"strategies": STRATEGIES[:-1]},
        dry_run=True,
    ),
    Row("no pooling", EVALUATED, "what compares arms", {"share_rows": False}, dry_run=True),
    Row("a seed more", OF_ONEHOT | EVALUATED, "every arm has all seeds, but a control's are its draws", {"seeds": 3}),
    Row("a seed less", OF_ONEHOT | EVALUATED, "every arm has all seeds, but a control's are its draws", {"seeds": 1}),
    Row("a draw more", OF_ONEHOT | EVALUATED, "as many arms, those of the control", {"draws": 6}),
    Row("a trial more", LEARNED, "every arm has the same budget", {"max_trials": 3}),
    Row(
        "more passes",
        OF_LEARNER,
        "the network's arms",
        {"max_passes": 3},
    ),
    Row(
        "other depths of tuning", {"transfer": 8} | EVALUATED, "the arms that are tuned", {"tuning_curve": [0, 0.5, 1]}
    ),
    Row(
        "a task more",
        {"cohort": 2} | ROWS,
        "its rows and arms, and what compares tasks; no vocabulary, no embedding",
        {"tasks": {"influenza": TASK, "again": TASK | {"min_rows": 4}}},
        dry_run=True,
    ),
    Row("a task less", JOINT, "what compares tasks", SMALL, done=two_tasks, dry_run=True),
    Row(
        "limits for methods",
        {"resample_local": 2, "resample": 2} | JOINT,
        "the headline arms, on half-samples; no arm is trained or evaluated again",
        {"evaluation": TINY["evaluation"] | {"training": "resampled"}},
        dry_run=True,
    ),
    Row(
        "a site more",
        dict.fromkeys(("simulate", "ingest", "vocabulary", "cohort", "sequences", "leaks", "embed"), 1)
        | {"compute_texts": 1, "rows_digest": 2, "train": 4, "models_digest": 4, "transfer": 24, "pool": 24}
        | MEASURED
        | EVALUATED
        | {"evaluate": 3, "importance": 3},
        "its own jobs and the arms into every target; no old local model, no old table of vectors",
        {"sites": TINY["sites"] | {"prairie": {"extract": "simulated"}}},
        dry_run=True,
    ),
    Row(
        "a target more, that is no source",
        dict.fromkeys(("simulate", "ingest", "vocabulary", "cohort", "sequences", "leaks", "embed"), 1)
        | {"compute_texts": 1, "train": 4, "transfer": 8, "pool_sources": 4, "pool": 8, "evaluate": 1, "importance": 3}
        | MEASURED
        | JOINT,
        "its own jobs, and the sources' model, which every such target shares; at the others what their models look at",
        {"sites": TINY["sites"] | {"prairie": {"extract": "simulated", "role": "target"}}},
        dry_run=True,
    ),
    Row(
        "a site less",
        {"evaluate": 1, "importance": 1} | MEASURED | JOINT,
        "what looks at all sites; the other's local models stay",
        {"sites": {"riverside": {"extract": "simulated"}}},
        dry_run=True,
    ),
    Row(
        "the predictors' window of a task",
        ROWS,
        "its sequences and all after them, but no cohort",
        task(predictors={"days": [-180, 0]}),
    ),
    Row(
        "the outcome's window of a task",
        {"cohort": 2} | ROWS,
        "its cohort and all after it, but no vocabulary",
        task(outcome=TASK["outcome"] | {"days": [1, 14]}),
    ),
    Row(
        "keys of a task in another order",
        {},
        "it says the same",
        {"tasks": {"influenza": dict(reversed(TASK.items()))}},
    ),
    Row("an extract's files touched", {}, "their content is the same", done=touched, dry_run=True),
    Row(
        "a row less in an extract",
        dict.fromkeys(("ingest", "vocabulary", "cohort", "sequences", "leaks", "embed", "compute_texts"), 1)
        | {"rows_digest": 2, "train": 4, "pool": 8}
        | MOVED
        | MEASURED
        | EVALUATED,
        "the site's jobs and every arm that has seen it; not the other's rows and local models",
        done=a_row_less,
        dry_run=True,
    ),
    Row(
        "another template of texts",
        {"vocabulary": 2} | EMBEDDED | ROWS,
        "vocabularies and all after them, but no cohort",
        {"states": "words", "texts": {"absent": "No {name}"}},
    ),
    Row(
        "min_cell_count",
        {"vocabulary": 2, "cohort": 2} | EMBEDDED | ROWS,
        "texts of fewer persons are not embedded, and nothing shows smaller counts",
        {"min_cell_count": 6},
        dry_run=True,
    ),
    Row("a setting of the evaluation", EVALUATED, "evaluation and all after it", {"evaluation": {"replicates": 200}}),
    Row("the study's name", PAGE, "the page has it as its title", {"name": "renamed"}),
    Row("the cache's folder", {}, "a vector is the same wherever it is kept", {"embedding_cache": "/tmp/elsewhere"}),
    Row(
        "the results' folder, which is moved",
        {},
        "it is all there",
        {"results": "moved"},
        done=lambda folder: (folder / "results").rename(folder / "moved"),
        dry_run=True,
    ),
    Row("the workflow's folder", {}, "it says the same", code={"README.md": "\n"}, dry_run=True),
    Row(
        "an entry's licence, price or url",
        {},
        "no vector depends on it",
        code={"src/conceptbridge/study/catalogue.yaml": ("random:\n", "random:\n  licence: free\n")},
        dry_run=True,
    ),
    Row(
        "a caption",
        {},
        "it is read when Snakemake's own report is asked for",
        code={"workflow/report/table.rst": "More.\n"},
        dry_run=True,
    ),
    Row(
        "comments, docstrings, empty lines",
        {},
        "they say nothing to the machine",
        code=dict.fromkeys(
            ("workflow/scripts/train.py", "src/conceptbridge/learn/learners/cnn.py"),
            '\n\n# a comment\n"""And a string."""\n',
        ),
    ),
    Row(
        "a new version of conceptbridge",
        {},
        "what changed in its code counts, not its number",
        code=version("conceptbridge"),
        dry_run=True,
    ),
    Row("a new version of lightgbm", OF_LEARNER, "what computes with it", code=version("lightgbm"), dry_run=True),
    Row("a new version of numba", OF_LEARNER, "what computes with it", code=version("numba")),
    Row(
        "a new version of duckdb",
        {key: count for key, count in INGESTED.items() if key != "simulate"},
        "sites are read with it",
        code=version("duckdb"),
    ),
    Row("code: the built-in network", {"simulate": 2} | INGESTED, "all comes from it", code=module("simulate/network")),
    Row("code: reading extracts", INGESTED, "all after it", code=module("sites/ingest")),
    Row(
        "code: the vocabulary",
        {"vocabulary": 2} | EMBEDDED | ROWS,
        "all after it (sequences have its keys)",
        code=module("vocabulary/build"),
    ),
    Row("code: cohorts", {"cohort": 2} | ROWS, "all after it", code=module("tasks/cohort")),
    Row("code: sequences", ROWS, "all after it", code=module("tasks/sequences")),
    Row("code: leaks", {"leaks": 2} | JOINT, "its table", code=module("tasks/leaks")),
    Row(
        "code: filling the cache",
        EMBEDDED | OF_RANDOM | EVALUATED,
        "the cache is asked again for what it has, and the arms of what it gives",
        code=module("embed/compute"),
    ),
    Row(
        "code: tables of vectors",
        {"embed": 2} | MEASURED | OF_RANDOM | EVALUATED,
        "the arms of what has a table, and no other's",
        code=module("embed/tables"),
    ),
    Row(
        "code: the vectors of a backend, as its declaration counts",
        EMBEDDED | OF_RANDOM | EVALUATED,
        "it is another embedding: nothing of it is taken from the cache",
        code={"src/conceptbridge/embed/backends/random.py": ("    control = True", "    control, changed = True, 1")},
        dry_run=True,
    ),
    Row(
        "code: measuring embeddings",
        MEASURED | {"figures": 1, "report": 1, "all": 1},
        "its tables and figures",
        code=module("embed/quality"),
    ),
    Row("code: a learner", OF_LEARNER, "its arms, and no other's", code=module("learn/learners/lightgbm")),
    Row("code: another learner", OF_LEARNER, "its arms, and no other's", code=module("learn/learners/cnn")),
    Row("code: a learner that the study lacks", {}, "nothing uses it", code=module("learn/learners/logistic")),
    Row(
        "code: a strategy",
        {"transfer": 8} | EVALUATED,
        "its arms, and no other's; the page has its sentence",
        code=module("learn/strategies/direct"),
    ),
    Row("code: arms", LEARNED, "every arm", code=module("learn/run_arm"), dry_run=True),
    Row("code: recalibration", {}, "the study does not recalibrate", code=module("learn/strategies/recalibrate")),
    Row("code: evaluation", EVALUATED, "all after it", code=module("evaluate/measure")),
    Row("code: the joint tables", JOINT, "all after them", code=module("report/tables")),
    Row(
        "code: a plot", {"figures": 1, "report": 1, "all": 1}, "it, and the page", code=module("report/figures/curves")
    ),
    Row("code: the page", {"report": 1, "all": 1}, "it", code=module("report/page")),
]


@pytest.fixture(scope="module")
def planned(done: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """What each row would run."""
    return told_by_plan(done, tmp_path_factory.mktemp("edited")) | told_by_snakemake(done, tmp_path_factory)


def told_by_plan(done: Path, folder: Path) -> dict[str, dict[str, int]]:
    """What changes of settings and of code mean, in one process: the jobs that are told something else, or whose code
    has another fingerprint, and all that follow from them."""
    study = folder / "study.yaml"
    config = {"embedding_cache": str(done.parent / "cache")} | TINY
    study.write_text(yaml.safe_dump(config))
    all_jobs, before = jobs(DryRun(ROOT, done, study)), Plan.read(config)
    found = {}
    for row in TABLE:
        if row.dry_run:
            continue
        after = Plan.read(config | row.study)
        edited = {ROOT / name: edit(name, change, folder) for name, change in row.code.items()}
        changed = [job for job in all_jobs if told(before, job) != told(after, job) or recoded(before, job, edited)]
        found[row.change] = followed(changed, all_jobs)
    return found


def told(plan: Plan, job: Job) -> tuple[object, ...]:
    return plan.script(job.rule), plan.modules(job.rule, **job.wildcards), plan.settings(job.rule, **job.wildcards)


def edit(name: str, change: str | tuple[str, str], folder: Path) -> Path:
    """A copy of a file of the workflow with the change in it."""
    old = (ROOT / name).read_text(encoding="utf-8") if (ROOT / name).exists() else ""
    assert isinstance(change, str) or old.count(change[0]) == 1
    path = folder / str(len(list(folder.iterdir()))) / Path(name).name
    path.parent.mkdir()
    path.write_text(old + change if isinstance(change, str) else old.replace(*change), encoding="utf-8")
    return path


def recoded(plan: Plan, job: Job, edited: dict[Path, Path]) -> bool:
    """Whether the code of a job means something else with files, or versions of packages, in place of others."""
    script = ROOT / f"workflow/scripts/{plan.script(job.rule)}.py"
    if not edited or not script.exists():
        return False
    before, files = _code(script, plan.modules(job.rule, **job.wildcards))
    for old, new in edited.items():
        if new.name == "METADATA":
            package = old.parent.name.removesuffix("-99.dist-info")
            if re.search(rf" {package} \S", before):
                return True
        elif old in files and code_fingerprint._meaning(old) != code_fingerprint._meaning(new):
            return True
    return False


@cache
def _code(script: Path, modules: tuple[str, ...]) -> tuple[str, frozenset[Path]]:
    files = frozenset(code_fingerprint.code_files(script, modules))
    return code_fingerprint.fingerprint(script, modules), files


def told_by_snakemake(done: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """What a dry run of a row would do; a row that changes the workflow or the folder has copies of its own."""
    runs, rows = [], [row for row in TABLE if row.dry_run]
    for number, row in enumerate(rows):
        own = tmp_path_factory.mktemp(f"row{number}")
        workflow, folder = ROOT, done
        if row.code:
            workflow = own / "workflow"
            for name in ("src", "workflow", "config"):
                shutil.copytree(
                    ROOT / name, workflow / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
                )
            for name, change in row.code.items():
                (workflow / name).parent.mkdir(exist_ok=True)
                shutil.copy(edit(name, change, own), workflow / name)
        if row.done:
            folder = own / "folder"
            shutil.copytree(done, folder)
            row.done(folder)
        study = own / "study.yaml"
        study.write_text(yaml.safe_dump({"embedding_cache": str(done.parent / "cache")} | TINY | row.study))
        runs.append(DryRun(workflow, folder, study))
    return dict(zip([row.change for row in rows], plan(runs), strict=True))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.change)
def test_what_changed_runs_again_and_nothing_else(row: Row, planned: dict[str, dict[str, int]]) -> None:
    assert planned[row.change] == row.jobs


def test_the_table(planned: dict[str, dict[str, int]]) -> None:
    print(f"\n{'change':60} {'expected':>8} {'planned':>7}  rules; why")
    for row in TABLE:
        jobs = planned[row.change]
        listed = ", ".join(f"{rule} {count}" for rule, count in sorted(jobs.items())) or "none"
        print(f"{row.change:60} {sum(row.jobs.values()):8} {sum(jobs.values()):7}  {listed}; {row.why}")
    assert len(planned) == len(TABLE)


@cache
def imported_with(module: str) -> set[str]:
    """What importing a module of the library imports of it."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(re.findall(IMPORTED, run.stderr, re.MULTILINE))


def by_rule(done: Path) -> dict[tuple[str, ...], set[str]]:
    """What jobs really imported of the library: script and modules that its rule names -> full names of modules."""
    traced = defaultdict(set)
    for log in done.glob("results/logs/**/*.log"):
        parts = log.relative_to(done / "results/logs").with_suffix("").parts
        found = re.findall(IMPORTED, log.read_text(encoding="utf-8"), re.MULTILINE)
        own, script = [], parts[0]
        if script in ("train", "transfer", "pool"):
            own, script = [registry.LEARNERS[parts[3]], strategies.STRATEGIES[parts[4]]], "arm"
        if script in ("figures", "report"):  # how arms are named there
            own = [strategies.STRATEGIES[name] for name in STRATEGIES]
        if script == "importance":  # any arm may be the one that is named
            own = [*map(registry.LEARNERS.__getitem__, TINY["learners"])]
            own += [strategies.STRATEGIES[name] for name in STRATEGIES]
        script = "digest" if script.endswith("_digest") else script
        # what a job imports by name is not traced, or it has found no reason to
        traced[script, *own].update(found, *map(imported_with, own))
    # a study may name no network, whose modules are imported with its model
    networks = {name for modules in traced.values() for name in modules if name.startswith(NETWORKS)}
    for rule, modules in traced.items():
        if rule[0] == "importance":
            modules.update(networks)
    return traced


def test_an_edit_in_any_module_runs_the_rules_again_that_import_it(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = ROOT / "src/conceptbridge"
    scripts = ROOT / "workflow/scripts"
    traced = by_rule(done)
    assert {name for name, *_ in traced} >= {p.stem for p in scripts.glob("*.py")} - {
        "command",
        "fetch_models",
        "convert",
        "learn_vectors",
        "represent",
        "resample",
        "resample_local",
        "external",
        "federate",
        "federate_translated",
        "write_meds",
        # exchange: no part of a study on one disk
        "write_bundle",
        "receive",
        "receive_tokens",
        "patients",
        "predict",
        "coverage_sheet",
        "write_aggregates",
        "receive_aggregates",
        # this study translates nothing
        "count_profile",
        "find_ancestors",
        "receive_profile",
        "translate",
        "translated_arm",
        "summarise_translations",
        "review",
    }
    meaning, edited = code_fingerprint._meaning, {}
    for path in sorted(library.rglob("*.py")):
        name = ".".join(("conceptbridge", *path.relative_to(library).with_suffix("").parts)).removesuffix(".__init__")
        changed, commented = tmp_path / f"{name}.edited.py", tmp_path / f"{name}.commented.py"
        changed.write_text(path.read_text(encoding="utf-8") + "\nCHANGED = True\n", encoding="utf-8")
        commented.write_text("# a comment\n\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
        assert meaning(commented) == meaning(path)
        edited[name] = path, changed

    def fingerprint(rule: tuple[str, ...], names: Iterable[str]) -> str:
        """The code of a rule with edits in these modules."""
        changed = dict(edited[name] for name in names)
        monkeypatch.setattr(code_fingerprint, "_meaning", lambda file: meaning(changed.get(file, file)))
        return code_fingerprint.fingerprint(scripts / f"{rule[0]}.py", rule[1:])

    wrong = []
    for rule, modules in traced.items():
        before, others = fingerprint(rule, ()), edited.keys() - modules
        wrong += [(rule, name, "does not run again") for name in modules if fingerprint(rule, [name]) == before]
        if fingerprint(rule, others) != before:
            wrong += [(rule, name, "runs again") for name in others if fingerprint(rule, [name]) != before]
    assert not wrong
