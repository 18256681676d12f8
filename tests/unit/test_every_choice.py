"""Every value of every enum of a study, at every kind of site: the study is planned, and what makes its rows runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conceptbridge.core.schema import resolve
from conceptbridge.plan import Plan
from conceptbridge.sites.ingest import ingest
from conceptbridge.study.config import config_schema
from conceptbridge.study.learners import LEARNERS
from conceptbridge.study.strategies import STRATEGIES
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.vocabulary.build import make_vocabulary
from test_documented_studies import CODEBOOK, MORE
from tiny_extract import write_extract

SCHEMA = config_schema()
KINDS = ("simulated", "extract", "findings", "database")
DATABASE = {"kind": "postgresql", "service": "hill", "schema": "cdm", "as_of": "2026-11-01"}
TASK: dict[str, Any] = {
    "index": {"domain": "visit", "concepts": [9203], "value": None},
    "outcome": {"domain": "condition", "concepts": [4266367], "days": [1, 7]},
    "split": {"by": "hash"},
}
COHORT = {"domain": "cohort", "concepts": [], "file": "cohort-{site}.csv"}
TIME = {"by": "time", "validation": "2015-06-01", "test": "2016-01-01"}
#: what else a choice asks for
COMPANIONS: dict[tuple[str, Any], dict[str, Any]] = {
    ("tasks.*.index.domain", "cohort"): {"tasks.*.index": COHORT},
    ("tasks.*.outcome.domain", "cohort"): {"tasks.*.outcome": COHORT | {"days": [1, 7]}},
    ("tasks.*.outcome.domain", "death"): {"tasks.*.outcome.concepts": []},
    ("tasks.*.split.by", "time"): {"tasks.*.split": TIME},
    ("tasks.*.split.by", "given"): {"tasks.*.index": COHORT, "tasks.*.split": {"by": "given"}},
    ("tasks.*.split.persons", "returning"): {"tasks.*.split": TIME | {"persons": "returning"}},
    ("tasks.*.split.persons", "apart"): {"tasks.*.split": TIME | {"persons": "apart"}},
    ("sites.*.role", "source"): {"sites.vale": None},
}


def enums(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that a key can be one of: the key's path, `*` for any name, and the value."""
    schema = resolve(schema, SCHEMA)
    values = [*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])]
    values += [True, False] if schema.get("type") == "boolean" else []
    yield from ((path, value) for value in values if value is not None)
    for key, sub in schema.get("properties", {}).items():
        yield from enums(sub, f"{path}.{key}".lstrip("."))
    for branch in (*schema.get("oneOf", []), *schema.get("anyOf", [])):
        yield from enums(branch, path)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from enums(schema["additionalProperties"], f"{path}.*")
    if "items" in schema:
        yield from enums(schema["items"], f"{path}[]")


CHOICES = list(dict.fromkeys(enums(SCHEMA)))
OF_ROWS = [(path, value) for path, value in CHOICES if path.startswith(("tasks.", "roll_up."))]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extracts, a findings table and handed-in cohorts; of the extract also what its rows are made from."""
    folder = tmp_path_factory.mktemp("data")
    for site in ("hill", "vale"):
        write_extract(folder / site, **MORE, procedure_occurrence=PROCEDURES, observation=OBSERVATIONS)
    (folder / "codebook.yaml").write_text(CODEBOOK)
    (folder / "clinic.csv").write_text("cough,d\nP,I\nA,I\n")
    for site in ("hill", "riverside", "clinic"):
        (folder / f"cohort-{site}.csv").write_text("person_id,index_date,label,split\n1,2015-03-01,0,train\n")
    ingest(folder / "hill", folder / "cdm", folder / "quality.json", {})
    texts = {"states": "slots", "present": "{name}", "absent": "Not {name}", "other": "{name}, {state}"}
    make_vocabulary(folder / "cdm", "hill", texts, {"drug": "none", "condition": 0}, 1, folder / "vocabulary.parquet")
    return folder


PROCEDURES = "procedure_occurrence_id,person_id,procedure_concept_id,procedure_date\n"
OBSERVATIONS = "observation_id,person_id,observation_concept_id,observation_date,value_as_number\n"


def study(data: Path, kind: str, path: str, value: Any) -> dict[str, Any]:
    """A study of one site of a kind that makes one choice."""
    inputs = {"simulated": ("riverside", {"extract": "simulated"}), "extract": ("hill", {"extract": "hill"})}
    inputs |= {"database": ("hill", {"database": DATABASE})}
    findings = {"codebook": str(data / "codebook.yaml"), "train": "clinic.csv"}
    site, of_site = inputs.get(kind, ("clinic", {"findings": findings}))
    config: dict[str, Any] = {
        "name": "choices",
        "data": str(data),
        "sites": {site: of_site},
        "tasks": {"flu": json.loads(json.dumps(TASK))},
        "embeddings": ["onehot"],
        "learners": {"logistic": {}},
        "strategies": ["local"],
    }
    if path.startswith("learners."):
        config["learners"] = {path.split(".")[1]: {}}
    if path == "evaluation.reference.learner":
        config["learners"] = {value: {}}
    if "strategies[]" in path or path == "evaluation.reference.strategy":
        config["strategies"] = list(dict.fromkeys(["local", value]))
    changes = {path: value}
    for key, more in COMPANIONS.get((path, value), {}).items():
        if key == "sites.vale":
            config["sites"]["vale"] = {"extract": "vale"}
        else:
            changes = {key: more} if key in path or path.startswith(key) else changes | {key: more}
    if path == "tasks.*.split.by" and value == "given":
        changes = COMPANIONS[path, value]
    if any(path.startswith(f"sites.*.{own}") and kind != own for own in ("findings", "database")):
        return {}
    for at, to in changes.items():
        put(config, at.split("."), to)
    if path.endswith(".headerless"):
        config["sites"][site]["cdm_version"] = "5.4"
    return config


def put(node: Any, keys: list[str], value: Any) -> None:
    key, *rest = keys
    listed, key = key.endswith("[]"), key.removesuffix("[]")
    key = next(iter(node)) if key == "*" else key
    if rest:
        put(node.setdefault(key, {}), rest, value)
    elif listed and key == "strategies":
        node[key] = list(dict.fromkeys(["local", value]))
    else:
        node[key] = [value] if listed else value


CELLS = [
    (kind, path, value)
    for path, value in CHOICES
    for kind in KINDS
    if all(own not in path or own == kind for own in ("findings", "database"))
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_choice_is_planned(data: Path, kind: str) -> None:
    """A failure names the cell: kind of site, key and value."""
    for path, value in CHOICES:
        if config := study(data, kind, path, value):
            try:
                plan = Plan.read(config)
                for site in plan.study.own:
                    for rule in ("ingest", "vocabulary", *(["convert"] if plan.study.converter(site) else [])):
                        plan.settings(rule, site=site)
                    for rule in ("cohort", "sequences", "leaks", "survey"):
                        plan.settings(rule, task="flu", site=site)
                    plan.arm("flu", "onehot", plan.learners[0], "local", site) if "onehot" in plan.study.by_id else None
            except Exception as error:
                raise AssertionError(f"{kind}: {path}: {value!r}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize(("path", "value"), OF_ROWS, ids=lambda x: str(x))
def test_every_choice_makes_rows(data: Path, tmp_path: Path, path: str, value: Any) -> None:
    plan = Plan.read(study(data, "extract", path, value))
    task = json.loads(plan.settings("cohort", task="flu", site="hill")["task"])
    files = (tmp_path / "cohort.parquet", tmp_path / "attrition.csv", tmp_path / "splits.parquet")
    fails = path.endswith("on_few_events") and value == "fail"
    if fails:
        return  # there are too few, and that is its error: tests/unit/test_task_settings.py
    make_cohort(data / "cdm", "hill", task, 1, *files, 1, concepts=tmp_path / "concepts.json")
    told = json.loads(plan.settings("sequences", task="flu", site="hill")["task"])
    roll_up = plan.study.config["roll_up"]
    made = (tmp_path / "tokens.parquet", tmp_path / "sequences.parquet")
    make_sequences(data / "cdm", "hill", data / "vocabulary.parquet", files[0], told, roll_up, *made)


def test_the_table_has_every_learner_strategy_domain_and_split() -> None:
    values = {value for _, value in CHOICES if isinstance(value, str)}
    assert values >= {*LEARNERS, *STRATEGIES, "cohort", "death", "visit", "time", "hash", "given"}
    assert len(CELLS) > 250
