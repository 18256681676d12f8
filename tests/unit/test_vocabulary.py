"""Every concept of a site's records in every state that they could take, and the words for it."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from conceptbridge.sites.records import AS_RECORDED
from conceptbridge.vocabulary.build import make_vocabulary
from tiny_site import concept, condition, measurement, observation, person, read, write_cdm

TEXTS = {"states": "words", "present": "{name}", "absent": "Not {name}", "other": "{name}, {state}"}
DAY = date(2022, 1, 1)


def vocabulary(tmp_path: Path, site: str = "here", min_cell_count: int = 1, **tables: Any) -> dict[str, dict[str, Any]]:
    roll_up = tables.pop("roll_up", AS_RECORDED)
    tables.setdefault("person", [person(1), person(2)])
    texts = TEXTS | {"states": tables.pop("states", "words")}
    cdm = write_cdm(tmp_path / site, **tables)
    make_vocabulary(cdm, site, texts, roll_up, min_cell_count, tmp_path / f"{site}.parquet")
    return {row["key"]: row for row in read(tmp_path / f"{site}.parquet")}


def test_a_condition_is_present_under_its_concepts_name(tmp_path: Path) -> None:
    made = vocabulary(
        tmp_path,
        condition_occurrence=[condition(1, DAY, 254761), condition(2, DAY, 254761)],
        concept=[concept(254761, "Cough")],
    )
    token = made["254761|present"]
    assert (token["text"], token["named_by"], token["records"], token["persons"]) == ("Cough", "concept", 2, 2)


@pytest.mark.parametrize(
    ("value", "state", "text"),
    [
        (4132135, "absent", "Not Cough"),
        (4181412, "present", "Cough"),
        (9191, "positive", "Cough, positive"),
        (9189, "negative", "Cough, negative"),
        (900, "dark red", "Cough, dark red"),
        (901, "absent", "Not Cough"),
    ],
)
def test_a_coded_value_is_a_state(tmp_path: Path, value: int, state: str, text: str) -> None:
    made = vocabulary(
        tmp_path,
        observation=[observation(1, DAY, 254761, value_as_concept_id=value)],
        concept=[concept(254761, "Cough"), concept(900, "Dark red"), concept(901, "No")],
    )
    assert made[f"254761|{state}"]["text"] == text


def test_where_states_are_slots_a_text_is_the_concepts_name_and_a_category_stays_in_it(tmp_path: Path) -> None:
    made = vocabulary(
        tmp_path,
        states="slots",
        observation=[observation(1, DAY, 254761, value_as_concept_id=value) for value in (4132135, 4181412, 9189, 900)],
        concept=[concept(254761, "Cough"), concept(900, "Dark red")],
    )
    texts = {key.partition("|")[2]: token["text"] for key, token in made.items() if key.startswith("254761|")}
    assert texts == {"absent": "Cough", "present": "Cough", "negative": "Cough", "dark red": "Cough, dark red"}
    assert made["sex|female"]["text"] == "Sex, female"


def test_a_number_with_a_range_has_three_states_and_one_without_has_five(tmp_path: Path) -> None:
    made = vocabulary(
        tmp_path,
        measurement=[
            measurement(1, DAY, 1, value_as_number=39.0, range_low=36.0, range_high=38.0),
            measurement(1, DAY, 2, value_as_number=39.0),
        ],
        concept=[concept(1, "Temperature"), concept(2, "Pulse")],
    )
    assert {row["state"] for row in made.values() if row["concept_id"] == 1} == {"low", "normal", "high"}
    assert {row["state"] for row in made.values() if row["concept_id"] == 2} == {
        "very low",
        "low",
        "middle",
        "high",
        "very high",
    }
    assert made["2|very high"]["text"] == "Pulse, very high"


def test_two_sites_local_and_unmapped_concepts_are_different_things(tmp_path: Path) -> None:
    rows = [condition(1, DAY, 2_000_000_001), condition(1, DAY, 0, condition_source_value="c/o cough")]
    names = [concept(2_000_000_001, "Coughing")]
    here = vocabulary(tmp_path, "here", condition_occurrence=rows, concept=names)
    there = vocabulary(tmp_path, "there", condition_occurrence=rows, concept=names)
    clinical = [{key for key, row in made.items() if row["domain"] == "condition"} for made in (here, there)]
    assert clinical[0] == {"here/2000000001|present", "here/condition:c/o cough|present"}
    assert not clinical[0] & clinical[1]
    assert here["here/condition:c/o cough|present"]["text"] == "c/o cough"


def test_a_local_text_of_few_persons_is_private_and_a_standard_one_is_not(tmp_path: Path) -> None:
    made = vocabulary(
        tmp_path,
        min_cell_count=2,
        condition_occurrence=[
            condition(1, DAY, 0, condition_source_value="brother of J. Doe"),
            condition(1, DAY, 0, condition_source_value="c/o cough"),
            condition(2, DAY, 0, condition_source_value="c/o cough"),
            condition(1, DAY, 254761),
        ],
        concept=[concept(254761, "Cough")],
    )
    assert {key for key, row in made.items() if row["private"]} == {"here/condition:brother of J. Doe|present"}


def test_a_concept_without_a_name_takes_its_commonest_source_text_or_none(tmp_path: Path) -> None:
    made = vocabulary(
        tmp_path,
        condition_occurrence=[
            condition(1, DAY, 7, condition_source_value="a"),
            *[condition(2, DAY, 7, condition_source_value="b")] * 2,
            condition(1, DAY, 8),
        ],
        concept=[concept(7, "")],
    )
    assert (made["7|present"]["text"], made["7|present"]["named_by"]) == ("b", "source")
    assert (made["8|present"]["text"], made["8|present"]["named_by"]) == (None, None)


def test_the_source_text_of_few_persons_names_no_concept(tmp_path: Path) -> None:
    made = vocabulary(
        tmp_path,
        min_cell_count=2,
        condition_occurrence=[
            *[condition(1, DAY, 7, condition_source_value="brother of J. Doe")] * 3,
            *[condition(i, DAY, 7, condition_source_value="R05") for i in (1, 2)],
            condition(1, DAY, 8, condition_source_value="sister of J. Doe"),
        ],
    )
    assert (made["7|present"]["text"], made["8|present"]["text"]) == ("R05", None)


def test_a_quote_in_a_name_or_template_does_no_harm(tmp_path: Path) -> None:
    made = vocabulary(
        tmp_path, condition_occurrence=[condition(1, DAY, 7)], concept=[concept(7, "Crohn's {state} disease")]
    )
    assert made["7|present"]["text"].startswith("Crohn's ")


def test_values_written_out_are_states(tmp_path: Path) -> None:
    made = vocabulary(
        tmp_path,
        observation=[observation(1, DAY, 1, value_as_string="No"), observation(1, DAY, 2, value_as_string="at times")],
        measurement=[measurement(1, DAY, 3, value_source_value="Not detected (qualifier value)")],
        concept=[concept(1, "Cough"), concept(2, "Smoker"), concept(3, "Virus")],
    )
    assert {key for key, row in made.items() if row["domain"] != "demographic"} == {
        "1|absent",
        "2|present",
        "3|negative",
    }


def test_the_name_of_a_local_value_of_few_persons_is_private(tmp_path: Path) -> None:
    values = {1: 2_000_000_007, 2: 900}
    made = vocabulary(
        tmp_path,
        min_cell_count=2,
        observation=[observation(i, DAY, 1, value_as_concept_id=v) for i, v in values.items()],
        concept=[concept(1, "Complaint"), concept(2_000_000_007, "as J. Doe said"), concept(900, "Dark red")],
    )
    assert {key: row["private"] for key, row in made.items() if row["concept_id"] == 1} == {
        "1|as j. doe said": True,
        "1|dark red": False,
    }


def test_drugs_become_their_ingredients_and_conditions_their_ancestors(tmp_path: Path) -> None:
    made = vocabulary(
        tmp_path,
        roll_up={"drug": "ingredient", "condition": 2},
        drug_exposure=[
            {"person_id": i, "drug_concept_id": c, "drug_exposure_start_date": DAY}
            for i, c in [(1, 10), (2, 10), (1, 11)]
        ],
        condition_occurrence=[condition(1, DAY, 20), condition(1, DAY, 21)],
        concept=[
            concept(1, "Aspirin") | {"concept_class_id": "Ingredient"},
            concept(2, "Codeine") | {"concept_class_id": "Ingredient"},
            concept(3, "Aspirin / Codeine") | {"concept_class_id": "Clinical Drug Comp"},
            *(concept(i, f"Concept {i}") for i in (10, 11, 20, 21, 30)),
        ],
        concept_ancestor=[
            {"ancestor_concept_id": a, "descendant_concept_id": d, "min_levels_of_separation": n}
            for a, d, n in [(1, 10, 2), (2, 10, 2), (3, 10, 1), (1, 11, 1), (30, 20, 2), (30, 21, 3)]
        ],
    )
    counts = {key: (row["records"], row["persons"]) for key, row in made.items() if row["domain"] != "demographic"}
    assert counts == {"1|present": (3, 2), "2|present": (2, 2), "30|present": (1, 1), "21|present": (1, 1)}
