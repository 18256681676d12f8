"""What each setting of a task does to its cohort: events, inclusion, handed-in cohorts, concept sets, values."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.tasks.concepts import Item, concept_items, read_concept_set
from task_site import COUGH, DAY, FEVER, FLU, Site, after, clinical, task
from tiny_site import concept, condition, measurement, person, visit

ER, INPATIENT = 9203, 9201


def people(n: int) -> list[dict[str, Any]]:
    return [person(i) for i in range(1, n + 1)]


@pytest.mark.parametrize(
    ("settings", "days"),
    [
        ({"occurrence": "all"}, [0, 10, 50]),
        ({"occurrence": "first"}, [0]),
        ({"occurrence": "last"}, [50]),
        ({"occurrence": "all", "washout": 20}, [0, 50]),
        ({"occurrence": "last", "period": [str(after(5)), str(after(20))]}, [10]),
        ({"occurrence": "first", "period": [str(after(5)), str(after(20))], "washout": 20}, []),
    ],
)
def test_which_of_a_persons_events_is_the_index(tmp_path: Path, settings: dict[str, Any], days: list[int]) -> None:
    made = Site(
        tmp_path, task(index=settings), person=people(1), visit_occurrence=[visit(1, after(n)) for n in (0, 10, 50)]
    )
    assert [(row["index_date"] - DAY).days for row in made.cohort] == days


def test_an_index_in_a_visit_of_a_type(tmp_path: Path) -> None:
    made = Site(
        tmp_path,
        task(index={"domain": "condition", "concepts": [COUGH], "visits": [INPATIENT]}),
        person=people(3),
        visit_occurrence=[
            visit(1, DAY, INPATIENT) | {"visit_occurrence_id": 1},
            visit(2, DAY, ER) | {"visit_occurrence_id": 2},
        ],
        condition_occurrence=[condition(i, DAY, COUGH, visit_occurrence_id=i) for i in (1, 2)]
        + [condition(3, DAY, COUGH)],
    )
    assert made.persons == [1]


def test_a_revisit_within_thirty_days_of_discharge(tmp_path: Path) -> None:
    stays = {1: (0, 5, 34), 2: (0, 5, 36), 3: (0, 5, 5)}
    made = Site(
        tmp_path,
        task(
            index={"domain": "visit", "concepts": [INPATIENT], "at": "end", "occurrence": "first"},
            outcome={"domain": "visit", "concepts": [INPATIENT, ER], "days": [1, 30]},
        ),
        person=people(3),
        visit_occurrence=[
            visit(i, after(n), INPATIENT) | {"visit_end_date": after(n + end)}
            for i, (begin, end, again) in stays.items()
            for n in (begin, again)
        ],
    )
    assert made.labels == {1: 1, 2: 0, 3: 0}


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"age": [40, 60]}, [2]),
        ({"sex": "male"}, [1, 3]),
        ({"sex": "female"}, [2]),
        ({"prior_observation": 100}, [1, 2]),
    ],
)
def test_who_is_included(tmp_path: Path, settings: dict[str, Any], left: list[int]) -> None:
    since = {1: 200, 2: 100, 3: 99}
    made = Site(
        tmp_path,
        task(index=settings),
        person=[
            person(i, born, gender_concept_id=8507 if i % 2 else 8532)
            for i, born in {1: 2000, 2: 1975, 3: 1950}.items()
        ],
        visit_occurrence=[visit(i, DAY) for i in since],
        observation_period=[
            {"person_id": i, "observation_period_start_date": after(-n), "observation_period_end_date": after(99)}
            for i, n in since.items()
        ],
    )
    assert made.persons == left


def test_who_has_the_outcome_already_can_be_left_out(tmp_path: Path) -> None:
    had = {1: -31, 2: -30, 3: 0}
    made = Site(
        tmp_path,
        task(outcome={"washout": 30}),
        person=people(3),
        visit_occurrence=[visit(i, DAY) for i in had],
        condition_occurrence=[condition(i, after(n), FLU) for i, n in had.items()],
    )
    assert made.persons == [1]


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"censoring": "keep"}, [1, 2, 3, 4]),
        ({"censoring": "drop"}, [1, 3]),
        ({"censoring": "drop-unless-dead"}, [1, 3, 4]),
        ({"censoring": "drop", "min_time_at_risk": 3}, [1, 2, 3, 4]),
        ({"censoring": "drop", "min_time_at_risk": 4}, [1, 3]),
    ],
)
def test_whose_observation_ends_early(tmp_path: Path, settings: dict[str, Any], left: list[int]) -> None:
    ends = {1: 7, 2: 3, 3: 3, 4: 3}  # 3 has the outcome, 4 dies
    made = Site(
        tmp_path,
        task(**settings),
        person=people(4),
        visit_occurrence=[visit(i, DAY) for i in ends],
        condition_occurrence=[condition(3, after(2), FLU)],
        death=[{"person_id": 4, "death_date": after(3)}],
        observation_period=[
            {"person_id": i, "observation_period_start_date": after(-9), "observation_period_end_date": after(n)}
            for i, n in ends.items()
        ],
    )
    assert made.persons == left


def test_death_is_an_outcome(tmp_path: Path) -> None:
    made = Site(
        tmp_path,
        task(outcome={"domain": "death", "concepts": [], "days": [1, 30]}),
        person=people(3),
        visit_occurrence=[visit(i, DAY) for i in (1, 2, 3)],
        death=[{"person_id": 1, "death_date": after(30)}, {"person_id": 2, "death_date": after(31)}],
    )
    assert made.labels == {1: 1, 2: 0, 3: 0}


def test_a_measured_value_is_an_outcome_in_whatever_unit(tmp_path: Path) -> None:
    celsius, fahrenheit, none = {"unit_concept_id": 586323}, {"unit_concept_id": 9289}, {"unit_source_value": "hot"}
    values = {1: (38.0, celsius), 2: (100.4, fahrenheit), 3: (100.0, fahrenheit), 4: (99.0, none), 5: (37.9, celsius)}
    made = Site(
        tmp_path,
        task(outcome={"domain": "measurement", "concepts": [1], "value": {"at_least": 37.99, "unit": "Cel"}}),
        person=people(5),
        visit_occurrence=[visit(i, DAY) for i in values],
        measurement=[measurement(i, after(1), 1, value_as_number=v, **unit) for i, (v, unit) in values.items()],
    )
    assert made.labels == {1: 1, 2: 1, 3: 0, 4: 0, 5: 0}


def test_a_limit_follows_the_analyte(tmp_path: Path) -> None:
    """Glucose of 11.1 mmol/L is 200 mg/dL, said either way."""
    values = {1: (11.5, 8753), 2: (210.0, 8840), 3: (190.0, 8840), 4: (10.0, 8753)}
    for limit in ({"at_least": 200, "unit": "mg/dL"}, {"at_least": 11.1, "unit": "mmol/L"}):
        made = Site(
            tmp_path / limit["unit"].replace("/", "-"),
            task(outcome={"domain": "measurement", "concepts": [1], "value": limit}),
            concept=[concept(1, "Glucose [Mass/volume] in Blood")],
            person=people(4),
            visit_occurrence=[visit(i, DAY) for i in values],
            measurement=[
                measurement(i, after(1), 1, value_as_number=v, unit_concept_id=unit) for i, (v, unit) in values.items()
            ],
        )
        assert made.labels == {1: 1, 2: 1, 3: 0, 4: 0}


def test_a_state_is_an_outcome(tmp_path: Path) -> None:
    made = Site(
        tmp_path,
        task(outcome={"domain": "measurement", "concepts": [1], "value": {"states": ["high", "positive"]}}),
        person=people(3),
        visit_occurrence=[visit(i, DAY) for i in (1, 2, 3)],
        measurement=[
            measurement(1, after(1), 1, value_as_number=9.0, range_high=8.0),
            measurement(2, after(1), 1, value_as_number=7.0, range_high=8.0),
            measurement(3, after(1), 1, value_as_concept_id=9191),
        ],
    )
    assert made.labels == {1: 1, 2: 0, 3: 1}


def test_concepts_can_be_excluded_with_their_descendants(tmp_path: Path) -> None:
    tree = [(FLU, 10), (FLU, 11), (FLU, 12), (11, 12)]
    made = Site(
        tmp_path,
        task(outcome={"exclude": [11]}),
        person=people(3),
        visit_occurrence=[visit(i, DAY) for i in (1, 2, 3)],
        condition_occurrence=[condition(i, after(1), 9 + i) for i in (1, 2, 3)],
        concept_ancestor=[{"ancestor_concept_id": a, "descendant_concept_id": d} for a, d in tree],
    )
    assert made.labels == {1: 1, 2: 0, 3: 0}


ATLAS = {
    "items": [
        {"concept": {"CONCEPT_ID": 5, "CONCEPT_NAME": "a"}, "isExcluded": False, "includeDescendants": True},
        {"concept": {"CONCEPT_ID": 6, "CONCEPT_NAME": "b"}, "isExcluded": True, "includeDescendants": False},
    ]
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("expression.json", json.dumps(ATLAS)),
        ("set.json", json.dumps({"id": 1, "name": "set", "expression": ATLAS})),
        ("set.csv", "concept_id,descendants,exclude\n5,true,false\n6,no,1\n"),
        (
            "atlas.csv",
            "Concept Id,Concept Name,Exclude,Descendants,Mapped\n5,a,FALSE,TRUE,FALSE\n6,b,TRUE,FALSE,FALSE\n",
        ),
    ],
)
def test_a_concept_set_comes_from_a_file(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    spec = {"concepts": str(file), "exclude": [7], "descendants": True}
    assert concept_items(spec) == [Item(5, True, False), Item(6, False, True), Item(7, True, True)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.json", None, "the concept set .* does not exist"),
        ("bad.json", "{", "is not a concept set"),
        ("empty.json", '{"items": []}', "includes no concept"),
        ("odd.csv", "code\n5\n", "no concept_id"),
        ("words.csv", "concept_id,exclude\n5,perhaps\n", "'perhaps' is neither true nor false"),
        ("mapped.csv", "concept_id,mapped\n5,true\n", "asks for mapped concepts"),
    ],
)
def test_what_is_no_concept_set_is_refused(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(StudyError, match=message):
        read_concept_set(tmp_path / name)


def handed_in(folder: Path, rows: str, **change: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    (folder / "here.csv").write_text(rows)
    index = {"domain": "cohort", "concepts": [], "file": str(folder / "{site}.csv")}
    return task(**{"index": index} | change)


def test_a_cohort_made_elsewhere(tmp_path: Path) -> None:
    spec = handed_in(tmp_path, f"person_id,index_date\n1,{DAY}\n2,{DAY} 00:00:00\n99,{DAY}\n")
    made = Site(tmp_path, spec, person=people(2), condition_occurrence=[condition(2, after(3), FLU)])
    assert made.labels == {1: 0, 2: 1}
    assert made.attrition.splitlines()[1:3] == ["index event,3,3,1", "in the person table,2,2,1"]


def test_its_labels_and_splits(tmp_path: Path) -> None:
    rows = f"person_id,index_date,label,split\n1,{DAY},1,test\n2,{DAY},0,train\n"
    outcome = {"domain": "cohort", "concepts": [COUGH]}
    spec = handed_in(tmp_path, rows, outcome=outcome, split={"by": "given"})
    made = Site(tmp_path, spec, person=people(2), condition_occurrence=[condition(1, DAY, c) for c in (COUGH, FEVER)])
    assert [(row["label"], row["split"]) for row in made.cohort] == [(1, "test"), (0, "train")]
    # the concepts of an outcome that is a label are still no predictors
    assert clinical(made.sequences[0]) == [(0, f"{FEVER}|present")]


def test_an_omop_cohort_table(tmp_path: Path) -> None:
    table = pa.table(
        {
            "cohort_definition_id": [1, 1, 2, 2],
            "subject_id": [1, 2, 1, 2],
            "cohort_start_date": pa.array([DAY, DAY, after(5), after(9)], pa.date32()),
            "cohort_end_date": pa.array([DAY] * 4, pa.date32()),
        }
    )
    pq.write_table(table, tmp_path / "here.parquet")
    cohort = {"domain": "cohort", "concepts": [], "file": str(tmp_path / "{site}.parquet")}
    spec = task(index=cohort | {"definition": 1}, outcome=cohort | {"definition": 2})
    assert Site(tmp_path, spec, person=people(2)).labels == {1: 1, 2: 0}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("person,index_date\n1,2022-01-10\n", "the column person_id is missing"),
        (
            "person_id,index_date\nA,2022-01-10\n",
            r"here\.csv: row 1 of the data, column person_id: is not a whole number",
        ),
        (
            "person_id,index_date\n1,10.1.2022\n",
            "row 1 of the data, column index_date: is not a date; write YYYY-MM-DD",
        ),
        ("person_id,index_date,label\n1,2022-01-10,2\n", "a label that is not 0 or 1"),
        ("person_id,index_date,label\n1,2022-01-10,0\n1,2022-01-10,1\n", "two labels or splits on one day"),
    ],
)
def test_a_bad_cohort_is_refused_without_naming_a_person_or_date(tmp_path: Path, rows: str, message: str) -> None:
    spec = handed_in(tmp_path, rows)
    with pytest.raises(StudyError, match=message) as caught:
        Site(tmp_path, spec, person=people(1))
    assert "10.1.2022" not in str(caught.value)


def test_too_few_events_stop_a_study_that_asks_for_that(tmp_path: Path) -> None:
    rows: dict[str, Any] = {"person": people(3), "visit_occurrence": [visit(i, DAY) for i in (1, 2, 3)]}
    assert Site(tmp_path / "a", task(min_events=2), **rows).persons == [1, 2, 3]
    with pytest.raises(StudyError, match="the site here has fewer than 2 events among its training rows"):
        Site(tmp_path / "b", task(min_events=2, on_few_events="fail"), **rows)


def test_the_first_occurrence_in_the_window(tmp_path: Path) -> None:
    made = Site(
        tmp_path,
        task(predictors={"occurrence": "first", "domains": ["condition"]}),
        person=people(1),
        visit_occurrence=[visit(1, DAY)],
        condition_occurrence=[
            condition(1, after(n), c) for n in (-9, -5, 0) for c in (COUGH, FEVER) if n or c == FEVER
        ],
    )
    assert made.sequences[0] == [(-9, f"{COUGH}|present"), (-9, f"{FEVER}|present")]
