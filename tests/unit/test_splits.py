"""Splits that do not look ahead, and the comparison of prevalence that would tell of one that does."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.prevalence import BEFORE, compare_prevalence, split_table, warning
from task_site import DAY, FLU, Site, after, task
from tiny_site import condition, person, read, visit, write_cdm

TIME = {"by": "time", "validation": "2022-01-01", "test": "2023-01-01"}
SPLIT_KINDS: dict[str, dict[str, Any]] = {
    "by time": TIME,
    "by hash": {"by": "hash"},
}


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Visits of a stationary population, one in three weeks, from 2020 to 2023; a third of the men die in a year.

    Persons come at a constant rate and come back until they die, so that nothing drifts.
    """
    persons, rng = 12_000, np.random.default_rng(0)
    male = rng.random(persons) < 0.5
    frailty = rng.normal(0, 0.7, persons)
    enters = rng.uniform(-4000, 1461, persons)
    dies = enters + rng.exponential(365 / (0.7 * np.exp(1.0 * male + frailty)))
    visits = rng.poisson(np.maximum(dies - enters, 0) / 20)
    who = np.repeat(np.arange(persons), visits)
    day = np.floor(enters[who] + rng.random(len(who)) * (dies - enters)[who])
    who, day = who[(day >= 0) & (day < 1461)], day[(day >= 0) & (day < 1461)]
    origin = np.datetime64("2020-01-01")
    cdm = write_cdm(
        tmp_path_factory.mktemp("deaths"),
        person=[person(i, gender_concept_id=8507 if male[i] else 8532) for i in range(persons)],
    )
    tables = {
        "visit_occurrence": {"person_id": who, "visit_concept_id": [9203] * len(who), "visit_start_date": day},
        "death": {"person_id": np.arange(persons)[dies > 0], "death_date": np.floor(dies[dies > 0])},
    }
    for name, columns in tables.items():
        schema = pq.read_schema(cdm / f"{name}.parquet")
        made = {
            column: pa.array(origin + values.astype("timedelta64[D]") if column.endswith("date") else values)
            for column, values in columns.items()
            for values in [np.asarray(values)]
        }
        table = pa.table(
            [made[c].cast(schema.field(c).type) if c in made else pa.nulls(len(made["person_id"]), schema.field(c).type)
             for c in schema.names],
            schema=schema,
        )  # fmt: skip
        pq.write_table(table, cdm / f"{name}.parquet")
    return cdm


def cohort(cdm: Path, folder: Path, split: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Rows of the task `death within 30 days of a visit`, and the lines of its prevalence."""
    spec = task(outcome={"domain": "death", "concepts": [], "days": [1, 30]}, split=split)
    make_cohort(cdm, "here", spec, 10, *(folder / name for name in ("cohort.parquet", "a.csv", "splits.parquet")))
    lines = {line["split"]: line for line in read(folder / "splits.parquet")}
    return pd.read_parquet(folder / "cohort.parquet"), lines


def expected_to_observed(cohorts: list[pd.DataFrame]) -> float:
    """E/O on test rows of a logistic model of the training rows, over all ``cohorts``."""
    expected, observed = 0.0, 0
    for rows in cohorts:
        male, train, test = (rows["sex"] == "male").to_frame(), rows["split"] == "train", rows["split"] == "test"
        model = LogisticRegression(C=1e6).fit(male[train], rows.loc[train, "label"])
        expected += model.predict_proba(male[test])[:, 1].sum()
        observed += rows.loc[test, "label"].sum()
    return expected / observed


@pytest.mark.parametrize("split", SPLIT_KINDS.values(), ids=SPLIT_KINDS)
def test_no_split_selects_rows_by_the_future(deaths: Path, tmp_path: Path, split: dict[str, Any]) -> None:
    """Death within 30 days, frequent visits, no drift: every split has the same prevalence, and E/O is one."""
    rows, lines = cohort(deaths, tmp_path, split)
    assert not any(line["parts"] for line in lines.values())
    assert all(line["p"] > 0.01 for name, line in lines.items() if name != BEFORE)
    assert warning(list(lines.values())) is None
    assert 0.9 < expected_to_observed([rows]) < 1.1


def test_a_split_of_persons_apart_expects_what_comes(deaths: Path, tmp_path: Path) -> None:
    """One draw has 240 test events, too few for limits of a tenth; four draws have enough."""
    draws = [cohort(deaths, tmp_path, TIME | {"persons": "apart", "seed": seed}) for seed in range(4)]
    assert not any(line["parts"] for _, lines in draws for line in lines.values())
    assert 0.9 < expected_to_observed([rows for rows, _ in draws]) < 1.1


def test_a_split_that_keeps_who_never_comes_back_is_warned_of(deaths: Path, tmp_path: Path) -> None:
    """The rule that was: a person's rows stay in the last period that has any."""
    rows, _ = cohort(deaths, tmp_path, TIME | {"persons": "returning"})
    order = rows["split"].map({"train": 0, "validation": 1, "test": 2})
    rows.loc[order < order.groupby(rows["person_id"]).transform("max"), "split"] = None
    every, none = (len(rows), len(rows), int(rows["label"].sum())), (None, None, None)
    table = split_table(pa.Table.from_pandas(rows), every, none, True, 10).to_pylist()
    assert [line["parts"] for line in table[1:]] == [True, True, False]
    text = warning(table)
    assert text is not None
    assert "train" in text
    assert "(parts)" in text


def test_persons_can_return_and_the_share_of_their_rows_is_told(tmp_path: Path) -> None:
    """60 persons come in training, 30 of them and 20 new ones in the test period, and 20 others for validation."""
    days = {"train": 0, "validation": 365, "test": 730}
    came = {"train": range(60), "validation": range(200, 220), "test": [*range(30), *range(100, 120)]}
    site = Site(
        tmp_path,
        task(),
        min_cell_count=10,
        person=[person(i) for i in range(300)],
        visit_occurrence=[visit(i, after(days[split])) for split, people in came.items() for i in people],
    )
    # that nobody of the validation rows returns is a secret, as any small count is
    shares = {BEFORE: None, "train": None, "validation": None, "test": 0.6}
    assert {split: line["returning"] for split, line in site.splits.items()} == shares
    assert site.attrition.splitlines()[-1].split(",")[-3:] == ["100", "130", "0"]


@pytest.mark.parametrize(("returning", "shown"), [(5, ""), (25, "95")])
def test_few_returning_persons_cannot_be_worked_out_from_all_persons(
    tmp_path: Path, returning: int, shown: str
) -> None:
    """60 and 40 persons have training and test rows; with the number of all persons, so has that of the returning."""
    validation = [visit(i, after(365)) for i in range(200, 220)]
    test = [visit(i, after(730)) for i in [*range(returning), *range(100, 140 - returning)]]
    people = {visit["person_id"] for visit in validation + test} | set(range(60))
    assert len(people) == 120 - returning
    site = Site(
        tmp_path,
        task(),
        min_cell_count=10,
        person=[person(i) for i in range(300)],
        visit_occurrence=[*(visit(i, DAY) for i in range(60)), *validation, *test],
    )
    assert [site.splits[name]["persons"] for name in ("train", "validation", "test")] == [60, 20, 40]
    assert site.attrition.splitlines()[-1].split(",")[-3] == shown


@pytest.mark.parametrize("size", [120, 200, 400])
def test_the_warning_tells_no_more_of_a_small_count_than_its_blank(size: int) -> None:
    """Every small number of test events gives the same lines, though 1 parts from 10 % sooner than 9 do."""
    told = set()
    for events in range(1, 10):
        label = np.zeros(1000, np.int8)
        label[:events] = label[500 : 600 - events] = 1
        split = np.where(np.arange(1000) < size, "test", np.where(np.arange(1000) < 700, "train", "validation"))
        rows = pd.DataFrame({"person_id": np.arange(1000), "label": label, "split": split})
        lines = split_table(pa.Table.from_pandas(rows), (1000, 1000, 100), (1000, 1000, 100), True, 10).to_pylist()
        told.add(tuple(line["parts"] for line in lines if line["events"] is None))
    assert len(told) == 1


def test_settings_that_look_ahead_are_told(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        task(index={"occurrence": "last"}, outcome={"days": [3, 9], "washout": 30}, censoring="drop"),
        person=[person(1)],
        visit_occurrence=[visit(1, DAY)],
        condition_occurrence=[condition(1, after(4), FLU)],
    )
    assert site.attrition.count("(looks ahead)") == 3
    plain = Site(
        tmp_path / "plain", task(outcome={"washout": 30}), person=[person(1)], visit_occurrence=[visit(1, DAY)]
    )
    assert "looks ahead" not in plain.attrition


def test_the_comparison_of_prevalence_keeps_its_level_where_rows_of_a_person_agree() -> None:
    """Persons of ten rows with one label for all: as if each were one row, so that 1 % of comparisons are wrong."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        group = rng.integers(0, 3, 600)
        label = (rng.random(600) < 0.2).astype(np.int8)
        test = compare_prevalence(np.repeat(np.arange(600), 10), np.repeat(label, 10), np.repeat(group, 10), 3)
        wrong += bool((test.p < 0.05).any())
    assert wrong / 300 < 0.08


def test_nothing_is_compared_where_few_events_are_expected() -> None:
    label = np.r_[np.ones(20, np.int8), np.zeros(200, np.int8)]
    group = np.r_[np.zeros(210, np.intp), np.ones(10, np.intp)]
    test = compare_prevalence(np.arange(220), label, group, 3)
    assert np.isnan(test.p[1:]).all()
    assert not test.parts.any()


@pytest.mark.parametrize(
    ("rows", "events", "shown"),
    [
        (18_287, None, 0.12),  # 2,221 to 2,230 events are 12.1 or 12.2 %
        (400_000, None, 0.0056),
        (None, None, 0.12),
        (2_600, None, None),  # 85 or 86 %
    ],
)
def test_prevalence_before_the_split_is_as_exact_as_the_splits_tell_it(
    rows: int | None, events: int | None, shown: float | None
) -> None:
    table = pa.table({"person_id": range(40), "label": [0, 1] * 20, "split": ["train"] * 40})
    before = split_table(table, (None, rows, events), (None, rows or 18_287, 2221), True, 10).to_pylist()[0]
    assert before["prevalence"] == shown
