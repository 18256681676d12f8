"""Which dates can be follows the extract: dates that were shifted into the future, and tables that lose all rows."""

import re
import tempfile
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptbridge.core.errors import StudyError
from tiny_extract import GOOD, load, rows, write_extract

SOURCE = "cdm_source_name,source_release_date\nhill,{}\n"
KEPT = ("person", "observation_period", "visit_occurrence", "condition_occurrence")


def shift(years: int) -> dict[str, str]:
    """``GOOD`` so many years later."""
    later = {
        table: re.sub(r"\b(19|20)(\d\d)\b(?=[-,])", lambda m: str(int(m[0]) + years), GOOD[table]) for table in KEPT
    }
    assert later["person"] != GOOD["person"]
    return later


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(5, 500), st.sampled_from([None, "2020-12-31", "2024-05-01"]), st.booleans())
def test_an_extract_shifted_into_the_future_keeps_its_rows(years: int, released: str | None, placeholder: bool) -> None:
    """MIMIC-IV is shifted to 2110 to 2202; its release is of today."""
    if released is None and 2010 + years <= 2098:
        years += 100  # nothing says that these dates are of the future
    if released is not None and 2010 + years <= int(released[:4]):
        years += 20
    tables = shift(years) | ({"cdm_source": SOURCE.format(released)} if released else {})
    if placeholder:
        tables["visit_occurrence"] = re.sub(r"\d{4}-03-09", "9999-12-31", tables["visit_occurrence"])
    with tempfile.TemporaryDirectory() as place:
        cdm, quality = load(write_extract(Path(place) / "e", **tables), Path(place) / "out")
        assert {table: quality["tables"][table]["kept"] for table in KEPT} == dict.fromkeys(KEPT, 2)
        ends = [end for (end,) in rows(cdm, "visit_occurrence", "visit_end_date")]
    assert ends[1] is None if placeholder else ends[1] == date(2016 + years, 3, 9)
    (noted,) = quality["tables"]["observation_period"]["noted"]
    assert noted.startswith("its dates lie in the future: they were shifted")


def test_an_extract_of_today_is_not_taken_for_shifted(tmp_path: Path) -> None:
    """Where a few periods go on after the release, those count; a placeholder does not."""
    periods = GOOD["observation_period"] + "3,1,2030-01-01,2031-01-01\n4,1,9999-01-01,9999-12-31\n"
    tables = {"cdm_source": SOURCE.format("2021-03-02"), "observation_period": periods}
    _, quality = load(write_extract(tmp_path / "e", **tables), tmp_path / "out")
    counts = quality["tables"]["observation_period"]
    assert (counts["kept"], sum(counts["dropped"].values()), counts["noted"]) == (3, 1, {})


def test_the_last_day_of_the_config_may_be_far_in_the_future(tmp_path: Path) -> None:
    cdm, quality = load(write_extract(tmp_path / "e", **shift(150)), tmp_path / "out", last_date="2202-12-31")
    assert {table: quality["tables"][table]["kept"] for table in KEPT} == dict.fromkeys(KEPT, 2)
    assert quality["tables"]["observation_period"]["noted"] == {}
    assert rows(cdm, "person", "year_of_birth") == [(2130,), (2100,)]


LATE = "2030-01-01"
LOST = {
    "after the extract": (
        {"condition_occurrence": GOOD["condition_occurrence"].replace("2015-03-02", LATE).replace("2016-03-02", LATE)},
        r"condition_start_date is after the extract in all rows of condition_occurrence, .*set `last_date` for",
    ),
    "another extract's persons": (
        {"person": GOOD["person"].replace("\n1,", "\n3,").replace("9007199254740993", "4")},
        r"its person is not in the person table in all rows of observation_period, .*both tables of the same extract\?",
    ),
    "no dates": (
        {"condition_occurrence": re.sub(r"201\d-03-02", "", GOOD["condition_occurrence"])},
        r"condition_start_date is empty in all rows of condition_occurrence, and no row can be kept",
    ),
    "one reason of several": (
        {"condition_occurrence": GOOD["condition_occurrence"].replace(",1,42", ",7,42") + "102,8,0,2015-03-02,,10,x\n"}
        | {"person": GOOD["person"].replace("9007199254740993,8507,1950", "9007199254740993,8507,2017")}
        | {
            "observation_period": GOOD["observation_period"].replace(
                "2,9007199254740993,2010", "2,9007199254740993,2018"
            )
        }
        | {"visit_occurrence": GOOD["visit_occurrence"].replace("2016", "2018")},
        r"its person is not in the person table in most rows of condition_occurrence",
    ),
    "persons of the future": (
        {"person": GOOD["person"].replace("1980", "2201").replace("1950", "2202")},
        r"person\.csv: year_of_birth is after the extract in all rows of person, and .* kept: set `last_date`",
    ),
    "centuries ago": (
        {"person": GOOD["person"].replace("1980", "1780").replace("1950", "1750")},
        r"person\.csv: year_of_birth is before 1880 in all rows of person",
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_a_table_that_loses_all_its_rows_is_told_with_the_reason(name: str, tmp_path: Path) -> None:
    tables, message = LOST[name]
    source = {"cdm_source": SOURCE.format("2021-03-02")}
    with pytest.raises(StudyError, match=message) as told:
        load(write_extract(tmp_path / "e", **source | tables), tmp_path / "out")
    assert not re.search(r"\d{4}-\d\d-\d\d", str(told.value).replace(str(tmp_path), ""))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dates(date(1900, 1, 2), date(2500, 1, 1)), min_size=1, max_size=6))
def test_whatever_the_dates_no_table_is_lost_without_a_word(days: list[date]) -> None:
    header = GOOD["condition_occurrence"].splitlines()[0]
    lines = [f"{n},1,0,{day},{day + timedelta(1)},,x" for n, day in enumerate(days)]
    with tempfile.TemporaryDirectory() as place:
        extract = write_extract(Path(place) / "e", condition_occurrence="\n".join([header, *lines]) + "\n")
        try:
            _, quality = load(extract, Path(place) / "out")
        except StudyError as error:
            assert "no row can be kept" in str(error)
            return
    counts = quality["tables"]["condition_occurrence"]
    assert counts["kept"] > 0
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
