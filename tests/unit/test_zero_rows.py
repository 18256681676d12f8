"""No rows, no rows of one split, no events, no tokens: every stage makes its output, up to the page, which says why."""

from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from conceptbridge import layout
from conceptbridge.study.strategies import STRATEGIES
from in_process import InProcess
from tiny_extract import write_extract

FLU, COUGH, FEVER, ER, RARE = 4266367, 254761, 437663, 9203, 9202
BEGIN = date(2016, 1, 1)
SPLIT = {"by": "time", "validation": "2017-07-01", "test": "2018-07-01"}
LEARNERS: dict[str, dict[str, Any]] = {
    "logistic": {"penalties": 3},
    "cnn": {"filters": 4},
    "transformer": {"width": 4, "blocks": 1, "heads": 2},
    "lightgbm": {"num_iterations": 3},
}

#: what each task of the study asks for beyond the ordinary one, and what the page then says of its cells
TASKS: dict[str, dict[str, Any]] = {
    "ordinary": {},
    "no-rows": {"index": {"age": [120, 130]}},
    "no-rows-at-north": {"index": {"concepts": [RARE]}},
    "no-training-rows": {"split": SPLIT | {"validation": "2010-01-01"}},
    "no-validation-rows": {"split": SPLIT | {"validation": "2018-06-30"}},
    "no-test-rows": {"split": SPLIT | {"test": "2030-01-01"}},
    "test-rows-alone": {"split": SPLIT | {"validation": "2010-01-01", "test": "2010-02-01"}},
    "no-events": {"outcome": {"concepts": [1]}},
    "events-alone": {"outcome": {"domain": "visit", "concepts": [RARE, ER], "days": [1, 9999]}},
    "events-in-training-alone": {"index": {"period": ["2016-01-01", "2018-12-31"]}, "outcome": {"concepts": [2]}},
    "no-tokens": {"predictors": {"domains": ["procedure"]}},
    "dropped-by-censoring": {"censoring": "drop", "outcome": {"concepts": [1], "days": [1, 9000]}},
}  # fmt: skip
STAGES = (
    "cohort",
    "sequences",
    "survey",
    "leaks",
    "learn vectors",
    "arms",
    "evaluate",
    "importance",
    "tables",
    "figures",
    "page",
    "feasibility",
)
EMPTY = {"no-rows", "dropped-by-censoring"}


def extract(folder: Path, seed: int, rare: bool) -> Path:
    r, n = Random(seed), range(1, 161)
    days = {i: BEGIN + timedelta(r.randint(0, 1300)) for i in n}
    second = {i: days[i] + timedelta(r.randint(20, 40)) for i in n}
    cough, fever = ({i for i in n if r.random() < 0.4} for _ in range(2))
    conditions = [(i, COUGH, days[i]) for i in cough] + [(i, FEVER, days[i]) for i in fever]
    conditions += [(i, FLU, days[i] + timedelta(3)) for i in n if r.random() < 0.1 + 0.5 * (i in cough)]
    conditions += [(i, 2, d + timedelta(3)) for i, d in days.items() if i % 3 == 0 and d < date(2017, 6, 1)]

    def table(head: str, lines: list[tuple[Any, ...]]) -> str:
        return "\n".join([head, *(",".join(map(str, line)) for line in lines), ""])

    visits = [(2 * i, i, ER, days[i], days[i]) for i in n] + [
        (2 * i + 1, i, RARE if rare else ER, second[i], second[i]) for i in n
    ]
    return write_extract(
        folder,
        person=table("person_id,gender_concept_id,year_of_birth", [(i, 8507 + 25 * (i % 2), 1930 + i % 80) for i in n]),
        observation_period=table(
            "person_id,observation_period_start_date,observation_period_end_date",
            [(i, "2010-01-01", "2020-12-31") for i in n],
        ),
        visit_occurrence=table(
            "visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_end_date", visits
        ),
        condition_occurrence=table("person_id,condition_concept_id,condition_start_date", conditions),
        concept=table("concept_id,concept_name", [(FLU, "Influenza"), (COUGH, "Cough"), (FEVER, "Fever"), (2, "Rare")]),
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[InProcess, str]:
    folder = tmp_path_factory.mktemp("zero")
    extract(folder / "north", 1, False)
    extract(folder / "south", 2, True)
    tasks = {}
    for name, change in TASKS.items():
        task: dict[str, Any] = {
            "index": {"domain": "visit", "concepts": [ER], "occurrence": "all"},
            "outcome": {"domain": "condition", "concepts": [FLU], "days": [1, 7]},
            "predictors": {"domains": ["condition", "demographic"]},
            "guards": {"open_visit": "none"},
            "split": SPLIT,
            "min_events": 3,
        }
        for key, value in change.items():
            task[key] = task[key] | value if isinstance(value, dict) and key != "split" else value
        tasks[name] = task
    config = {
        "name": "zero",
        "data": str(folder),
        "sites": {site: {"extract": site} for site in ("north", "south")},
        "tasks": tasks,
        "embeddings": ["onehot", {"few": {"backend": "cooccurrence", "width": 4}}],
        "learners": {"logistic": {"penalties": 3}},
        "strategies": ["local", "direct", "pooled"],
        "learning_curve": {"events": [5], "replicates": 1},
        "tuning_curve": [0.5],
        "max_passes": 1,
        "max_trials": 1,
        "seeds": 1,
        "min_cell_count": 3,
        "evaluation": {"replicates": 100, "min_persons": 5},
    }
    made = InProcess(config, folder / "results")
    made.sites()
    for name in tasks:
        made.rows(name)
    made.embed(folder / "cache")
    for name in tasks:
        made.arms(name)
        made.evaluate(name)
    return made, made.page()


def test_every_stage_has_run_of_every_task(study: tuple[InProcess, str]) -> None:
    """The table: a cell is a stage of one of the tasks, for all sites and arms that it has."""
    made, _ = study
    assert set(made.done) == set(STAGES)
    per_site = {stage: made.done[stage] for stage in STAGES[:4]}
    assert set(per_site.values()) == {2 * len(TASKS)}
    assert made.done["evaluate"] == 2 * len(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_every_cell_has_an_estimate_or_a_reason(study: tuple[InProcess, str], task: str) -> None:
    made, _ = study
    for target in ("north", "south"):
        metrics = pq.read_table(made.at(layout.METRICS, task=task, target=target, table="metrics")).to_pylist()
        assert metrics
        for row in metrics:
            assert (row["estimate"] is None) == (row["reason"] is not None) or row["metric"] != "auroc", row
        rows = pq.read_table(made.at(layout.COHORT, task=task, site=target)).num_rows
        assert (rows == 0) == (task in EMPTY or (task, target) == ("no-rows-at-north", "north"))


def test_a_model_that_there_is_looks_at_what_was_planted(study: tuple[InProcess, str]) -> None:
    made, _ = study
    rows = pq.read_table(made.at(layout.IMPORTANCE, task="ordinary", site="south")).to_pylist()
    first = {row["role"]: row for row in rows if row["place"] == 1}
    assert "recommended" in first
    assert {(row["token"].split("|")[0], row["effect"] > 0) for row in first.values()} == {(str(COUGH), True)}
    nobody = pq.read_table(made.at(layout.IMPORTANCE, task="no-rows", site="south"))
    assert len(nobody) == 0


@pytest.mark.parametrize("task", ["no-rows", "no-training-rows", "no-events", "no-tokens"])
def test_every_learner_and_strategy_gives_a_reason(study: tuple[InProcess, str], tmp_path: Path, task: str) -> None:
    made, _ = study
    config = made.config | {"tasks": {task: made.config["tasks"][task]}}
    config |= {"embeddings": ["onehot"], "learners": LEARNERS}
    config["strategies"] = [
        name for name in STRATEGIES if name != "federated"
    ]  # processes: tests/unit/test_federated.py
    for part in ("sites", "tasks"):
        (tmp_path / part).symlink_to(made.results / part)
    every = InProcess(config, tmp_path)
    every.arms(task)
    every.evaluate(task)
    assert every.done["arms"] == 2 * len(LEARNERS) * len(every.study.strategies)


def test_the_page_names_what_is_not_estimable(study: tuple[InProcess, str]) -> None:
    _, page = study
    for reason in ("no test rows", "no events among the test rows"):
        assert reason in page, reason
