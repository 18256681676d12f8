"""A leak of each kind is planted, and caught: before it becomes a token, or in the list of suspicious predictors."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.records import records_status
from conceptbridge.tasks.leaks import make_leaks
from task_site import COUGH, DAY, FEVER, FLU, NAMES, Site, after, clinical, task
from tiny_site import concept, condition, measurement, observation, person, read, visit

KIND_OF_FLU, CAUSE = 763011, 999
ANCESTORS = [
    {"ancestor_concept_id": a, "descendant_concept_id": d, "min_levels_of_separation": n}
    for a, d, n in [(FLU, KIND_OF_FLU, 1), (CAUSE, FLU, 1), (CAUSE, COUGH, 1), (CAUSE, KIND_OF_FLU, 2)]
]


def site(folder: Path, spec: dict[str, Any] | None = None, **tables: Any) -> Site:
    """One person with one emergency visit, which lasts from DAY on for three days."""
    one = {**visit(1, DAY), "visit_occurrence_id": 7, "visit_end_date": after(3)}
    tables.setdefault("concept_ancestor", ANCESTORS)
    tables.setdefault("concept", [*NAMES, concept(CAUSE, "Disorder of the airways")])
    tables.setdefault("visit_occurrence", [one])
    return Site(folder, spec or task(), person=[person(1)], **tables)


def known(made: Site) -> set[str]:
    return {key for sequence in made.sequences for _, key in clinical(sequence)}


def test_a_record_after_the_index(tmp_path: Path) -> None:
    made = site(tmp_path, condition_occurrence=[condition(1, after(n), COUGH + n) for n in (-1, 0, 1, 2, 8)])
    assert known(made) == {f"{COUGH - 1}|present", f"{COUGH}|present"}


@pytest.mark.parametrize("outcome", [FLU, KIND_OF_FLU])
def test_the_outcome_itself_or_a_descendant_in_any_domain(tmp_path: Path, outcome: int) -> None:
    planted = {
        "condition_occurrence": [condition(1, after(-5), outcome), condition(1, after(-5), COUGH)],
        "observation": [observation(1, after(-5), outcome)],
    }
    assert known(site(tmp_path, **planted)) == {f"{COUGH}|present"}


def test_the_outcome_as_a_value(tmp_path: Path) -> None:
    made = site(tmp_path, observation=[observation(1, DAY, 1, value_as_concept_id=KIND_OF_FLU)])
    assert known(made) == set()


def test_the_outcome_under_the_name_of_an_ancestor(tmp_path: Path) -> None:
    up = {"drug": "none", "condition": 1}
    flu = [condition(1, after(-5), FLU), condition(1, after(-6), KIND_OF_FLU)]
    assert known(site(tmp_path / "a", roll_up=up, condition_occurrence=flu)) == set()
    cough = site(tmp_path / "b", roll_up=up, condition_occurrence=[condition(1, after(-5), COUGH)])
    assert known(cough) == {f"{CAUSE}|present"}


def test_the_guard_of_the_outcomes_concepts_can_be_lifted_by_name_alone(tmp_path: Path) -> None:
    spec = task(guards={"outcome_concepts": False})
    made = site(tmp_path, spec, condition_occurrence=[condition(1, after(-5), FLU)])
    assert known(made) == {f"{FLU}|present"}


@pytest.mark.parametrize(
    ("rule", "kept"), [("discharge", {FEVER, COUGH}), ("all", {COUGH}), ("none", {8, 9, FEVER, COUGH})]
)
def test_a_diagnosis_of_a_visit_that_is_still_open(tmp_path: Path, rule: str, kept: set[int]) -> None:
    # admitted five days before the index, discharged after it; the diagnoses are dated at admission
    stay = {**visit(1, after(-5), 9201), "visit_occurrence_id": 5, "visit_end_date": after(2)}
    before = {**visit(1, after(-50), 9201), "visit_occurrence_id": 6, "visit_end_date": after(-45)}
    discharge = {"condition_status_concept_id": 32903}
    made = site(
        tmp_path,
        task(guards={"open_visit": rule}),
        visit_occurrence=[visit(1, DAY), stay, before],
        condition_occurrence=[
            condition(1, after(-5), 8, visit_occurrence_id=5, **discharge),
            condition(1, DAY, 9, **discharge),
            condition(1, after(-5), FEVER, visit_occurrence_id=5),
            condition(1, after(-50), COUGH, visit_occurrence_id=6, **discharge),
        ],
    )
    assert known(made) == {f"{c}|present" for c in kept}


def known_by_person(made: Site) -> dict[int, set[str]]:
    rows = zip(made.cohort, made.sequences, strict=True)
    return {row["person_id"]: {key for _, key in clinical(sequence)} for row, sequence in rows}


STATUS = {"condition_status_concept_id": 32890}  # admission diagnosis


@pytest.mark.parametrize(
    ("statuses", "left"),
    [
        # no status anywhere: all diagnoses of the index visit and day are left out
        ({}, {1: {FEVER}, 2: {FEVER}}),
        # emergency visits record one, inpatient ones and those without a visit do not
        ({9203: STATUS}, {1: {COUGH, FEVER, 8}, 2: {FEVER}}),
        ({9203: STATUS, 9201: STATUS, None: STATUS}, {1: {COUGH, FEVER, 8}, 2: {COUGH, FEVER, 8}}),
    ],
)
def test_where_visits_record_no_status_all_diagnoses_of_the_index_visit_are_late(
    tmp_path: Path, statuses: dict[Any, Any], left: dict[int, set[int]]
) -> None:
    """An emergency visit (1) and a stay (2) that began two days before: two diagnoses of each, one of long ago."""
    visits = [
        {**visit(1, DAY), "visit_occurrence_id": 1},
        {**visit(2, DAY), "visit_occurrence_id": 2},
        {**visit(2, after(-2), 9201), "visit_occurrence_id": 3, "visit_end_date": after(4)},
    ]
    conditions = [
        condition(1, DAY, COUGH, visit_occurrence_id=1, **statuses.get(9203, {})),
        condition(1, DAY, 8, visit_occurrence_id=1),  # one record without a status is no habit
        condition(2, after(-1), COUGH, visit_occurrence_id=3, **statuses.get(9201, {})),
        condition(2, DAY, 8, **statuses.get(None, {})),
        *(condition(i, after(-30), FEVER, **statuses.get(None, {})) for i in (1, 2)),
    ]
    made = Site(
        tmp_path,
        task(guards={"open_visit": "discharge"}),
        person=[person(i) for i in (1, 2)],
        visit_occurrence=visits,
        condition_occurrence=conditions,
    )
    assert known_by_person(made) == {i: {f"{c}|present" for c in concepts} for i, concepts in left.items()}


@pytest.mark.parametrize(("with_status", "recorded"), [(0, False), (9, False), (10, True)])
def test_a_status_at_fewer_than_one_in_a_hundred_diagnoses_is_none(with_status: int, recorded: bool) -> None:
    assert records_status(1000, with_status) == recorded


def test_a_training_window_that_reaches_into_the_test_period(tmp_path: Path) -> None:
    spec = task(outcome={"days": [1, 365]})
    made = Site(
        tmp_path,
        spec,
        person=[person(1), person(2)],
        visit_occurrence=[visit(1, date(2022, 6, 1)), visit(2, date(2021, 12, 31))],
        condition_occurrence=[condition(1, date(2023, 2, 1), FLU)],
    )
    assert made.persons == [2]


@pytest.mark.parametrize(("split", "message"), [("test", "more than one split"), ("tset", "is not one of train")])
def test_a_handed_in_split_that_divides_a_person(tmp_path: Path, split: str, message: str) -> None:
    (tmp_path / "here.csv").write_text(f"person_id,index_date,split\n1,2022-01-10,train\n1,2022-03-10,{split}\n")
    spec = task(index={"domain": "cohort", "concepts": [], "file": str(tmp_path / "{site}.csv")}, split={"by": "given"})
    with pytest.raises(StudyError, match=message):
        Site(tmp_path, spec, person=[person(1)])


def leaky(folder: Path) -> Site:
    """200 persons; a test that is positive with influenza alone, and cough with no bearing on it."""
    people = range(200)
    return Site(
        folder,
        task(),
        person=[person(i) for i in people],
        concept=[concept(FLU, "Influenza"), concept(5, "Influenza test"), concept(COUGH, "Cough")],
        visit_occurrence=[visit(i, DAY) for i in people],
        condition_occurrence=[
            *(condition(i, after(2), FLU) for i in people if i % 4 == 0),
            *(condition(i, DAY, COUGH) for i in people if i % 3),
        ],
        measurement=[measurement(i, DAY, 5, value_as_concept_id=9191) for i in people if i % 4 == 0 or i == 1],
    )


def leaks(folder: Path, made: Site, min_cell_count: int = 10) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    flu, other = rng.normal(size=8), rng.normal(size=(4, 8))
    vectors = {"Influenza": flu, "Influenza test, positive": flu + 0.1 * other[0], "Cough": other[1], "Sex": other[2]}
    flat = pa.array(np.concatenate(list(vectors.values())).astype(np.float32))
    table = pa.table({"text": list(vectors), "vector": pa.FixedSizeListArray.from_arrays(flat, 8)})
    pq.write_table(table, folder / "vectors.parquet")
    files = [made.files[name] for name in ("cohort", "vocabulary", "tokens", "sequences")]
    make_leaks(folder / "cdm", *files, folder / "vectors.parquet", task(), min_cell_count, folder / "leaks.parquet")
    return read(folder / "leaks.parquet")


def test_a_test_that_gives_the_outcome_away_heads_the_list(tmp_path: Path) -> None:
    listed = leaks(tmp_path, leaky(tmp_path), min_cell_count=1)
    first = listed[0]
    assert (first["text"], first["auroc_rank"], first["suspicious"]) == ("Influenza test, positive", 1, True)
    # all 50 with the outcome hold it, and 1 of the 150 without: (1 + 1 - 1 / 150) / 2
    assert first["auroc"] == pytest.approx(0.997, abs=5e-4)
    assert (first["similarity_rank"], first["nearest"]) == (1, "Influenza")
    assert not any(row["suspicious"] for row in listed[1:])


def test_the_list_shows_no_small_count(tmp_path: Path) -> None:
    assert {row["text"] for row in leaks(tmp_path, leaky(tmp_path), min_cell_count=60)} == {
        "Cough",
        "Sex, female",
        "Age, 18 to 44 years",
    }


def test_an_auroc_from_which_a_small_count_could_be_worked_out_is_blank_and_still_suspicious(tmp_path: Path) -> None:
    first, *others = leaks(tmp_path, leaky(tmp_path))
    # with 51 rows, 50 events and 200 rows in all, 0.997 says that one of those without influenza was positive
    assert (first["text"], first["rows"], first["auroc"]) == ("Influenza test, positive", 51, None)
    assert (first["auroc_rank"], first["suspicious"]) == (None, True)
    cough = next(row for row in others if row["text"] == "Cough")
    assert cough["auroc"] == pytest.approx(0.5, abs=0.02)


def test_the_count_of_a_token_that_nearly_every_row_holds_is_blank(tmp_path: Path) -> None:
    people = range(200)
    made = Site(
        tmp_path,
        task(),
        person=[person(i) for i in people],
        visit_occurrence=[visit(i, DAY) for i in people],
        condition_occurrence=[condition(i, DAY, COUGH) for i in people if i > 3],
    )
    listed = {row["text"]: row["rows"] for row in leaks(tmp_path, made)}
    assert (listed["Cough"], listed["Sex, female"]) == (None, 200)


def test_the_list_of_a_site_without_rows_is_empty(tmp_path: Path) -> None:
    assert leaks(tmp_path, Site(tmp_path, task(), person=[person(1)])) == []


def with_code(folder: Path, held: int, wrong: int) -> Site:
    """400 persons, 200 of them with influenza; ``held`` of them have a code on record, and ``wrong`` of the others."""
    people = range(400)
    holders = [*range(held), *range(200, 200 + wrong)]
    return Site(
        folder,
        task(),
        person=[person(i) for i in people],
        concept=[*NAMES, concept(7, "Influenza follow-up")],
        visit_occurrence=[visit(i, DAY) for i in people],
        condition_occurrence=[
            *(condition(i, after(2), FLU) for i in range(200)),
            *(condition(i, DAY, 7) for i in holders),
            *(condition(i, DAY, COUGH) for i in people if i % 2),
        ],
    )


@pytest.mark.parametrize(
    ("held", "wrong", "suspicious"),
    [
        (70, 0, True),  # its AUROC is 0.675
        (70, 3, True),
        (70, 15, False),  # 70 of 85: the lower limit is .72, below the middle between one half and one
        (8, 0, False),  # chance does as much to one of many codes
    ],
)
def test_a_code_that_nearly_always_comes_with_the_outcome_is_suspicious(
    tmp_path: Path, held: int, wrong: int, suspicious: bool
) -> None:
    listed = leaks(tmp_path, with_code(tmp_path, held, wrong), min_cell_count=1)
    code = next(row for row in listed if row["text"] == "Influenza follow-up")
    assert code["suspicious"] == suspicious
    assert code["lift"] == pytest.approx(2 * held / (held + wrong), abs=0.01)


def test_a_suspicion_tells_no_more_than_that_a_count_is_small(tmp_path: Path) -> None:
    """All holders but few have influenza: it is the same whether the few are one or nine."""
    listed = {}
    for wrong in (1, 4, 9):
        made = leaks(tmp_path / str(wrong), with_code(tmp_path / str(wrong), 100 - wrong, wrong))
        listed[wrong] = next(row for row in made if row["text"] == "Influenza follow-up")
        assert (listed[wrong]["auroc"], listed[wrong]["lift"]) == (None, None)
    assert listed[1] == listed[4] == listed[9]
    assert listed[1]["suspicious"]


def test_where_a_suspicion_would_tell_a_small_count_there_is_none(tmp_path: Path) -> None:
    """Of 10 holders at least 10 have influenza: that is to say, all of them."""
    listed = leaks(tmp_path, with_code(tmp_path, 10, 0))
    code = next(row for row in listed if row["text"] == "Influenza follow-up")
    assert (code["rows"], code["suspicious"]) == (10, False)


def test_a_person_counts_once_however_often_a_code_comes(tmp_path: Path) -> None:
    """Four persons with ten visits each, all with the code and followed by influenza: they are only four."""
    days = range(0, 200, 20)
    people = range(4)
    others = range(10, 200)
    made = Site(
        tmp_path,
        task(),
        person=[person(i) for i in [*people, *others]],
        concept=[*NAMES, concept(7, "Influenza follow-up")],
        visit_occurrence=[*(visit(i, after(-n)) for i in people for n in days), *(visit(i, DAY) for i in others)],
        condition_occurrence=[
            *(condition(i, after(1 - n), FLU) for i in people for n in days),
            *(condition(i, after(-n), 7) for i in people for n in days),
            *(condition(i, after(2), FLU) for i in others if i % 2),
        ],
    )
    code = next(row for row in leaks(tmp_path, made, 1) if row["text"] == "Influenza follow-up")
    assert code["rows"] == 40
    assert not code["suspicious"]
