"""A key is declared in one place: its checks, its default, the tables of config/README.md and what editors show."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from conceptbridge.core.errors import StudyError
from conceptbridge.plan import Plan
from conceptbridge.study import config, config_tables
from conceptbridge.study.config import config_schema, package_data, read_study
from conceptbridge.study.config_tables import with_tables
from conceptbridge.study.declared_keys import Key, declared_keys, for_editors
from snakemake_logger_plugin_conceptbridge import STAGES

ROOT = Path(__file__).parents[2]
README = (ROOT / "config/README.md").read_text(encoding="utf-8")
DEMO = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
KEYS = declared_keys(config_schema())
LEAVES = [key for key in KEYS if not key.section]


def test_the_tables_of_the_page_are_those_that_the_declarations_make() -> None:
    assert with_tables(README) == README, "run `make config-docs`"


def test_a_default_is_changed_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    given = package_data("config.schema")

    def changed(name: str) -> dict[str, Any]:
        return given if name == "config.schema" else package_data(name)

    given["properties"]["draws"]["default"] = 77
    given["properties"]["max_trials"]["x-presets"]["fair"] = 78
    monkeypatch.setattr(config, "package_data", changed)
    study = read_study({key: value for key, value in DEMO.items() if key != "draws"})
    assert (study.config["draws"], study.config["max_trials"]) == (77, 78)
    page = with_tables(README)
    assert "| whole number, at least 2 and at most 1000 | 77 |" in page
    assert "fair: 78, paper: 1" in page
    shown = for_editors(config.config_schema(), [])["properties"]
    assert shown["draws"]["default"] == 77
    assert "Default: 77." in shown["draws"]["description"]
    assert shown["max_trials"]["default"] == 78


def test_a_key_that_no_table_has_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = config_schema()
    schema["properties"]["colour"] = {"type": "string"}
    monkeypatch.setattr(config_tables, "config_schema", lambda: schema)
    with pytest.raises(StudyError, match="colour: this key is in 0 tables"):
        with_tables(README)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_every_key_says_what_it_means_and_what_runs_again(key: Key) -> None:
    assert len(key.about) > 10
    assert key.reruns in {*STAGES, "nothing"}


def test_ten_keys_are_those_that_everybody_needs() -> None:
    assert len([key for key in KEYS if key.first]) == 10


def test_editors_accept_every_study_of_ours() -> None:
    schema = for_editors(config_schema(), package_data("catalogue"))
    Draft202012Validator.check_schema(schema)
    for path in (*(ROOT / "config").glob("*.yaml"), *(ROOT / "config/studies").glob("*.yaml")):
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert not [error.message for error in Draft202012Validator(schema).iter_errors(study)], path
    wrong = DEMO | {"seeds": 0}
    assert [list(error.path) for error in Draft202012Validator(schema).iter_errors(wrong)] == [["seeds"]]


def test_a_missing_key_is_told_with_what_it_means() -> None:
    task = {key: value for key, value in DEMO["tasks"]["influenza"].items() if key != "split"}
    with pytest.raises(StudyError, match=r"'split' is missing; add it \(Which rows train"):
        read_study({**DEMO, "tasks": {"influenza": task}})


# -- what runs again

#: a study that has something to run again for every key
BASE: dict[str, Any] = {
    "name": "keys",
    "sites": {name: {"extract": "simulated"} for name in ("riverside", "lakeshore")},
    "tasks": {
        "flu": {
            "index": {"domain": "visit", "concepts": [9203]},
            "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]},
            "split": {"by": "time", "validation": "2022-09-01", "test": "2023-09-01"},
        }
    },
    "embeddings": ["onehot", "random", "text-embedding-3-small", "translated"],
    "learners": {"cnn": {}},
    "strategies": ["local", "direct", "tune-head"],
}
#: no change of settings but of files, or of the folder of them: tests/workflow/test_reruns.py
OF_FILES = ("results", "data", "vocabulary", "sites.SITE.findings", "sites.SITE.extract", "sites.SITE.bundles")
OF_FILES += ("sites.SITE.results_file", "sites.SITE.patients", "sites.SITE.cdm_version", "term_pairs", "translations")
OF_FILES += ("federated_models",)
OF_FILES += ("sites.SITE.meds", "sites.SITE.remote", "sites.SITE.database", "external")
OF_FILES += tuple(f"tasks.TASK.{event}.{key}" for event in ("index", "outcome") for key in ("file", "definition"))
#: another value of a key, where the schema alone does not tell one
OTHERS: dict[str, Any] = {
    "name": "other",
    "embedding_cache": "other",
    "sites.SITE.headerless": (True, {"sites.riverside.cdm_version": "5.4"}),
    "sites.SITE.last_date": "2024-01-01",
    "tasks.TASK.index.domain": "condition",
    "tasks.TASK.outcome.domain": "drug",
    "tasks.TASK.outcome.days": [1, 14],
    "tasks.TASK.index.value": (
        None,
        {"tasks.flu.index": {"domain": "measurement", "concepts": [1], "value": {"states": ["high"]}}},
    ),
    "tasks.TASK.outcome.value": (
        None,
        {"tasks.flu.outcome.domain": "measurement", "tasks.flu.outcome.value": {"states": ["high"]}},
    ),
    "tasks.TASK.index.visits": ([9201], {"tasks.flu.index": {"domain": "condition", "concepts": [443]}}),
    "tasks.TASK.index.codes": ["VISIT"],
    "tasks.TASK.outcome.codes": ["DX"],
    "tasks.TASK.index.period": ["2020-01-01", "2024-01-01"],
    "tasks.TASK.index.age": [18, 64],
    "tasks.TASK.predictors.days": [-100, 0],
    "tasks.TASK.predictors.windows": [[0, 0], [-365, -1]],
    "tasks.TASK.predictors.values": False,
    "tasks.TASK.min_time_at_risk": (3, {"tasks.flu.censoring": "drop"}),
    "tasks.TASK.split.validation": "2022-06-01",
    "tasks.TASK.split.test": "2024-01-01",
    "tasks.TASK.split.by": (None, {"tasks.flu.split": {"by": "hash"}}),
    "tasks.TASK.split.shares": (None, {"tasks.flu.split": {"by": "hash", "shares": [0.5, 0.25, 0.25]}}),
    "texts.present": ("The {name}", {"states": "words"}),
    "texts.absent": ("No {name}", {"states": "words"}),
    "embeddings": ["onehot", "random", "text-embedding-3-large", "translated"],
    "states": "words",
    "components": 8,
    "scale": False,
    "max_trials": 2,
    "max_passes": 7,
    "learners": {"cnn": {"filters": 7}},
    "share_rows": (False, {"strategies": ["local", "pooled"]}),
    "learning_curve.events": [50],
    "tuning_curve": [0.5],
    "learning_curve.replicates": (4, {"learning_curve.events": [50]}),
    "tasks.TASK.index.sex": "female",
    "strategies": ["local", "direct", "pooled"],
    "evaluation.reference.strategy": "direct",
    "evaluation.reference.embedding": "random",
    "evaluation.reference.learner": "cnn",
    "evaluation.training": "resampled",
    "evaluation.resamples": (4, {"evaluation.training": "resampled"}),
    "sites.SITE.role": "target",
    "evaluation.subgroups": {"cough": [254761]},
}


FULL = read_study(BASE).config


def another(key: Key, full: Any) -> Any:
    """Another value of a key whose value is ``full``."""
    if key.path in OTHERS:
        return OTHERS[key.path]
    if isinstance(full, bool):
        return not full
    if isinstance(full, int):
        return full + 2
    if key.values.startswith("`"):
        return next(value.strip("`") for value in key.values.split(", ") if value.strip("`") != full)
    if isinstance(full, str):
        return f"{full}-x"
    if key.values.startswith("concept ids"):
        return [443]
    assert isinstance(full, list), f"{key.path}: give another value in OTHERS"
    return full[1:]


def value_of(key: Key) -> Any:
    """The value of a key in the study."""
    node: Any = FULL
    for part in key.path.replace("SITE", "riverside").replace("TASK", "flu").split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


@cache
def jobs(study: str) -> dict[str, str]:
    """What each job of a study is given, by rule and wildcards."""
    plan = Plan.read(json.loads(study))
    result: dict[str, Any] = {}

    def add(rule: str, **wildcards: str) -> None:
        result[json.dumps([rule, wildcards])] = plan.settings(rule, **wildcards)

    for rule in ("tables", "report", "provenance"):
        add(rule)
    for site in plan.study.own:
        for rule in ("simulate", "ingest", "vocabulary"):
            add(rule, site=site)
    ids = [e.id for e in plan.study.by_id.values() if e.embeds_names]
    for embedding in ids:
        for site in plan.study.own:
            add("embed", embedding=embedding, site=site)
    for task in plan.tasks:
        for site in plan.study.own:
            for rule in ("cohort", "sequences", "leaks"):
                add(rule, task=task, site=site)
        for target in plan.study.targets:
            for arm in plan.arms_at(target):
                result[json.dumps(["train", task, target, arm])] = plan.arm(task, target=target, **arm).to_json()
            for e in plan.study.translated:
                add("translate", task=task, embedding=e.id, target=target)
            if plan.resampled:
                add("resample", task=task, target=target)
            result[json.dumps(["evaluate", task, target])] = [
                plan.settings("evaluate", task=task, target=target),
                plan.arms_at(target),
            ]
    return {key: json.dumps(value, sort_keys=True, default=str) for key, value in result.items()}


def put(study: dict[str, Any], path: str, value: Any) -> None:
    *sections, last = path.replace("SITE", "riverside").replace("TASK", "flu").split(".")
    for section in sections:
        study = study.setdefault(section, {})
    study[last] = value


def stages(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The stages of the jobs that are given something else, in order."""
    rules = {json.loads(key)[0] for key, value in after.items() if before.get(key) != value}
    return [stage for stage, of_stage in STAGES.items() if rules & set(of_stage)]


def test_the_stage_that_a_key_names_is_the_first_that_gets_something_else() -> None:
    wrong = {}
    for key in LEAVES:
        if key.path.startswith(OF_FILES) or ".value." in key.path:
            continue
        told, beside = another(key, value_of(key)), {}
        if isinstance(told, tuple):
            told, beside = told
        base, changed = deepcopy(BASE), deepcopy(BASE)
        for path, value in beside.items():
            put(changed, path, value)
            if not path.endswith(("split", "index")) and "value" not in path:
                put(base, path, value)
        if told is not None:
            put(changed, key.path, told)
        first = (stages(jobs(json.dumps(base)), jobs(json.dumps(changed))) or ["nothing"])[0]
        if first != key.reruns:
            wrong[key.path] = first
    assert wrong == {}
