"""What a task's concept sets match at a site is told: nothing, non-standard ids, no descendants, few persons."""

import json
from pathlib import Path
from typing import Any

import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.study.config import read_study
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.resolve import about
from conceptbridge.tasks.set_warnings import check_index_events, read_sets, study_warnings, warnings_of
from task_site import COUGH, DAY, FLU, NAMES, after, task
from test_documented_studies import STUDY
from tiny_extract import write_extract
from tiny_site import concept, condition, measurement, person, visit, write_cdm

PEOPLE = range(1, 41)
TABLES: dict[str, Any] = {
    "person": [person(i) for i in PEOPLE],
    "visit_occurrence": [visit(i, DAY) for i in PEOPLE],
    "condition_occurrence": [condition(i, after(3), FLU) for i in PEOPLE if i % 2],
    "concept": [*NAMES, concept(9203, "Emergency Room Visit")],
    "concept_ancestor": [{"ancestor_concept_id": FLU, "descendant_concept_id": 11, "min_levels_of_separation": 1}],
}


def resolved(folder: Path, spec: dict[str, Any], site: str = "here", **tables: Any) -> dict[str, Any]:
    cdm, out = write_cdm(folder / "cdm", **TABLES | tables), folder / "flu" / site
    out.mkdir(parents=True, exist_ok=True)
    files = (out / "cohort.parquet", out / "attrition.csv", out / "splits.parquet")
    make_cohort(cdm, site, spec, 10, *files, 1, concepts=out / "concepts.json")
    sets: dict[str, Any] = json.loads((out / "concepts.json").read_text())
    return sets


def test_names_descendants_records_and_persons_are_told(tmp_path: Path) -> None:
    sets = resolved(tmp_path, task())
    assert warnings_of("flu", "here", sets) == []
    outcome = sets["outcome"]
    assert (outcome["concepts"], outcome["descendants"], outcome["records"], outcome["persons"]) == (2, 1, 20, 20)
    assert outcome["items"] == [
        {"concept_id": FLU, "name": "Influenza", "standard": "S", "known": True, "descendants": 1}
    ]
    assert (sets["index"]["records"], sets["index"]["persons"]) == (40, 40)


NON_STANDARD = {**concept(44, "Flu NOS"), "standard_concept": None}


@pytest.mark.parametrize(
    ("change", "tables", "warning"),
    [
        (
            {"outcome": {"concepts": [44]}},
            {"concept": [*NAMES, NON_STANDARD]},
            "as non-standard: records hold standard",
        ),
        ({"outcome": {"concepts": [COUGH]}}, {}, "has no record of outcome.concepts: look at their domain (condition)"),
        ({"outcome": {"concepts": [99]}}, {}, "has no name for outcome.concepts 99: the concept table lacks it"),
        (
            {},
            {"concept_ancestor": []},
            "has no concept_ancestor table, so no descendant of index.concepts and outcome.concepts is found",
        ),
        ({"outcome": {"exclude": [FLU]}}, {}, "finds no concept in outcome.concepts: `exclude` removes them all"),
        ({"outcome": {"domain": "death", "concepts": []}}, {}, "has no death, which is the outcome"),
        ({"outcome": {"visits": [9203]}}, {}, "has records of outcome.concepts, but none with the visits"),
        (
            {"outcome": {"domain": "measurement", "concepts": [1], "value": {"at_least": 38, "unit": "Cel"}}},
            {"measurement": [measurement(i, after(1), 1, value_as_number=39.0) for i in PEOPLE]},
            "has records of outcome.concepts, but none with the value",
        ),
    ],
)
def test_what_is_odd_is_a_warning(tmp_path: Path, change: dict[str, Any], tables: dict[str, Any], warning: str) -> None:
    told = warnings_of("flu", "here", resolved(tmp_path, task(**change), **tables))
    assert any(warning in text for text in told), told
    assert told == study_warnings(tmp_path, ["flu"], ["here", "elsewhere"])


def test_a_site_that_does_not_say_what_is_standard_is_not_blamed(tmp_path: Path) -> None:
    names = [{**one, "standard_concept": None} for one in TABLES["concept"]]
    assert warnings_of("flu", "here", resolved(tmp_path, task(), concept=names)) == []


def test_no_small_count_is_told_nor_the_difference_of_two(tmp_path: Path) -> None:
    few = [condition(i, after(3), FLU) for i in (1, 2, 3)]
    sets = resolved(tmp_path, task(), condition_occurrence=few)
    assert (sets["outcome"]["records"], sets["outcome"]["persons"], sets["outcome"]["events"]) == (None, None, True)
    assert [about(n, 10) for n in (0, 9, 10, 14, 104, 1234, 98765)] == [0, None, 10, 10, 100, 1200, 99000]
    assert about(4, 1) == 4


def test_two_sites_of_one_extract_are_told(tmp_path: Path) -> None:
    write_extract(tmp_path / "hill")
    (tmp_path / "vale").symlink_to(tmp_path / "hill")
    config = STUDY | {"data": str(tmp_path), "sites": {name: {"extract": name} for name in ("hill", "vale")}}
    assert read_study(config).warnings == [
        "hill and vale have the same extract, so what is carried from one to the other is nothing new"
    ]


def test_no_index_event_at_any_site_is_an_error_and_at_one_a_warning(tmp_path: Path) -> None:
    nobody = task(index={"concepts": [9201]})
    resolved(tmp_path, nobody, "north")
    with pytest.raises(StudyError, match=r"config: tasks\.flu\.index: no site has any index event.*\(north\)"):
        check_index_events(tmp_path, ["flu"], ["north"])
    resolved(tmp_path, task(), "south")
    check_index_events(tmp_path, ["flu"], ["north", "south"])
    assert not read_sets(tmp_path, "flu", ["north"])["north"]["index"]["events"]
    # where no rows are here, nothing is known
    check_index_events(tmp_path, ["flu"], ["elsewhere"])
