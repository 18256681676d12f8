"""Extracts of random dialect, dirt and ids: what was good survives unchanged, and nothing else does."""

import csv
import gzip
import tempfile
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptbridge.core.errors import StudyError
from conceptbridge.sites import typed
from tiny_extract import assert_adds_up, load, rows

NULLS = ["", "NULL", "null", "\\N", "NA", "#N/A", "nan", "NaN", "None", "<NA>", "NaT", "n/a", " null ", "(NULL)"]
#: no text of a record is one, in any case and between any spaces
SPELLINGS = {null.strip().lower() for null in NULLS} | set(typed.NULLS)
LAST = date(2020, 12, 31)
ID = st.integers(-(2**63), 2**63 - 1)
COLUMNS = [
    "condition_occurrence_id",
    "person_id",
    "condition_concept_id",
    "condition_start_date",
    "condition_end_date",
    "visit_occurrence_id",
    "condition_source_value",
]
#: a date as text; written with the year first, or with the month first
DATES = [
    "{:%Y-%m-%d}",
    "{:%Y%m%d}",
    "{:%Y-%m-%d} 23:59:59",
    "{:%Y-%m-%d}T23:59:59.123Z",
    "{:%Y-%m-%d} 00:30:00-08:00",
    "{0.month}/{0.day}/{0.year}",
    "{0.month:02}/{0.day:02}/{0.year} 1:00",
    "{:%Y/%m/%d}",
]
#: what is wrong with a row -> reason
DIRT = {
    "stranger": "its person is not in the person table",
    "before birth": "condition_start_date is before the person's birth",
    "after": "condition_start_date is after the extract",
    "sentinel": "condition_start_date stands for no date (before 1900-01-02 or after 2098-12-31)",
    "no date": "condition_start_date is empty",
    "no sense": "condition_start_date cannot be read",
    "no person": "person_id is empty",
    "repeated": "it repeats another row",
    "wide": "it has more fields than the header",
    "narrow": "it has fewer fields than the header",
}
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\",;|'"), max_size=12).filter(
    lambda text: text.strip().lower() not in SPELLINGS
)


@st.composite
def extracts(draw: st.DrawFn) -> dict[str, Any]:
    """Persons, condition rows each with what is wrong with it (None: nothing), and the dialect they are written in."""
    persons = draw(st.lists(ID, min_size=2, max_size=5, unique=True))
    form = draw(st.sampled_from(["csv", "csv.gz", "tsv", "parquet"]))
    dirt = st.sampled_from([None, None, *(d for d in DIRT if form != "parquet" or d not in ("wide", "narrow"))])
    ids = draw(st.lists(ID, max_size=25, unique=True))
    text = WORDS if form != "tsv" else WORDS.map(lambda t: t.replace("\n", " ").replace('"', "'"))
    conditions = []
    for number in ids:
        day = draw(st.dates(date(1951, 1, 1), LAST))
        end = draw(st.none() | st.integers(0, 30).map(lambda n, day=day: day + timedelta(n)))
        row = [number, draw(st.sampled_from(persons)), draw(ID), day, end, draw(st.none() | ID), draw(st.none() | text)]
        conditions.append((row, draw(dirt)))
    return {
        "persons": persons,
        "stranger": draw(ID.filter(lambda i: i not in persons)),
        "conditions": conditions,
        "form": form,
        "null": draw(st.sampled_from(NULLS)),
        "date": draw(st.sampled_from(DATES)),
        "delimiter": "\t" if form == "tsv" else draw(st.sampled_from(",;|")),
        "upper": draw(st.booleans()),
        "ends": draw(st.sampled_from(["\n", "\r\n"])),
        "order": draw(st.permutations(range(len(COLUMNS)))),
    }


def spoiled(row: list[Any], dirt: str | None, e: dict[str, Any]) -> list[Any]:
    row = list(row)
    bad = {"before birth": date(1949, 12, 31), "after": date(2021, 1, 1), "no date": None, "no sense": "yesterday"}
    if dirt == "stranger":
        row[1] = e["stranger"]
    elif dirt == "no person":
        row[1] = None
    elif dirt == "sentinel":
        row[3] = date(2099, 12, 31)
    elif dirt in bad:
        row[3] = bad[dirt]
    return row


def write(folder: Path, e: dict[str, Any]) -> list[list[Any]]:
    """Write the extract; return the rows that have to survive, in order."""
    good, lines = [], []
    for row, dirt in e["conditions"]:
        given_row = spoiled(row, dirt, e)
        line = [_text(given_row[n], e) for n in e["order"]]
        if dirt in (None, "repeated"):
            good.append(row)
        if dirt == "repeated":
            lines.append(line)
        lines.append([*line, "x"] if dirt == "wide" else line[:-1] if dirt == "narrow" else line)
    header = [COLUMNS[n].upper() if e["upper"] else COLUMNS[n] for n in e["order"]]
    person = ["person_id,year_of_birth", *(f"{i},1950" for i in e["persons"])]
    (folder / "person.csv").write_text("\n".join(person) + "\n")
    target = folder / f"condition_occurrence.{e['form']}"
    if e["form"] == "parquet":
        values = [
            pa.array([None if v in NULLS else v for v in column], pa.string()) for column in zip(*lines, strict=True)
        ]
        pq.write_table(pa.table(values or [pa.array([], pa.string())] * len(header), names=header), target)
        return good
    with (gzip.open if e["form"] == "csv.gz" else open)(target, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=e["delimiter"], lineterminator=e["ends"])
        writer.writerows([header, *lines])
    return good


def _text(value: Any, e: dict[str, Any]) -> str:
    if value is None:
        return str(e["null"])
    return str(e["date"].format(value)) if isinstance(value, date) else str(value)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(extracts())
def test_what_was_good_survives_unchanged_and_nothing_else_does(e: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "extract"
        folder.mkdir()
        good = write(folder, e)
        kinds = Counter(dirt for _, dirt in e["conditions"] if dirt)
        if len(e["conditions"]) == kinds["wide"] + kinds["narrow"]:
            return  # a file without one row that fits its header is refused: test_sites_bad.py
        if e["conditions"] and not good:
            with pytest.raises(StudyError, match="no row can be kept"):
                load(folder, Path(place) / "out", last_date=LAST.isoformat())
            return
        cdm, quality = load(folder, Path(place) / "out", last_date=LAST.isoformat())
        found = rows(cdm, "condition_occurrence", *COLUMNS)
        assert found == [tuple(row) for row in good]
        assert quality["tables"]["condition_occurrence"]["dropped"] == {DIRT[d]: n for d, n in kinds.items()}
        assert quality["tables"]["condition_occurrence"]["repaired"] == {}
        assert_adds_up(quality)
        assert {row[0] for row in rows(cdm, "person", "person_id")} == set(e["persons"])
