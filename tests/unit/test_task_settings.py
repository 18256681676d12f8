"""What each setting of a task does to its cohort: events, inclusion, handed-in cohorts, concept sets, values."""

import json
import struct
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.concepts import Item, concept_items, read_concept_set
from task_site import COUGH, DAY, FEVER, FLU, Site, after, clinical, task
from tiny_site import concept, condition, measurement, person, read, visit, write_cdm

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


GLUCOSE, A1C, CREATININE, TROPONIN = 3004501, 3004410, 3016723, 3019800
ANALYTES = [
    concept(GLUCOSE, "Glucose [Mass/volume] in Serum or Plasma"),
    concept(A1C, "Hemoglobin A1c/Hemoglobin.total in Blood"),
    concept(CREATININE, "Creatinine [Mass/volume] in Serum or Plasma"),
    concept(1, "Body temperature"),
]
MG_DL, G_L, MMOL_L, UMOL_L, PERCENT, MMOL_MOL, CEL, DEG_F, LB, KG = (
    8840, 8636, 8753, 8749, 8554, 9579, 586323, 9289, 8739, 9529,
)  # fmt: skip


def keep(folder: Path, concept_id: int, value: dict[str, Any], *rows: dict[str, Any]) -> list[int]:
    """The labels of persons with one measurement each."""
    spec = task(outcome={"domain": "measurement", "concepts": [concept_id], "value": value})
    cdm = write_cdm(
        folder / "cdm",
        concept=ANALYTES,
        person=people(len(rows)),
        visit_occurrence=[visit(i + 1, DAY) for i in range(len(rows))],
        measurement=[measurement(i + 1, after(1), concept_id, **row) for i, row in enumerate(rows)],
    )
    make_cohort(cdm, "here", spec, 1, folder / "cohort.parquet", folder / "attrition.csv", folder / "splits.parquet")
    return [row["label"] for row in read(folder / "cohort.parquet")]


@pytest.mark.parametrize(
    ("concept_id", "limit", "yes", "no"),
    [
        (GLUCOSE, {"at_least": 126, "unit": "mg/dL"}, [(126, MG_DL), (1.26, G_L), (7.0, MMOL_L)],
         [(125.9, MG_DL), (1.259, G_L), (6.9, MMOL_L)]),
        (GLUCOSE, {"at_least": 140, "unit": "mg/dL"}, [(1.4, G_L), (7.8, MMOL_L)], [(1.39, G_L), (7.7, MMOL_L)]),
        (GLUCOSE, {"at_least": 7.0, "unit": "mmol/L"}, [(126, MG_DL), (7.0, MMOL_L)], [(125, MG_DL), (6.99, MMOL_L)]),
        (GLUCOSE, {"at_least": 11.1, "unit": "mmol/L"}, [(200, MG_DL), (2.0, G_L)], [(199, MG_DL), (11.09, MMOL_L)]),
        (GLUCOSE, {"at_most": 3.9, "unit": "mmol/L"}, [(70, MG_DL), (3.9, MMOL_L)], [(71, MG_DL), (3.91, MMOL_L)]),
        (GLUCOSE, {"at_most": 70, "unit": "mg/dL"}, [(3.9, MMOL_L), (0.7, G_L)], [(4.0, MMOL_L), (0.701, G_L)]),
        (A1C, {"at_least": 6.5, "unit": "%"}, [(6.5, PERCENT), (48, MMOL_MOL)], [(6.4, PERCENT), (47, MMOL_MOL)]),
        (A1C, {"at_least": 48, "unit": "mmol/mol"}, [(6.5, PERCENT), (48, MMOL_MOL)], [(6.4, PERCENT), (47, MMOL_MOL)]),
        (CREATININE, {"at_least": 1.5, "unit": "mg/dL"}, [(133, UMOL_L), (1.5, MG_DL)], [(132, UMOL_L), (1.49, MG_DL)]),
        (CREATININE, {"at_least": 133, "unit": "umol/L"}, [(1.5, MG_DL), (133, UMOL_L)], [(1.49, MG_DL)]),
        (1, {"at_least": 38, "unit": "Cel"}, [(100.4, DEG_F), (38, CEL)], [(100.3, DEG_F), (37.9, CEL)]),
        (1, {"at_least": 32, "unit": "degF"}, [(0, CEL), (32, DEG_F)], [(-0.1, CEL)]),
        (1, {"at_most": 0, "unit": "Cel"}, [(32, DEG_F)], [(32.1, DEG_F)]),
        (1, {"at_least": 100, "unit": "kg"}, [(220.46226218487757, LB)], [(220.4, LB)]),
    ],
)  # fmt: skip
def test_a_limit_holds_in_the_unit_of_the_value(
    tmp_path: Path, concept_id: int, limit: dict[str, Any], yes: list[tuple[float, int]], no: list[tuple[float, int]]
) -> None:
    rows = [{"value_as_number": float(value), "unit_concept_id": unit} for value, unit in yes + no]
    assert keep(tmp_path, concept_id, limit, *rows) == [1] * len(yes) + [0] * len(no)


def test_a_value_of_32_bits_reaches_its_own_limit(tmp_path: Path) -> None:
    stored = [struct.unpack("f", struct.pack("f", value))[0] for value in (38.1, 38.0999)]
    rows = [{"value_as_number": value, "unit_concept_id": CEL} for value in stored]
    assert stored[0] < 38.1
    assert keep(tmp_path, 1, {"at_least": 38.1, "unit": "Cel"}, *rows) == [1, 0]


BELOW, AT_MOST, ABOVE, AT_LEAST, EQUAL = 4171756, 4171754, 4172704, 4171755, 4172703


#: a number and its operator; whether it is at least 5, at most 5; its state in a range from 0 to 5, and from 5 to 10
BOUNDS: list[tuple[float | str, int | None, tuple[int, int], tuple[str, str]]] = [
    (5, EQUAL, (1, 1), ("normal", "normal")),
    (5, None, (1, 1), ("normal", "normal")),
    (5, BELOW, (0, 1), ("normal", "low")),
    (5, AT_MOST, (0, 1), ("normal", "present")),
    (9, BELOW, (0, 0), ("present", "present")),
    (5, ABOVE, (1, 0), ("high", "present")),
    (5, AT_LEAST, (1, 0), ("present", "present")),
    (12, AT_LEAST, (1, 0), ("high", "high")),
    (1, ABOVE, (0, 0), ("present", "present")),
    ("<5", None, (0, 1), ("normal", "low")),
    ("\u2265 5", 0, (1, 0), ("present", "present")),
    ("5", 0, (1, 1), ("normal", "normal")),
]


def test_a_bound_is_no_value(tmp_path: Path) -> None:
    rows = [
        {"value_as_number": float(str(value).strip("<\u2265 ")), "operator_concept_id": operator}
        | {"unit_concept_id": CEL, "value_source_value": str(value)}
        for value, operator, _, _ in BOUNDS
    ]
    for n, key in enumerate(("at_least", "at_most")):
        assert keep(tmp_path / key, 1, {key: 5, "unit": "Cel"}, *rows) == [limits[n] for _, _, limits, _ in BOUNDS], key
    for n, (low, high) in enumerate(((0, 5), (5, 10))):
        ranged = [row | {"range_low": low, "range_high": high} for row in rows]
        for state in ("low", "normal", "high", "present"):
            expected = [int(states[n] == state) for *_, states in BOUNDS]
            assert keep(tmp_path / f"{n}{state}", 1, {"states": [state]}, *ranged) == expected, (n, state)


def test_a_bound_is_in_no_bin_and_cuts_none(tmp_path: Path) -> None:
    """Twenty values, and as many bounds far above them: the cuts are those of the values alone."""
    made = Site(
        tmp_path,
        task(),
        person=people(40),
        visit_occurrence=[visit(i, DAY) for i in range(1, 41)],
        measurement=[measurement(i, DAY, 1, value_as_number=float(i)) for i in range(1, 21)]
        + [measurement(i, DAY, 1, value_as_number=1e9, operator_concept_id=BELOW) for i in range(21, 41)],
    )
    cuts = {token["state"]: token["bins"] for token in made.tokens if token["concept_id"] == 1}
    assert cuts["very high"][0]["lower"] == pytest.approx(18.1)
    assert clinical(made.sequences[30]) == [(0, "1|present")]


#: ends of a range, and the state of 9 in it
RANGES: list[tuple[float | None, float | None, str | None]] = [
    (None, 8.0, "high"), (8.0, 9.5, "normal"), (10.0, None, "low"), (0.0, 8.0, "high"), (-2.0, 0.0, "high"),
    # filled in where there is no range, or the wrong way round: they judge nothing
    (0.0, 0.0, None), (0.0, None, None), (None, 0.0, None), (8.0, 2.0, None), (9.0, 9.0, None),
]  # fmt: skip


def test_a_range_that_cannot_be_right_judges_nothing(tmp_path: Path) -> None:
    rows = [{"value_as_number": 9.0, "range_low": low, "range_high": high} for low, high, _ in RANGES]
    for state in ("low", "normal", "high"):
        expected = [int(one == state) for *_, one in RANGES]
        assert keep(tmp_path / state, 1, {"states": [state]}, *rows) == expected, state


#: year, month and day of birth, the day of the index, the age on it
AGES: list[tuple[tuple[int, int | None, int | None], date, int]] = [
    ((2000, 1, 31), date(2018, 1, 29), 17), ((2000, 1, 31), date(2018, 1, 31), 18),
    ((2000, 12, 31), date(2018, 12, 28), 17), ((2000, 12, 31), date(2018, 12, 31), 18),
    ((2000, 3, 30), date(2018, 3, 29), 17), ((2000, 3, 30), date(2018, 3, 30), 18),
    ((2000, 1, 28), date(2018, 1, 28), 18),
    ((2000, 2, 29), date(2018, 2, 28), 17), ((2000, 2, 29), date(2018, 3, 1), 18),
    ((2000, 2, 29), date(2020, 2, 28), 19), ((2000, 2, 29), date(2020, 2, 29), 20),
    # no such day: the month begins with the one after it
    ((2001, 2, 30), date(2019, 2, 28), 17), ((2001, 2, 30), date(2019, 3, 1), 18),
    # a month without a day begins on its first, a year without a month in July
    ((2000, 5, None), date(2018, 4, 30), 17), ((2000, 5, None), date(2018, 5, 1), 18),
    ((2000, None, None), date(2018, 6, 30), 17), ((2000, None, 31), date(2018, 7, 1), 18),
    ((2018, None, None), date(2018, 2, 1), 0),
]  # fmt: skip


def test_age_counts_birthdays(tmp_path: Path) -> None:
    tables: dict[str, Any] = {
        "person": [person(i, y, month_of_birth=m, day_of_birth=d) for i, ((y, m, d), _, _) in enumerate(AGES)],
        "visit_occurrence": [visit(i, day) for i, (_, day, _) in enumerate(AGES)],
    }
    assert [row["age"] for row in Site(tmp_path / "all", task(), **tables).cohort] == [age for *_, age in AGES]
    adults = Site(tmp_path / "adults", task(index={"age": [18, 120]}), **tables)
    assert adults.persons == [i for i, (*_, age) in enumerate(AGES) if age >= 18]


def test_the_dead_have_no_index(tmp_path: Path) -> None:
    """Who dies on the day of the index is alive at it; the last visit is the last one before the death."""
    deaths = {1: -30, 2: 20, 3: 0}
    tables: dict[str, Any] = {
        "person": people(4),
        "visit_occurrence": [visit(i, DAY) for i in (1, 2, 3, 4)] + [visit(2, after(25))],
        "death": [{"person_id": i, "death_date": after(n)} for i, n in deaths.items()],
    }
    death = {"domain": "death", "concepts": [], "days": [1, 30]}
    made = Site(tmp_path / "all", task(outcome=death), **tables)
    assert made.labels == {2: 1, 3: 0, 4: 0}
    assert made.attrition.splitlines()[1:3] == ["index event,4,5,1", "alive at the index,3,3,1"]
    made = Site(tmp_path / "last", task(outcome=death, index={"occurrence": "last"}), **tables)
    assert made.labels == {2: 1, 3: 0, 4: 0}


def test_dates_that_were_shifted_into_the_future_give_the_same_rows(tmp_path: Path) -> None:
    """Deidentified extracts run from 2110 to 2202: no step knows a last year."""
    rows = []
    for shift in (0, 200 * 365):
        days = {i: after(400 * i + shift) for i in (1, 2, 3)}
        spec = task(
            index={"age": [18, 90], "prior_observation": 100, "period": [str(after(shift)), str(after(2000 + shift))]},
            split={"by": "time", "validation": str(after(700 + shift)), "test": str(after(1100 + shift))},
        )
        made = Site(
            tmp_path / str(shift),
            spec,
            person=[person(i, 1980 + shift // 365) for i in days],
            visit_occurrence=[visit(i, day) for i, day in days.items()],
            condition_occurrence=[condition(2, after(802 + shift), FLU), condition(3, after(1200 + shift), COUGH)],
            observation_period=[
                {"person_id": i, "observation_period_start_date": after(shift - 900)}
                | {"observation_period_end_date": after(shift + 3000)}
                for i in days
            ],
        )
        rows.append(([(row["person_id"], row["label"], row["split"]) for row in made.cohort], made.sequences))
    assert rows[0] == rows[1]
    assert [label for _, label, _ in rows[0][0]] == [0, 1, 0]


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
