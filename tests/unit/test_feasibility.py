"""Before training: what the sites have, what they share, whether the sample is enough; no small count in any of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from conceptbridge.tasks.feasibility import write_feasibility
from conceptbridge.tasks.survey import make_survey, parameters_carried
from conceptbridge.tasks.units import make_units
from task_site import COUGH, DAY, FEVER, FLU, Site, after, task
from tiny_site import condition, measurement, person, visit


def site(folder: Path, persons: int, events: int, min_cell_count: int = 10, **more: Any) -> Site:
    people = range(persons)
    return Site(
        folder,
        task(),
        min_cell_count=min_cell_count,
        person=[person(i) for i in people],
        visit_occurrence=[visit(i, DAY) for i in people],
        condition_occurrence=[
            *(condition(i, after(2), FLU) for i in range(events)),
            *(condition(i, DAY, COUGH if i % 2 else FEVER) for i in people),
        ],
        **more,
    )


def survey(folder: Path, made: Site, min_cell_count: int = 10) -> Any:
    settings = {"min_events": 10, "min_rows": 10}
    files = (made.files[name] for name in ("cohort", "tokens", "sequences"))
    make_survey(*files, settings, min_cell_count, folder / "survey.json")
    return json.loads((folder / "survey.json").read_text())


def test_a_survey_counts_what_there_is(tmp_path: Path) -> None:
    found = survey(tmp_path, site(tmp_path, 60, 20))
    assert found["splits"]["train"] == {"persons": 60, "rows": 60, "events": 20}
    assert found["years"] == {"2022": 60}
    # cough or fever, one age band, one sex
    assert (found["tokens"], found["sequence"]["median"], found["sample"]["parameters"]) == (4, 3, 4)
    assert found["sample"]["events per parameter"] == 5


def test_a_survey_shows_no_small_count(tmp_path: Path) -> None:
    found = survey(tmp_path, site(tmp_path, 60, 7))
    assert found["splits"]["train"]["events"] is None
    assert found["sample"]["verdict"].startswith("not estimable: fewer than 10")
    assert found["sample"]["events per parameter"] is None


def test_a_survey_tells_no_more_than_the_table_of_splits_beside_it(tmp_path: Path) -> None:
    """That all rows but a few have the event, or none has it, is a secret; so is what would tell it by subtraction."""
    found = survey(tmp_path, site(tmp_path, 60, 55))
    assert found["splits"]["train"] == {"persons": 60, "rows": 60, "events": None}
    # 20 events in training, 15 in validation, 3 in test
    came = {0: range(60), 365: range(100, 150), 730: range(200, 250)}
    sick = {0: range(20), 365: range(100, 115), 730: range(200, 203)}
    made = Site(
        tmp_path / "periods",
        task(),
        min_cell_count=10,
        person=[person(i) for i in range(300)],
        visit_occurrence=[visit(i, after(days)) for days, people in came.items() for i in people],
        condition_occurrence=[condition(i, after(days + 2), FLU) for days, people in sick.items() for i in people],
    )
    found = survey(tmp_path / "periods", made)
    shown = {split: about["events"] for split, about in found["splits"].items()}
    assert shown == {split: made.splits[split]["events"] for split in shown}
    # a split of few rows is not what the years leave of the others
    people = [*range(60), *range(100, 105), *range(200, 250)]
    index = {i: after(0 if i < 60 else 365 if i < 110 else 730) for i in people}
    few = Site(
        tmp_path / "few",
        task(),
        min_cell_count=10,
        person=[person(i) for i in range(300)],
        visit_occurrence=[visit(i, day) for i, day in index.items()],
    )
    assert set(survey(tmp_path / "few", few)["years"].values()) == {None}
    told = found["sample"]["events per parameter"], found["sample"]["parameters carried"]
    assert (told != (None, None)) == (shown["train"] is not None)


def test_an_empty_cohort_is_surveyed(tmp_path: Path) -> None:
    found = survey(tmp_path, Site(tmp_path, task(), person=[person(1)]))
    assert found["years"] == {}
    assert found["sequence"]["median"] is None
    assert found["sample"]["verdict"].startswith("not estimable")


def test_the_criterion_of_riley_and_others() -> None:
    """Criterion (i), worked by hand: 5,000 rows, half of them events: R² is at most 0.75, so 0.1125 is hoped for."""
    assert parameters_carried(5000, 2500) == 66
    assert parameters_carried(5000, 0) == parameters_carried(0, 0) == 0
    assert parameters_carried(5000, 100) < parameters_carried(5000, 500)


def test_the_units_of_few_values_are_added_up(tmp_path: Path) -> None:
    rows = [
        measurement(0, DAY, 1, value_as_number=37.0, unit_source_value=unit) for unit in ["degC"] * 12 + ["hot"] * 3
    ]
    site(tmp_path, 20, 2, measurement=rows)
    make_units(tmp_path / "cdm", "here", 10, tmp_path / "units.json")
    found = json.loads((tmp_path / "units.json").read_text())
    assert [(row["unit_text"], row["unit"], row["values"]) for row in found["units"]] == [("degc", "Cel", 12)]
    assert (found["values"], found["unknown_share"], found["rare"]) == (None, None, None)
    assert "hot" not in (tmp_path / "units.json").read_text()


@pytest.mark.parametrize("names", [["here"], ["here", "there"]])
def test_the_page_opens_alone_and_shows_no_small_count(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        folder = tmp_path / "tasks" / "flu" / name
        made = site(folder, 61, 7)
        survey(folder, made)
        at_site = tmp_path / "sites" / name
        at_site.mkdir(parents=True)
        made.files["vocabulary"].replace(at_site / "vocabulary.parquet")
        make_units(folder / "cdm", name, 10, at_site / "units.json")
        dropped = {"visit_start_date is after the extract": 30, "person_id is empty": 3}
        tables = {"visit_occurrence": {"read": 94, "kept": 61, "dropped": dropped}}
        (at_site / "quality.json").write_text(json.dumps({"tables": tables}))
    page = tmp_path / "index.html"
    write_feasibility(tmp_path / "tasks", tmp_path / "sites", ["flu"], names, "A study", 10, page)
    html = page.read_text()
    assert "<title>A study: feasibility</title>" in html
    assert html.count("<td>flu</td>") == 3 * len(names)  # samples, splits, prevalence
    assert "not estimable: fewer than 10 training rows" in html
    assert ">61<" in html
    assert ">7<" not in html
    assert "visit_start_date is after the extract: 30" in html
    assert "person_id is empty: under 10" in html
    assert ">94<" not in html
    assert "http://" not in html
    assert "https://" not in html
    overlap = html.split('<section id="overlap"')[1].split("</section>")[0]
    assert ("100.0 %" in overlap, "nothing to compare" in overlap) == (len(names) == 2, len(names) == 1)
