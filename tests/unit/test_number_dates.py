"""Dates as numbers are read as what they are, in any format; text that became numbers is text again."""

import sqlite3
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.number_dates import ENCODINGS
from tiny_extract import load, rows

DAY = date(1970, 1, 1)
#: encoding -> the number of a date
NUMBER: dict[str, Callable[[date], float]] = {
    "yyyymmdd": lambda d: float(f"{d:%Y%m%d}"),
    "seconds since 1970": lambda d: (d - DAY).days * 86400 + 3600 * 9,
    "milliseconds since 1970": lambda d: (d - DAY).days * 86400e3,
    "microseconds since 1970": lambda d: (d - DAY).days * 86400e6,
    "nanoseconds since 1970": lambda d: (d - DAY).days * 86400e9,
    "Julian days": lambda d: (d - DAY).days + 2440587.5,
    "days since 1970": lambda d: (d - DAY).days,
    "days of a spreadsheet": lambda d: (d - date(1899, 12, 30)).days,
}


def write(folder: Path, form: str, kind: str, days: list[float | None]) -> Path:
    """An extract whose visits begin on ``days``, a column of numbers of that kind."""
    ids, persons = range(len(days)), {"person_id": [1], "year_of_birth": [1900]}
    whole = [None if d is None else int(d) if kind != "double" else float(d) for d in days]
    if form == "sqlite":
        with sqlite3.connect(folder / "e.sqlite") as db:
            db.execute("CREATE TABLE person (person_id INTEGER, year_of_birth INTEGER)")
            db.execute("INSERT INTO person VALUES (1, 1900)")
            db.execute(
                "CREATE TABLE visit_occurrence (visit_occurrence_id, person_id, visit_start_date NUMERIC, s TEXT)"
            )
            values = [(i, 1, d, "") for i, d in zip(ids, whole, strict=True)]
            db.executemany("INSERT INTO visit_occurrence VALUES (?, ?, ?, ?)", values)
        db.close()
        return folder / "e.sqlite"
    visits = pa.table(
        {
            "visit_occurrence_id": list(ids),
            "person_id": [1] * len(days),
            "visit_start_date": pa.array(whole, pa.float64() if kind == "double" else pa.int64()),
        }
    )
    if form == "duckdb":
        with duckdb.connect(str(folder / "e.duckdb")) as base:
            base.register("visits", visits)
            base.execute("CREATE TABLE visit_occurrence AS FROM visits")
            base.execute("CREATE TABLE person AS SELECT 1 AS person_id, 1900 AS year_of_birth")
        return folder / "e.duckdb"
    pq.write_table(visits, folder / "visit_occurrence.parquet")
    pq.write_table(pa.table(persons), folder / "person.parquet")
    return folder


def test_every_encoding_has_a_number() -> None:
    assert set(NUMBER) == set(ENCODINGS)


@pytest.mark.parametrize("form", ["sqlite", "parquet", "duckdb"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors])
@given(
    st.sampled_from(sorted(NUMBER)),
    st.sampled_from(["double", "int"]),
    st.lists(st.dates(date(1990, 1, 1), date(2030, 12, 31)), min_size=1, max_size=8),
)
def test_an_encoding_is_decided_for_a_column_and_noted(form: str, encoding: str, kind: str, days: list[date]) -> None:
    if kind == "int" and encoding == "Julian days":
        kind = "double"  # a day begins at noon there
    with tempfile.TemporaryDirectory() as place:
        extract = write(Path(place), form, kind, [NUMBER[encoding](day) for day in days])
        cdm, quality = load(extract, Path(place) / "out")
        assert [day for (day,) in rows(cdm, "visit_occurrence", "visit_start_date")] == days
    noted = {f"visit_start_date is a number: read as {encoding}": len(days)}
    assert quality["tables"]["visit_occurrence"]["repaired"] == noted


@pytest.mark.parametrize("encoding", ["yyyymmdd", "seconds since 1970", "milliseconds since 1970", "Julian days"])
def test_dates_that_were_shifted_into_the_future(encoding: str, tmp_path: Path) -> None:
    days = [date(2110, 4, 11) + timedelta(n * 300) for n in range(100)]
    extract = write(tmp_path, "sqlite", "double", [NUMBER[encoding](day) for day in days])
    cdm, _ = load(extract, tmp_path / "out", last_date="2202-12-31")
    assert [day for (day,) in rows(cdm, "visit_occurrence", "visit_start_date")] == days


def test_one_value_does_not_change_what_a_column_is(tmp_path: Path) -> None:
    """20150301 is a second of 1970, too, and 99991231 one of 1973."""
    extract = write(tmp_path, "sqlite", "double", [20150301, 20161231, None, 99991231, 0, 20150229])
    cdm, quality = load(extract, tmp_path / "out")
    assert rows(cdm, "visit_occurrence", "visit_start_date") == [(date(2015, 3, 1),), (date(2016, 12, 31),)]
    assert sum(quality["tables"]["visit_occurrence"]["dropped"].values()) == 4


@pytest.mark.parametrize("numbers", [[2015, 2016], [1, 2, 3], [0.5], [1e300]])
def test_numbers_that_are_no_dates_are_told(numbers: list[float], tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"visit_start_date cannot be read in all rows"):
        load(write(tmp_path, "sqlite", "double", numbers), tmp_path / "out")  # type: ignore[arg-type]


def test_a_date_of_eight_digits_that_went_through_pandas(tmp_path: Path) -> None:
    (tmp_path / "person.csv").write_text("person_id,year_of_birth\n1,1950\n")
    text = "visit_occurrence_id,person_id,visit_start_date,visit_end_date\n1,1,20150301.0,20150302.0\n2,1,20150301,\n"
    (tmp_path / "visit_occurrence.csv").write_text(text)
    cdm, quality = load(tmp_path, tmp_path / "out")
    assert rows(cdm, "visit_occurrence", "visit_start_date", "visit_end_date") == [
        (date(2015, 3, 1), date(2015, 3, 2)),
        (date(2015, 3, 1), None),
    ]
    assert quality["tables"]["visit_occurrence"]["repaired"] == {}


@pytest.mark.parametrize("form", ["sqlite", "parquet", "duckdb", "decimal"])
def test_text_that_became_numbers_has_no_point(form: str, tmp_path: Path) -> None:
    values: list[Any] = [65363002.0, 250.25, None, 4e9]
    if form == "sqlite":
        extract = tmp_path / "e.sqlite"
        with sqlite3.connect(extract) as db:
            db.execute("CREATE TABLE person (person_id INTEGER, year_of_birth INTEGER, race_source_value)")
            db.executemany("INSERT INTO person VALUES (?, 1950, ?)", list(enumerate(values)))
        db.close()
    else:
        extract = tmp_path / ("e.duckdb" if form == "duckdb" else "person.parquet")
        kind = "DECIMAL(18, 2)" if form == "decimal" else "DOUBLE"
        base = duckdb.connect(str(extract) if form == "duckdb" else ":memory:")
        listed = ", ".join(f"({n}, {'NULL' if v is None else v}::{kind})" for n, v in enumerate(values))
        select = f"SELECT person_id, 1950 AS year_of_birth, race FROM (VALUES {listed}) t(person_id, race)"
        base.execute(f"CREATE TABLE person AS {select.replace('race FROM', 'race AS race_source_value FROM')}")
        if form != "duckdb":
            base.execute(f"COPY person TO '{extract}'")
        base.close()
    cdm, _ = load(extract if extract.suffix != ".parquet" else tmp_path, tmp_path / "out")
    assert [v for (v,) in rows(cdm, "person", "race_source_value")] == ["65363002", "250.25", None, "4000000000"]
