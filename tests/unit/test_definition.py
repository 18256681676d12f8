"""A task in one sentence, with the names that the sites have for its concepts."""

from typing import Any

import pytest

from conceptbridge.report.definition import definition

VISIT = {"domain": "visit", "concepts": [9203], "occurrence": "all", "value": None}
FLU = {"domain": "condition", "concepts": [4266367], "days": [1, 7], "value": None}
TASK = {"index": VISIT, "predictors": {"days": [-365, 0]}, "outcome": FLU}


def items(*named: tuple[int, str | None]) -> dict[str, Any]:
    return {"items": [{"concept_id": concept, "name": name} for concept, name in named]}


SETS = [
    {"index": items((9203, None)), "outcome": items((4266367, None))},
    {"index": items((9203, "Emergency Room Visit")), "outcome": items((4266367, "Influenza"))},
]


def test_every_concept_has_the_name_that_any_site_has_for_it() -> None:
    assert definition(TASK, SETS) == (
        "For every emergency visit, the models predict a diagnosis of “Influenza” on days 1 to 7 after "
        "it, from the records of the 365 days before it and the day itself."
    )


def test_without_rows_here_concepts_have_the_names_that_came_with_results_or_are_ids() -> None:
    assert "diagnosis of “Influenza” on" in definition(TASK, [], {4266367: "Influenza"})
    assert "diagnosis of concept 4266367 on" in definition(TASK, [])


def test_a_visit_that_has_no_word_of_its_own_is_named_as_the_vocabulary_does() -> None:
    urgent = TASK | {"index": VISIT | {"concepts": [8782]}}
    assert "For every visit “Urgent Care Facility”, the" in definition(urgent, [], {8782: "Urgent Care Facility"})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"outcome": {"domain": "death", "concepts": [], "days": [1, 30]}}, "predict death on days 1 to 30"),
        ({"outcome": FLU | {"days": [1, 1]}}, "on day 1 after it"),
        ({"index": VISIT | {"occurrence": "first"}}, "For the first emergency visit"),
        ({"index": {"domain": "cohort", "concepts": [], "occurrence": "all"}}, "For every index date of a handed-in"),
        ({"predictors": {"days": [-30, -1]}}, "of days 1 to 30 before it."),
        ({"predictors": {"days": [0, 0]}}, "from the records of the day itself."),
        ({"outcome": FLU | {"value": {"above": 5}}}, "“Influenza” with the value that the config asks for on"),
        ({"outcome": FLU | {"concepts": {"atlas": "flu.json"}}}, "Influenza"),
    ],
)
def test_settings_that_change_the_sentence(changed: dict[str, Any], said: str) -> None:
    assert said in definition(TASK | changed, SETS)


def test_of_a_long_set_three_are_named() -> None:
    many = [{"index": items((9203, "Visit")), "outcome": items(*((n, f"Flu {n}") for n in range(1, 6)))}]
    assert "diagnosis of “Flu 1” or “Flu 2” or “Flu 3” or one of 2 more" in definition(TASK, many)
