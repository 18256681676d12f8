"""Who is predicted, what came of it, and what was known: cohort, splits, attrition, sequences."""

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from conceptbridge.sites.records import AS_RECORDED
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.vocabulary.build import make_vocabulary
from task_site import COUGH, DAY, FEVER, FLU, TEXTS, Site, after, clinical, task
from tiny_site import condition, measurement, observation, person, visit, write_cdm


def one_visit(
    folder: Path, conditions: list[dict[str, Any]], spec: dict[str, Any] | None = None, **tables: Any
) -> Site:
    """A site of one person with one visit and these conditions."""
    person_and_visit = {"person": [person(1)], "visit_occurrence": [visit(1, DAY)]}
    return Site(folder, spec or task(), **person_and_visit, condition_occurrence=conditions, **tables)


def test_the_label_is_the_outcome_within_its_window(tmp_path: Path) -> None:
    days = {1: 0, 2: 1, 3: 7, 4: 8}
    site = Site(
        tmp_path,
        task(),
        person=[person(i) for i in days],
        visit_occurrence=[visit(i, DAY) for i in days],
        condition_occurrence=[condition(i, after(n), FLU) for i, n in days.items()],
    )
    assert {row["person_id"]: row["label"] for row in site.cohort} == {1: 0, 2: 1, 3: 1, 4: 0}


def test_descendants_of_the_outcome_count_and_are_no_predictors(tmp_path: Path) -> None:
    kind_of_flu = 763011
    days = [(2, kind_of_flu), (-100, kind_of_flu), (0, FLU), (0, COUGH)]
    site = one_visit(
        tmp_path,
        [condition(1, after(n), concept) for n, concept in days],
        concept_ancestor=[{"ancestor_concept_id": FLU, "descendant_concept_id": kind_of_flu}],
    )
    assert site.cohort[0]["label"] == 1
    assert clinical(site.sequences[0]) == [(0, f"{COUGH}|present")]


def test_predictors_end_at_the_index_and_keep_time_order(tmp_path: Path) -> None:
    days = [(0, FEVER), (-3, COUGH), (1, COUGH), (-366, FEVER), (-365, FEVER)]
    site = one_visit(tmp_path, [condition(1, after(n), concept) for n, concept in days])
    assert clinical(site.sequences[0]) == [
        (-365, f"{FEVER}|present"),
        (-3, f"{COUGH}|present"),
        (0, f"{FEVER}|present"),
    ]


def test_a_discharge_diagnosis_of_the_index_day_is_no_predictor(tmp_path: Path) -> None:
    days = [(0, COUGH, 32903), (-9, FEVER, 32903), (0, FEVER, 32890)]
    site = one_visit(
        tmp_path,
        [condition(1, after(n), concept, condition_status_concept_id=status) for n, concept, status in days],
        spec=task(guards={"open_visit": "discharge"}),
    )
    assert clinical(site.sequences[0]) == [(-9, f"{FEVER}|present"), (0, f"{FEVER}|present")]


def test_recorded_absence_is_a_token_and_the_lack_of_a_record_is_none(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        task(),
        person=[person(1), person(2)],
        visit_occurrence=[visit(1, DAY), visit(2, DAY)],
        observation=[observation(1, DAY, COUGH, value_as_concept_id=4132135)],
    )
    assert clinical(site.sequences[0]) == [(0, f"{COUGH}|absent")]
    assert clinical(site.sequences[1]) == []
    assert [token["text"] for token in site.tokens if token["key"] == f"{COUGH}|absent"] == ["Not Cough"]


def test_bins_are_cut_where_training_rows_say_and_apply_to_all_rows(tmp_path: Path) -> None:
    people = range(1, 102)
    test_day = date(2024, 6, 1)
    site = Site(
        tmp_path,
        task(min_values=10),
        person=[person(i) for i in [*people, 200]],
        visit_occurrence=[*(visit(i, DAY) for i in people), visit(200, test_day)],
        measurement=[
            *(measurement(i, DAY, 1, value_as_number=float(i - 1)) for i in people),
            measurement(200, test_day, 1, value_as_number=1e9),
        ],
    )
    assert clinical(site.sequences[-1]) == [(0, "1|very high")]
    bins = {t["state"]: (t["bins"][0]["lower"], t["bins"][0]["upper"]) for t in site.tokens if t["concept_id"] == 1}
    # the value of a billion is a test row's: it moves no cut
    assert bins == {
        "very low": (None, 10),
        "low": (10, 30),
        "middle": (30, 70),
        "high": (70, 90),
        "very high": (90, None),
    }


def test_units_are_brought_together_and_unknown_ones_kept_apart(tmp_path: Path) -> None:
    people = range(1, 41)
    half = {"unit_concept_id": 586323}, {"unit_source_value": "degF"}
    site = Site(
        tmp_path,
        task(min_values=10),
        person=[person(i) for i in people],
        visit_occurrence=[visit(i, DAY) for i in people],
        measurement=[
            *(measurement(i, DAY, 1, value_as_number=36.0 + i / 10, **half[0]) for i in people if i <= 20),
            *(
                measurement(i, DAY, 1, value_as_number=(36.0 + i / 10) * 9 / 5 + 32, **half[1])
                for i in people
                if i > 20
            ),
            *(measurement(i, after(-1), 1, value_as_number=float(i), unit_source_value="hot") for i in people),
        ],
    )
    highest = next(t for t in site.tokens if t["key"] == "1|very high")
    assert [b["unit"] for b in highest["bins"]] == ["Cel", "hot"]
    # one scale for both units: the ninth decile of 36.1 to 40.0, and that of 1 to 40
    assert [b["lower"] for b in highest["bins"]] == pytest.approx([39.61, 36.1])
    assert (0, "1|very high") in site.sequences[39]
    assert (0, "1|very low") in site.sequences[0]


@pytest.mark.parametrize(
    ("persons", "kept"),
    [
        ({"persons": "returning"}, [(1, "train"), (1, "test"), (3, "train")]),
        ({"persons": "apart", "shares": [0.001, 0.001, 0.998]}, [(1, "test")]),
        ({"persons": "apart", "shares": [0.998, 0.001, 0.001]}, [(1, "train"), (3, "train")]),
    ],
)
def test_a_row_is_in_the_split_of_its_own_date_and_windows_keep_apart(
    tmp_path: Path, persons: dict[str, Any], kept: list[tuple[int, str]]
) -> None:
    boundary = {"by": "time", "validation": "2023-01-01", "test": "2024-01-01", "seed": 0}
    site = Site(
        tmp_path,
        task(split=boundary | persons),
        person=[person(1), person(2), person(3)],
        visit_occurrence=[
            visit(1, date(2022, 5, 1)),
            visit(1, date(2024, 5, 1)),
            visit(2, date(2022, 12, 28)),  # its window reaches into 2023
            visit(3, date(2022, 12, 20)),
        ],
    )
    assert [(row["person_id"], row["split"]) for row in site.cohort] == kept
    assert site.attrition.splitlines()[-1].endswith(f",{len({i for i, _ in kept})},{len(kept)},0")


def test_a_split_by_hash_stays_when_persons_are_added(tmp_path: Path) -> None:
    by_hash = task(split={"by": "hash", "shares": [0.6, 0.2, 0.2], "seed": 0})
    few, many = range(1, 100), range(1, 1000)
    splits = []
    for name, people in (("few", few), ("many", many)):
        site = Site(
            tmp_path / name,
            by_hash,
            person=[person(i) for i in people],
            visit_occurrence=[visit(i, after(n)) for i in people for n in (0, 30)],
        )
        splits.append({row["person_id"]: row["split"] for row in site.cohort})
        assert len({(row["person_id"], row["split"]) for row in site.cohort}) == len(people)
    assert splits[0].items() <= splits[1].items()
    shares = [list(splits[1].values()).count(split) / 999 for split in ("train", "validation", "test")]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.05)


@pytest.mark.parametrize(("censoring", "kept"), [("keep", [1, 2, 3]), ("drop", [1, 2])])
def test_who_leaves_early_is_kept_or_dropped_as_the_task_says(tmp_path: Path, censoring: str, kept: list[int]) -> None:
    observed = {1: 30, 2: 3, 3: 3}
    site = Site(
        tmp_path,
        task(censoring=censoring),
        person=[person(i) for i in observed],
        visit_occurrence=[visit(i, DAY) for i in observed],
        condition_occurrence=[condition(2, after(2), FLU)],
        observation_period=[
            {
                "person_id": i,
                "observation_period_start_date": after(-400),
                "observation_period_end_date": after(n),
            }
            for i, n in observed.items()
        ],
    )
    assert [row["person_id"] for row in site.cohort] == kept


def test_age_sex_and_race_are_those_of_the_index_date(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        task(),
        person=[person(1, 2000, month_of_birth=1, day_of_birth=11, gender_concept_id=8507, race_source_value="other")],
        visit_occurrence=[visit(1, DAY), visit(1, after(1))],
    )
    assert [(row["age"], row["sex"], row["race"]) for row in site.cohort] == [
        (21, "male", "other"),
        (22, "male", "other"),
    ]
    assert site.sequences[0] == [(0, "age|18 to 44 years"), (0, "sex|male")]


def test_the_month_of_the_index_is_a_token_if_the_task_asks_for_the_season(tmp_path: Path) -> None:
    site = Site(
        tmp_path,
        task(predictors={"domains": ["season"]}),
        person=[person(1, 2000)],
        visit_occurrence=[visit(1, date(2021, 12, 31)), visit(1, date(2022, 1, 1))],
    )
    assert site.sequences == [[(0, "month|December")], [(0, "month|January")]]


def test_small_counts_are_left_blank_in_the_attrition_table(tmp_path: Path) -> None:
    people = range(1, 31)
    site = Site(
        tmp_path,
        task(),
        min_cell_count=10,
        person=[person(i) for i in people],
        visit_occurrence=[visit(i, DAY) for i in people],
        condition_occurrence=[condition(1, after(2), FLU)],
    )
    assert site.attrition.splitlines()[1] == "index event,30,30,"


def test_no_small_count_is_the_difference_of_two_steps(tmp_path: Path) -> None:
    """Of 100 persons 4 are too young, 20 of the others too old."""
    people = range(1, 101)
    born = {i: 2015 if i <= 4 else 1920 if i <= 24 else 1980 for i in people}
    site = Site(
        tmp_path,
        task(index={"sex": "female", "age": [18, 80]}),
        min_cell_count=10,
        person=[person(i, born[i], gender_concept_id=8507 if i > 95 else 8532) for i in people],
        visit_occurrence=[visit(i, DAY) for i in people],
    )
    assert [line.rsplit(",", 3)[1] for line in site.attrition.splitlines()[1:]] == ["100", "100", "100", "", "71", "71"]


def test_a_small_split_cannot_be_worked_out_from_the_last_step(tmp_path: Path) -> None:
    """60 persons in training and 40 to test on are told elsewhere; 3 for validation are not."""
    days = [DAY] * 60 + [date(2023, 6, 1)] * 3 + [date(2024, 6, 1)] * 40
    site = Site(
        tmp_path,
        task(),
        min_cell_count=10,
        person=[person(i) for i in range(len(days) + 30)],
        visit_occurrence=[visit(i, day) for i, day in enumerate(days)],
    )
    assert [line.split(",")[-3:] for line in site.attrition.splitlines()[1:]] == [["", "", ""]] * 4


def test_a_site_without_index_events_has_an_empty_cohort(tmp_path: Path) -> None:
    site = Site(tmp_path, task(), person=[person(1)], condition_occurrence=[condition(1, DAY, COUGH)])
    assert site.cohort == site.tokens == site.sequences == []


def test_the_most_recent_tokens_stay(tmp_path: Path) -> None:
    spec = task()
    spec["predictors"] |= {"max_tokens": 2, "domains": ["condition"]}
    site = Site(
        tmp_path,
        spec,
        person=[person(1)],
        visit_occurrence=[visit(1, DAY)],
        condition_occurrence=[condition(1, after(-n), COUGH) for n in range(5)],
    )
    assert [day for day, _ in site.sequences[0]] == [-1, 0]


def test_the_same_rows_give_the_same_bytes_on_one_thread_or_two(tmp_path: Path) -> None:
    cdm = write_cdm(
        tmp_path / "cdm",
        person=[person(i) for i in range(200)],
        visit_occurrence=[visit(i, after(i % 7)) for i in range(200)],
        condition_occurrence=[condition(i, after(-(i * j) % 50), COUGH + j) for i in range(200) for j in range(5)],
        measurement=[measurement(i, after(0), 1, value_as_number=i / j) for i in range(200) for j in range(1, 4)],
    )
    made = []
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        make_vocabulary(cdm, "here", TEXTS, AS_RECORDED, 1, folder / "vocabulary.parquet", threads)
        make_cohort(
            cdm,
            "here",
            task(),
            1,
            folder / "cohort.parquet",
            folder / "attrition.csv",
            folder / "splits.parquet",
            threads,
        )
        files = [folder / f"{name}.parquet" for name in ("vocabulary", "cohort", "tokens", "sequences")]
        make_sequences(cdm, "here", files[0], files[1], task(), AS_RECORDED, files[2], files[3], threads)
        made.append([file.read_bytes() for file in files])
    assert made[0] == made[1]
    assert duckdb.read_parquet(str(tmp_path / "1" / "sequences.parquet")).count("*").fetchall()[0][0] == 200


def test_ranges_of_persons_change_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {
        "person": [person(i) for i in range(50)],
        "visit_occurrence": [visit(i, after(n)) for i in range(50) for n in range(i % 3)],
        "condition_occurrence": [condition(i, after(-j), COUGH + i * j % 9) for i in range(50) for j in range(9)],
        "measurement": [measurement(i, after(-1), 1, value_as_number=float(i)) for i in range(50)],
    }
    whole = Site(tmp_path / "whole", task(), **tables)
    monkeypatch.setattr("conceptbridge.sites.records.CHUNK", 60)
    parts = Site(tmp_path / "parts", task(), **tables)
    assert len(parts.cohort) == 49
    assert (parts.tokens, parts.sequences, parts.cohort) == (whole.tokens, whole.sequences, whole.cohort)
    assert parts.values == whole.values
    assert any(value is not None for row in whole.values for value in row)
