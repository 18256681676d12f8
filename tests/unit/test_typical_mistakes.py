"""Seventy typical mistakes of a config: each is told in one sentence with its key, what was found and what to do, or is
read as it was meant. None is accepted and read as something else.
"""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from conceptbridge.core.errors import StudyError
from conceptbridge.plan import Plan
from tiny_extract import write_extract

Config = dict[str, Any]
ATLAS_COHORT = {"ConceptSets": [{"id": 0, "expression": {"items": []}}], "PrimaryCriteria": {"CriteriaList": []}}
BASE = """
name: flu
data: DATA
results: results
sites:
  north: {extract: north}
  south: {extract: south}
tasks:
  flu:
    index: {domain: visit, concepts: [9203]}
    predictors: {days: [-365, 0]}
    outcome: {domain: condition, concepts: [4266367], days: [1, 7]}
    split: {by: time, validation: "2015-06-01", test: "2016-01-01"}
embeddings: [onehot]
learners: {logistic: }
strategies: [local, direct]
"""


class Told(NamedTuple):
    """A mistake: a text, what stands in its place; the key, what was found and what to do as the message says them."""

    old: str
    new: str
    key: str
    found: str
    remedy: str


class Meant(NamedTuple):
    """Something written in another way that can mean one thing: a text, what takes its place, its path and value."""

    old: str
    new: str
    path: str
    value: Any


MISTAKES = yaml.safe_load(Path(__file__).with_name("typical_mistakes.yaml").read_text(encoding="utf-8"))
TOLD = [Told(*row) for row in MISTAKES["told"]]
MEANT = [Meant(*row) for row in MISTAKES["meant"]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for site in ("north", "south"):
        write_extract(folder / site)
    (folder / "definition.json").write_text(json.dumps(ATLAS_COHORT))
    return folder


def plan_with(data: Path, old: str, new: str) -> Config:
    assert BASE.count(old) >= 1, old
    text = BASE.replace(old, new, 1).replace("COHORT_DEFINITION", str(data / "definition.json"))
    config = yaml.safe_load(text.replace("DATA", str(data)))
    return Plan.read(config).study.config


def test_the_study_that_the_mistakes_are_made_in_is_good(data: Path) -> None:
    assert plan_with(data, "name: flu", "name: flu")["name"] == "flu"


@pytest.mark.parametrize("mistake", TOLD, ids=lambda m: m.new or f"without {m.old}")
def test_a_mistake_is_told_in_one_sentence(data: Path, mistake: Told) -> None:
    with pytest.raises(StudyError) as caught:
        plan_with(data, mistake.old, mistake.new)
    message = str(caught.value)
    for part in (mistake.key, mistake.found, mistake.remedy):
        assert part in message, f"{part!r} is not in: {message}"
    assert "\n" not in message
    assert len(message) < 800  # the catalogue is listed in full


@pytest.mark.parametrize("written", MEANT, ids=lambda m: m.new)
def test_what_can_mean_one_thing_is_read_as_that(data: Path, written: Meant) -> None:
    value: Any = plan_with(data, written.old, written.new)
    for key in written.path.split("."):
        value = value[key]
    assert (value, type(value)) == (written.value, type(written.value))


def test_values_of_a_command_line_are_read_below_any_key(data: Path) -> None:
    """``--config 'evaluation={"replicates": 200}'`` arrives with text inside."""
    config = yaml.safe_load(BASE.replace("DATA", str(data)))
    tasks = {"flu": {"index": {"age": ["18", "65"], "prior_observation": "30"}, "min_events": "5"}}
    config["tasks"]["flu"]["index"] |= tasks["flu"]["index"]
    config |= {"seeds": "2", "learning_curve": {"events": ["10", "20"]}, "tuning_curve": ["0.5", "1"]}
    config["learners"] = {"logistic": {"l1_share": ["0", "0.5"], "penalties": "5"}}
    config["tasks"]["flu"]["split"] = {"by": "hash", "shares": ["0.5", "0.25", "0.25"], "seed": "3"}
    full = Plan.read(config).study.config
    index, split = full["tasks"]["flu"]["index"], full["tasks"]["flu"]["split"]
    assert (index["age"], index["prior_observation"], full["seeds"]) == ([18, 65], 30, 2)
    assert (full["learning_curve"]["events"], full["tuning_curve"]) == ([10, 20], [0.5, 1.0])
    assert (full["learners"]["logistic"]["l1_share"], full["learners"]["logistic"]["penalties"]) == ([0.0, 0.5], 5)
    assert (split["shares"], split["seed"]) == ([0.5, 0.25, 0.25], 3)


@pytest.mark.parametrize("make", [dict, lambda: {"name": date(2020, 1, 1)}, lambda: {"sites": None}])
def test_a_study_of_nothing_is_told(make: Callable[[], Config]) -> None:
    with pytest.raises(StudyError, match=r"^config: "):
        Plan.read(make())


def test_how_many_mistakes_are_tried() -> None:
    assert len(TOLD) >= 50
    assert len({(m.old, m.new) for m in TOLD}) == len(TOLD)
