"""Cohorts, lists of patients and concept sets are read as strictly as an extract: the same on every machine."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.score.patient_list import make_patients
from conceptbridge.tasks.concepts import read_concept_set
from conceptbridge.tasks.handed_in import handed_in
from tiny_site import person, write_cdm

HEADER = "person_id,index_date,label,split\n"


def read(file: Path, definition: int | None = None) -> list[tuple[Any, ...]]:
    with duckdb.connect() as db:
        rows = handed_in(db, {"file": str(file), "definition": definition}, "here")
        return db.sql(f"FROM ({rows}) ORDER BY ALL").fetchall()


GOOD = {
    "plain": "12,2015-03-01,1,train\n",
    "a whole number with a point": "12.0,2015-03-01,1.0,train\n",
    "with a time": "12,2015-03-01 23:59:59,1,train\n",
    "with a zone": "12,2015-03-01T23:59:59-08:00,1,train\n",
    "the month first": "12,3/1/2015,1,train\n",
    "twice": "12,2015-03-01,1,train\n12,2015-03-01,1,train\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_row_that_can_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(HEADER + GOOD[name])
    assert read(tmp_path / "c.csv") == [(12, date(2015, 3, 1), 1, "train")]


BAD = {
    "a share of a person": ("12.6,2015-01-01,1,train\n", r"row 1 of the data, column person_id: is not a whole number"),
    "through a spreadsheet": ("1.3E+01,2015-01-01,1,train\n", r"column person_id: 1\.3E\+01 went through a spread"),
    "more than 64 bits": ("92233720368547758080,2015-01-01,1,x\n", r"column person_id: is not a whole number"),
    "no person": (",2015-01-01,1,train\n", r"row 1 of the data, column person_id: is empty"),
    "a person who is nan": ("nan,2015-01-01,1,train\n", r"column person_id: is empty"),
    "no day": ("1,2015-01-01,1,train\n12,NULL,1,train\n", r"row 2 of the data, column index_date: is empty"),
    "no such day": ("12,2015-02-30,1,train\n", r"column index_date: is not a date; write YYYY-MM-DD"),
    "a year": ("12,2015,1,train\n", r"column index_date: is not a date"),
    "the day first": ("12,31/01/2015,1,train\n", r"column index_date: this date has the day before the month \(99/"),
    "a word": ("12,now,1,train\n", r"column index_date: is not a date"),
    "a probability": ("12,2015-01-01,0.6,train\n", r"row 1 of the data, column label: is not a whole number"),
    "a small probability": ("12,2015-01-01,0.4,train\n", r"column label: is not a whole number"),
    "a third label": ("12,2015-01-01,2,train\n", r"has a label that is not 0 or 1"),
    "yes": ("12,2015-01-01,yes,train\n", r"column label: is not a whole number"),
    "two labels": ("12,2015-01-01,1,train\n12,2015-01-01,0,train\n", r"has two labels or splits on one day"),
    "more fields": ("12,2015-01-01,1,train,x\n", r"cannot be read"),
    "fewer fields": ("12,2015-01-01,1\n", r"cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_cannot_be_read_is_told_and_nobody_is_named(name: str, tmp_path: Path) -> None:
    rows, message = BAD[name]
    (tmp_path / "c.csv").write_text(HEADER + rows)
    with pytest.raises(StudyError, match=message) as told:
        read(tmp_path / "c.csv")
    assert "\n" not in str(told.value)
    assert not {"2015-01-01", "31/01/2015", "2015-02-30"} & set(str(told.value).replace(",", " ").split())


def test_a_list_of_patients_is_read_in_the_same_way(tmp_path: Path) -> None:
    cdm = write_cdm(tmp_path / "cdm", person=[person(12), person(13)])
    (tmp_path / "list.csv").write_text("person_id,index_date\n12.6,2015-01-01\n")
    reference = tmp_path / "r.parquet"
    with pytest.raises(StudyError, match=r"list\.csv: row 1 of the data, column person_id: is not a whole number"):
        make_patients(cdm, "here", tmp_path / "list.csv", reference, tmp_path / "out.parquet")


def test_types_of_parquet(tmp_path: Path) -> None:
    file = tmp_path / "c.parquet"
    for person_id, label, expected in (
        (pa.array([12, 13], pa.int32()), pa.array([True, False]), [1, 0]),
        (pa.array([12.0, 13.0]), pa.array([1, 0], pa.int8()), [1, 0]),
        (pa.array(["12", "13"]), pa.array([1.0, None]), [1, None]),
    ):
        days = pa.array([date(2015, 1, 1)] * 2)
        pq.write_table(pa.table({"PERSON_ID": person_id, "index_date": days, "label": label}), file)
        assert read(file) == [(i, date(2015, 1, 1), one, None) for i, one in zip((12, 13), expected, strict=True)]
    for person_id, label, message in (
        (pa.array([12.6, 13]), pa.array([1, 0]), r"row 1 of the data, column person_id: is not a whole number"),
        (pa.array([12, 2.0**60]), pa.array([1, 0]), r"row 2 .* floating-point column and lost its last digits"),
        (pa.array([12, 13]), pa.array([0.0, 0.6]), r"row 2 of the data, column label: is not a whole number"),
    ):
        pq.write_table(pa.table({"person_id": person_id, "index_date": days, "label": label}), file)
        with pytest.raises(StudyError, match=message):
            read(file)


def test_the_clock_of_the_machine_does_not_count(tmp_path: Path) -> None:
    """A column with a time zone is read in UTC, wherever the machine stands."""
    moment = pa.array([1420070400000], pa.timestamp("ms", "UTC"))  # 2015-01-01 in UTC
    pq.write_table(pa.table({"person_id": [12], "index_date": moment}), tmp_path / "c.parquet")
    for zone in ("America/Los_Angeles", "Pacific/Auckland"):
        with duckdb.connect() as db:
            db.execute(f"SET TimeZone = '{zone}'")
            rows = handed_in(db, {"file": str(tmp_path / "c.parquet"), "definition": None}, "here")
            assert db.sql(f"SELECT date FROM ({rows})").fetchall() == [(date(2015, 1, 1),)]


def test_rows_of_another_cohort_need_not_be_read(tmp_path: Path) -> None:
    rows = "1,12,2015-01-01\n2,x,soon\n"
    (tmp_path / "c.csv").write_text("cohort_definition_id,subject_id,cohort_start_date\n" + rows)
    assert read(tmp_path / "c.csv", 1) == [(12, date(2015, 1, 1), None, None)]
    with pytest.raises(StudyError, match=r"row 2 of the data, column subject_id"):
        read(tmp_path / "c.csv", 2)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_cohort_with_another_delimiter_and_more_columns(delimiter: str, tmp_path: Path) -> None:
    text = "person_id,index_date,note,note\n12,2015-03-01,a,b\n".replace(",", delimiter)
    (tmp_path / "c.csv").write_text("\ufeff" + text)
    assert read(tmp_path / "c.csv") == [(12, date(2015, 3, 1), None, None)]


@pytest.mark.parametrize(
    "concept",
    ["12.6", "1.2E+01", "1_2", "0x12", "twelve", "", "true", "12 13", "9" * 25, "4,266,367", "\u0661\u0662"],
)
def test_an_id_of_a_concept_set_is_a_whole_number(concept: str, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text(f"concept_id,name\n{concept},x\n", encoding="utf-8")
    with pytest.raises(StudyError, match=r"set\.csv is not a concept set"):
        read_concept_set(tmp_path / "set.csv")


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.floats(), st.booleans(), st.none(), st.text(max_size=5), st.integers()))
def test_an_id_of_a_json_concept_set_is_itself_or_refused(tmp_path_factory: Any, concept: Any) -> None:
    file = tmp_path_factory.mktemp("set") / "set.json"
    file.write_text(json.dumps({"items": [{"concept": {"CONCEPT_ID": concept}}]}))
    try:
        (item,) = read_concept_set(file)
    except StudyError:
        return
    assert str(item.concept_id) == str(concept).strip().lstrip("+").removesuffix(".0").lstrip(
        "0"
    ) or item.concept_id == (float(concept))
    assert not isinstance(concept, bool)
