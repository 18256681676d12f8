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
COHORT = "index: {domain: cohort, file: 'cohort-{site}.csv'}"
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
    """A mistake: text of the study, what stands in its place; the key, what was found, what to do as the message says."""

    old: str
    new: str
    key: str
    found: str
    remedy: str


class Meant(NamedTuple):
    """Something written in another way that can mean one thing: text, what stands in its place, where it is, its value."""

    old: str
    new: str
    path: str
    value: Any


TOLD = [
    # keys
    Told("results: results", "seedz: 5", "config", "seedz", "did you mean 'seeds'"),
    Told("outcome: {", "outcom: {", "tasks.flu", "outcom", "did you mean 'outcome'"),
    Told("concepts: [9203]", "concept: [9203]", "tasks.flu.index", "concept", "did you mean 'concepts'"),
    Told("{extract: north}", "{path: north}", "sites.north", "path", "known keys: "),
    Told("{extract: north}", "{}", "sites.north", "'extract' is missing", "results_file"),
    Told("split: {by", "splits: {by", "tasks.flu", "splits", "did you mean 'split'"),
    Told("    split: {", "    min_event: 5\n    split: {", "tasks.flu", "min_event", "did you mean 'min_events'"),
    Told("results: results", "trials: 5", "trials", "this key is now", "max_trials"),
    Told("results: results", "evaluation: {replicate: 200}", "evaluation", "replicate", "did you mean 'replicates'"),
    Told("{logistic: }", "{logistic: {penaltys: 3}}", "learners.logistic", "penaltys", "did you mean"),
    Told("north: {extract: north}", "no: {extract: north}", "sites", "no", "put it in quotes"),
    Told("north: {extract: north}", "7: {extract: north}", "sites", "7", "put it in quotes"),
    # names
    Told("name: flu", "name: My study of flu", "name", "'My study of flu'", "write My-study-of-flu"),
    Told("  north:", "  North Hospital:", "sites", "'North Hospital'", "write north-hospital"),
    Told("  flu:", "  Flu 30:", "tasks", "'Flu 30'", "write flu-30"),
    Told("{logistic: }", "{xgboost: }", "learners", "xgboost", "known keys: "),
    Told("[onehot]", "[minillm]", "embeddings", "'minillm'", "did you mean 'minilm'"),
    Told("[local, direct]", "[local, tune_all]", "strategies", "'tune_all'", "did you mean 'tune-all'"),
    Told("[local, direct]", "[direct]", "strategies", "['direct']", "add it"),
    Told("[local, direct]", "[local, local]", "strategies", "'local'", "remove one"),
    Told("results: results", "preset: Fair", "preset", "'Fair'", "did you mean 'fair'"),
    # where the data are
    Told("{extract: north}", "{extract: nort}", "sites.north", "nort", "does not exist"),
    Told("{extract: north}", "{extract: 's3://bucket/omop'}", "sites.north.extract", "s3://...", "copy a bucket's"),
    Told("{extract: north}", "{extract: 'postgresql://me:word@db/omop'}", "sites.north.extract", "postgresql://", "export"),
    Told("{extract: north}", "{extract: north/person.csv}", "sites.north", "person.csv", "give the folder"),
    Told("{extract: north}", "{extract: simulated}", "sites.north", "built-in network", "give the folder"),
    Told("{extract: north}", "{extract: north, bundles: sent}", "sites.north", "extract and bundles", "give exactly one"),
    Told("{extract: north}", "{extract: north, headerless: true}", "sites.north", "headerless", "cdm_version"),
    Told("{extract: north}", "{extract: north, cdm_version: 6.0}", "cdm_version", "6.0", "is not one of 5.2"),
    Told("{extract: north}", "{extract: north, last_date: 31.12.2020}", "sites.north.last_date", "31.12.2020", "YYYY-MM-DD"),
    Told("data: DATA", "data: DATA\nvocabulary: athena", "vocabulary", "athena", "does not exist"),
    Told("data: DATA", "data: DATA\nterm_pairs: pairs", "term_pairs", "pairs", "has no UMNSRS_similarity.csv"),
    Told("DATA", "no-such-folder", "data", "no-such-folder", "does not exist"),
    # events
    Told("domain: visit", "domain: visits", "index.domain", "'visits'", "did you mean 'visit'"),
    Told("domain: condition", "domain: lab", "outcome.domain", "'lab'", "is not one of"),
    Told("domain: condition, concepts: [4266367]", "domain: measurement, concepts: [1]", "measurement", "found", "add it"),
    Told("concepts: [9203]", "concepts: [ER]", "index.concepts", "'ER'", "a whole number"),
    Told("concepts: [9203]", "concepts: [0]", "index.concepts", "0", "no concept"),
    Told("concepts: [9203]", "concepts: []", "index", "'concepts' is missing", "give concept ids"),
    Told("concepts: [9203]", "concepts: sets/er.json", "index.concepts", "sets/er.json", "does not exist"),
    Told("concepts: [9203]", "concepts: COHORT_DEFINITION", "index.concepts", "cohort definition", "domain: cohort"),
    Told("index: {domain: visit, concepts: [9203]}", "index: {domain: cohort}", "index", "'file' is missing", "{site}"),
    Told("index: {domain: visit, concepts: [9203]}", "index: {domain: cohort, file: c.csv}", "index.file", "c.csv", "{site}"),
    Told("index: {domain: visit, concepts: [9203]}", COHORT, "index.file", "cohort-north.csv", "does not exist"),
    Told("concepts: [9203]", "concepts: [9203], file: cohort.csv", "index.file", "visit", "needs `domain: cohort`"),
    Told("concepts: [9203]", "concepts: [9203], age: [65, 18]", "index.age", "[65, 18]", "ends before it begins"),
    Told("concepts: [9203]", "concepts: [9203], age: 18", "index.age", "18", "give a list"),
    Told("concepts: [9203]", "concepts: [9203], age: [18]", "index.age", "[18]", "exactly 2"),
    Told("concepts: [9203]", "concepts: [9203], sex: F", "index.sex", "'F'", "is not one of male, female"),
    Told("concepts: [9203]", "concepts: [9203], washout: 30 days", "index.washout", "'30 days'", "give a whole number"),
    Told("concepts: [9203]", "concepts: [9203], period: [01.01.2015, 31.12.2016]", "index.period", "01.01.2015", "YYYY-MM-DD"),
    Told("concepts: [9203]", "concepts: [9203], value: {at_least: 5}", "index.value", "visit", "have no value"),
    # days
    Told("days: [1, 7]", "days: 30", "outcome.days", "30", "give a list"),
    Told("days: [1, 7]", "days: [7, 1]", "outcome.days", "[7, 1]", "ends before it begins"),
    Told("days: [1, 7]", "days: [0, 7]", "outcome.days", "day 0", "begin it on day 1"),
    Told("days: [-365, 0]", "days: [-365, 30]", "predictors.days", "30 days after the index", "must not end after day 0"),
    Told("days: [-365, 0]", "days: [365, 0]", "predictors.days", "[365, 0]", "ends before it begins"),
    Told("days: [1, 7]", "days: [1, 7.5]", "outcome.days", "7.5", "give a whole number"),
    # splits, numbers
    Told("by: time", "by: random", "split", "'random'", "is not one of time, hash, given"),
    Told(', test: "2016-01-01"', "", "split", "'test' is missing", "add it"),
    Told('test: "2016-01-01"', 'test: "2014-01-01"', "split", "test period", "must begin after"),
    Told('test: "2016-01-01"', "test: '2016-02-30'", "split.test", "2016-02-30", "is not a date"),
    Told('by: time, validation: "2015-06-01", test: "2016-01-01"', "by: hash, shares: [80, 10, 10]", "split.shares", "80", "below 1"),
    Told('by: time, validation: "2015-06-01", test: "2016-01-01"', "by: given", "split.by", "visit", "handed-in cohort"),
    Told("results: results", "min_cell_count: 0", "min_cell_count", "0", "at least 1"),
    Told("results: results", "seeds: three", "seeds", "'three'", "give a whole number"),
    Told("results: results", "evaluation: {replicates: 10}", "evaluation.replicates", "10", "at least 100"),
    Told("results: results", "evaluation: {thresholds: [5, 10]}", "evaluation.thresholds", "5", "below 1"),
    Told("results: results", "evaluation: {reference: {embedding: bert}}", "reference.embedding", "'bert'", "it has onehot"),
    Told("    split:", "    censoring: yes\n    split:", "tasks.flu.censoring", "True", "is not one of keep"),
    Told("    split:", "    min_time_at_risk: 3\n    split:", "min_time_at_risk", "keep", "use `drop`"),
    Told("[onehot]", "", "embeddings", "empty", "give a list"),
    Told("sites:\n  north: {extract: north}\n  south: {extract: south}", "sites: [north, south]", "sites", "a list", "a section of keys"),
    Told("north: {extract: north}", "north: north", "sites.north", "'north'", "a section of keys"),
]  # fmt: skip
MEANT = [
    Meant('"2015-06-01"', "2015-06-01", "tasks.flu.split.validation", "2015-06-01"),
    Meant("[9203]}", "[9203], period: [2015-01-01, 2016-12-31]}", "tasks.flu.index.period", ["2015-01-01", "2016-12-31"]),
    Meant("{extract: north}", "{extract: north, last_date: 2020-12-31}", "sites.north.last_date", "2020-12-31"),
    Meant("[9203]", "['9203']", "tasks.flu.index.concepts", [9203]),
    Meant("[9203]", "9203", "tasks.flu.index.concepts", [9203]),
    Meant("[9203]", "'9203'", "tasks.flu.index.concepts", [9203]),
    Meant("[1, 7]", "['1', '7']", "tasks.flu.outcome.days", [1, 7]),
    Meant("{logistic: }", "[logistic]", "learners.logistic.penalties", 51),
    Meant("{logistic: }", "logistic", "learners.logistic.penalties", 51),
    Meant("{logistic: }", "[{logistic: {penalties: 9}}]", "learners.logistic.penalties", 9),
    Meant("[onehot]", "onehot", "embeddings", ["onehot"]),
    Meant("name: flu", "name: 2024", "name", "2024"),
    Meant("results: results", "evaluation: {replicates: '200'}", "evaluation.replicates", 200),
    Meant("results: results", "evaluation: {thresholds: ['0.1', '.2']}", "evaluation.thresholds", [0.1, 0.2]),
    Meant("results: results", "share_rows: 'false'", "share_rows", False),
    Meant("results: results", "seeds: 3.0", "seeds", 3),
    Meant("{extract: north}", "{extract: north, cdm_version: 5.4}", "sites.north.cdm_version", 5.4),
    Meant("{extract: north}", "{extract: north, cdm_version: '5.3.1'}", "sites.north.cdm_version", "5.3.1"),
]  # fmt: skip


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
    assert len(message) < 450


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


@pytest.mark.parametrize("make", [lambda: {}, lambda: {"name": date(2020, 1, 1)}, lambda: {"sites": None}])
def test_a_study_of_nothing_is_told(make: Callable[[], Config]) -> None:
    with pytest.raises(StudyError, match=r"^config: "):
        Plan.read(make())


def test_how_many_mistakes_are_tried() -> None:
    assert len(TOLD) >= 50
    assert len({(m.old, m.new) for m in TOLD}) == len(TOLD)
