"""What cannot be read right is refused: one message with the file, the place, what was found and what to do."""

import gzip
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.extract import check_needs, find_tables
from conceptbridge.study.config import read_study
from tiny_extract import GOOD, load, write_extract

ROOT = Path(__file__).parents[2]


def spoil(table: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace ``old`` by ``new`` in a good table."""
    assert old in GOOD[table]
    return lambda folder: write_table(folder, table, GOOD[table].replace(old, new)) and None


def write_table(folder: Path, table: str, text: str) -> Path:
    (folder / f"{table}.csv").write_bytes(text.encode())
    return folder


def text(table: str, content: str | bytes, suffix: str = "csv") -> Callable[[Path], None]:
    """Write ``content`` in place of a good table."""

    def write(folder: Path) -> None:
        (folder / f"{table}.csv").unlink(missing_ok=True)
        (folder / f"{table}.{suffix}").write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def parquet(table: str, **columns: Any) -> Callable[[Path], None]:
    """Write a Parquet table in place of a good one."""

    def write(folder: Path) -> None:
        (folder / f"{table}.csv").unlink(missing_ok=True)
        pq.write_table(pa.table(columns), folder / f"{table}.parquet")

    return write


def cut(table: str, keep: float = 0.6) -> Callable[[Path], None]:
    """A Parquet file of which the end is missing."""

    def write(folder: Path) -> None:
        parquet(table, person_id=list(range(1000)), year_of_birth=[1950] * 1000)(folder)
        data = (folder / f"{table}.parquet").read_bytes()
        (folder / f"{table}.parquet").write_bytes(data[: int(len(data) * keep)])

    return write


def damaged_page(folder: Path) -> None:
    """A Parquet file with its footer, and nonsense in place of values."""
    parquet("person", person_id=list(range(100_000)), year_of_birth=[1950] * 100_000)(folder)
    file = folder / "person.parquet"
    data = bytearray(file.read_bytes())
    data[4 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4)
    file.write_bytes(bytes(data))


def gz(table: str, damage: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    big = GOOD[table] + "".join(f"{n},{n}\n" for n in range(50_000))
    return text(table, damage(gzip.compress(big.encode())), "csv.gz")


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(255 - b for b in data[middle : middle + 40]) + data[middle + 40 :]


CONDITION = "condition_occurrence"
HEADER = GOOD[CONDITION].splitlines()[0]
DEVICE = (
    "device_exposure_id,person_id,device_concept_id,device_exposure_start_date,device_exposure_start_datetime,"
    "device_exposure_end_date,device_exposure_end_datetime,device_type_concept_id,unique_device_id,quantity,provider_id,"
    "visit_occurrence_id,visit_detail_id,device_source_value,device_source_concept_id\n"
)
PLAIN: dict[str, Any] = {}

BAD: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str]] = {
    # ids that are no longer what they were
    "id through a spreadsheet": (
        spoil("person", "9007199254740993", "1.74E+18"),
        PLAIN,
        r"person\.csv: row 2 of the data, column person_id: 1\.74E\+18 .* spreadsheet .*export ids as whole numbers",
    ),
    "id with a decimal comma": (
        spoil("person", "9007199254740993", '"1,74E+18"'),
        PLAIN,
        r"column person_id: 1,74E\+18",
    ),
    "small letters": (spoil(CONDITION, "100,1,", "1e5,1,"), PLAIN, r"row 1 .*column condition_occurrence_id: 1e5"),
    "concept through a spreadsheet": (
        spoil(CONDITION, "4266367", "4.27E+06"),
        PLAIN,
        r"condition_concept_id: 4\.27E\+06",
    ),
    "decimals beyond 2^53": (spoil(CONDITION, "100,1,", "12345678901234567.0,1,"), PLAIN, r"lost its last digits"),
    "visit through a spreadsheet": (
        spoil("visit_occurrence", "11,9", "1.1E+01,9"),
        PLAIN,
        r"column visit_occurrence_id",
    ),
    "float column in Parquet": (
        parquet("person", person_id=[1.0, 2.0**60], year_of_birth=[1980, 1950]),
        PLAIN,
        r"person\.parquet: row 2 of the data, column person_id: 1\.15\S+ went through",
    ),
    "short float column in Parquet": (
        parquet("person", person_id=pa.array([1.0, 2.0**30], pa.float32()), year_of_birth=[1980, 1950]),
        PLAIN,
        r"column person_id: .* floating-point",
    ),
    # dates
    "day before month": (
        spoil(CONDITION, "2015-03-02", "31/03/2015"),
        PLAIN,
        r"condition_start_date: this date has the day before the month \(99/99/9999\).*export dates as YYYY-MM-DD",
    ),
    "day before month with a time": (
        spoil("visit_occurrence", "2016-03-09", "29/3/2016 10:00"),
        PLAIN,
        r"visit_end_date",
    ),
    # headers
    "no header": (
        text("person", "1,8532,1980,2,29,0\n"),
        PLAIN,
        r"person\.csv: line 1 is not a header of person: none of its 6 fields .*`headerless: true` and `cdm_version:`",
    ),
    "headerless without a version": (text("person", "1,8532,1980\n"), {"headerless": True}, r"line 1 is not a header"),
    "headerless with a header": (
        lambda folder: None,
        {"headerless": True, "cdm_version": "5.4"},
        r"line 1 is a header \(person_id \.\.\.\), but the site says `headerless: true`",
    ),
    "headerless of another version": (
        text("person", "1,8532,1980,2,29,0\n"),
        {"headerless": True, "cdm_version": "5.4"},
        r"line 1 has 6 fields, and person of CDM 5\.4 has 18; correct `cdm_version`",
    ),
    "column twice": (
        spoil("person", "gender_concept_id", "PERSON_ID"),
        PLAIN,
        r"person\.csv: line 1 names the column person_id 2 times; keep one",
    ),
    "column twice in Parquet": (
        parquet("person", person_id=[1], PERSON_ID=[2], year_of_birth=[1980]),
        PLAIN,
        r"has the column person_id twice, in different case",
    ),
    "column missing": (
        spoil("person", "year_of_birth", "yob"),
        PLAIN,
        r"person\.csv: the column year_of_birth is missing \(found person_id, .*export it",
    ),
    "column missing in Parquet": (
        parquet("person", person_id=[1], yob=[1980]),
        PLAIN,
        r"person\.parquet: the column year_of_birth is missing \(found person_id, yob",
    ),
    "date missing": (
        spoil("visit_occurrence", "visit_start_date", "start"),
        PLAIN,
        r"the column visit_start_date is missing",
    ),
    "header narrower than version's rows": (
        text(
            "device_exposure",
            "device_exposure_id,quantity,person_id,device_exposure_start_date\n" + "1" + "," * 18 + "\n",
        ),
        PLAIN,
        r"the header has 4 columns and the rows have 19 fields \(line 2\), so it is unknown which field is person_id",
    ),
    "header wider than all rows": (
        text("person", "person_id,year_of_birth,month_of_birth\n1,1980\n2,1950\n"),
        PLAIN,
        r"the header has 3 columns and the rows have 2 fields \(line 2\).*export the table again",
    ),
    "header of other columns": (
        text("person", "person_id,year_of_birth\nF,1980\nM,1950\n"),
        PLAIN,
        r"person\.csv: person_id cannot be read in all rows of person, .*the header does not match the columns",
    ),
    "nobody was born": (
        text("person", "person_id,year_of_birth\n1,\n2,\n"),
        PLAIN,
        r"person\.csv: year_of_birth is empty in all rows of person, and no row can be kept",
    ),
    "header of other columns in events": (
        text(CONDITION, "person_id,condition_start_date\nx,2015-03-02\ny,2015-03-03\n"),
        PLAIN,
        r"person_id cannot be read in all rows of .*the header does not match",
    ),
    "dates that are none": (
        text(CONDITION, "person_id,condition_start_date\n1,March\n1,April\n"),
        PLAIN,
        r"condition_start_date cannot be read in all rows",
    ),
    # files
    "empty file": (text("person", ""), PLAIN, r"person\.csv: the file is empty; export person again"),
    "blank file": (text("visit_occurrence", "\n\n"), PLAIN, r"visit_occurrence\.csv: the file is empty"),
    "header alone": (text("person", "person_id,year_of_birth\n"), PLAIN, r"person\.csv: has no rows; is this"),
    "empty Parquet": (text("person", b"", "parquet"), PLAIN, r"person\.parquet: cannot be read as a person table"),
    "cut Parquet": (
        cut("person"),
        PLAIN,
        r"person\.parquet: cannot be read as a person table: .*copy or export it again",
    ),
    "text called Parquet": (text("person", GOOD["person"], "parquet"), PLAIN, r"cannot be read as a person table"),
    "damaged Parquet": (damaged_page, PLAIN, r"person\.parquet: cannot be read as a person table"),
    "cut gzip": (
        gz(CONDITION, lambda d: d[: len(d) // 2]),
        PLAIN,
        r"\.csv\.gz: this gzip file is damaged .*compress it again",
    ),
    "damaged gzip": (gz(CONDITION, flip), PLAIN, r"this gzip file is damaged"),
    "gzip with a wrong checksum": (gz(CONDITION, lambda d: d[:-8] + b"\0" * 8), PLAIN, r"this gzip file is damaged"),
    "text called gzip": (text(CONDITION, GOOD[CONDITION], "csv.gz"), PLAIN, r"this gzip file is damaged"),
    "Latin-1": (
        text(CONDITION, GOOD[CONDITION].replace("cough", "caf\xe9").encode("latin-1")),
        PLAIN,
        r"condition_occurrence\.csv: line 3 is not UTF-8; export the table in UTF-8",
    ),
    "open quote": (
        text(CONDITION, HEADER + '\n100,1,4266367,2015-03-02,,10,"J11\n101,1,0,2016-03-02,,11,cough\n'),
        PLAIN,
        r"rows run together from line 2 on: a quote opens there and is not closed.*export with doubled quotes",
    ),
    "mixed line ends": (
        text(CONDITION, GOOD[CONDITION].replace("\n", "\r\n", 2)),
        PLAIN,
        r"condition_occurrence\.csv: rows run together from line 3 on: .*one kind of line end",
    ),
    # what is there
    "no person table": (lambda folder: (folder / "person.csv").unlink(), PLAIN, r"no person table \(person\.parquet"),
    "damaged SQLite": (
        text("x", b"SQLite format 3\0" + b"x" * 200, "sqlite"),
        PLAIN,
        r"x\.sqlite: this SQLite file cannot be",
    ),
    "damaged DuckDB": (
        text("x", b"\0" * 8 + b"DUCK" + b"x" * 200, "duckdb"),
        PLAIN,
        r"x\.duckdb: this DuckDB file cannot be",
    ),
    "another database": (
        text("x", b"Standard Jet DB", "db"),
        PLAIN,
        r"x\.db: is neither a SQLite nor a DuckDB file",
    ),
    # on_error: fail
    "fail: unknown person": (
        spoil(CONDITION, "100,1,", "100,3,"),
        {"on_error": "fail"},
        r"row 1 of the data is bad: its person is not in the person table; .*or set `on_error: drop`",
    ),
    "fail: before birth": (
        spoil(CONDITION, "2015-03-02", "1979-03-02"),
        {"on_error": "fail"},
        r"row 1 .*condition_start_date is before the person's birth",
    ),
    "fail: ragged": (
        spoil(CONDITION, "10,J11", "10,J11,,"),
        {"on_error": "fail"},
        r"line 2 is bad: it has more fields than",
    ),
    "fail: sentinel": (spoil(CONDITION, "2015-03-02", "9999-12-31"), {"on_error": "fail"}, r"stands for no date"),
    "fail: repeated": (
        text(CONDITION, GOOD[CONDITION] + GOOD[CONDITION].splitlines()[1] + "\n"),
        {"on_error": "fail"},
        r"row 3 of the data is bad: it repeats another row",
    ),
    "fail: after the extract": (
        lambda folder: None,
        {"on_error": "fail", "last_date": "2016-03-01"},
        r"condition_occurrence\.csv: row 2 .*condition_start_date is after the extract",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_right_is_refused(name: str, tmp_path: Path) -> None:
    change, reading, message = BAD[name]
    change(write_extract(tmp_path / "extract"))
    with pytest.raises(StudyError, match=message) as refused:
        load(tmp_path / "extract", tmp_path / "out", **reading)
    assert "\n" not in str(refused.value)
    assert "1234567" not in str(refused.value)  # nobody's id
    assert [p.name for p in (tmp_path / "out").rglob("*")] == []  # nothing half-written


def test_at_least_forty_distinct_bad_inputs_are_tried() -> None:
    assert len(BAD) >= 40


def test_an_extract_that_is_not_there_or_holds_no_table(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nowhere: does not exist; an extract is a folder or zip"):
        find_tables(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match=r"empty: has no CDM table \(person\.parquet, PERSON\.csv"):
        find_tables(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(StudyError, match=r"notes\.txt: is not a zip file"):
        find_tables(tmp_path / "notes.txt")


def test_a_table_may_be_there_once(tmp_path: Path) -> None:
    write_extract(tmp_path)
    (tmp_path / "PERSON.tsv").write_text("person_id\tyear_of_birth\n1\t1980\n")
    with pytest.raises(StudyError, match=r"has person twice, in PERSON\.tsv and person\.csv; keep one"):
        find_tables(tmp_path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "person_1.csv",
            r"person_1\.csv looks like a part of person\. .*named after the table \(person/person_1\.csv\)",
        ),
        ("PERSON-00000-of-00002.parquet", r"looks like a part of person"),
        ("drug_exposure.part-3.csv.gz", r"looks like a part of drug_exposure"),
        ("observation_period000000000001.csv.gz", r"looks like a part of observation_period"),
        (
            "death/part-0.orc",
            r"death: part-0\.orc is not a part of the table; a folder named after a table holds its parts",
        ),
        ("death/_SUCCESS", r"death: is empty"),
        ("death/_delta_log/0.json", r"death: contains a folder, _delta_log"),
        ("death/year=2020/part-0.parquet", r"death: contains a folder, year=2020"),
        ("person/part-0.csv", r"has person twice"),
    ],
)
def test_parts_that_cannot_be_told_from_other_files(tmp_path: Path, file: str, message: str) -> None:
    write_extract(tmp_path)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("x")
    with pytest.raises(StudyError, match=message):
        find_tables(tmp_path)


def test_parts_in_a_zip_are_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("cdm/person/part-0.csv", GOOD["person"])
    with pytest.raises(StudyError, match=r"cdm/person/part-0\.csv looks like a part of person\. .*an unpacked extract"):
        find_tables(tmp_path / "e.zip")


def test_parts_that_do_not_go_together(tmp_path: Path) -> None:
    parts = write_extract(tmp_path / "text", person=None) / "person"
    parts.mkdir()
    (parts / "a.csv").write_text(GOOD["person"])
    (parts / "b.csv").write_text("year_of_birth,person_id\n1980,3\n")
    with pytest.raises(StudyError, match=r"b\.csv: its header, delimiter or number of fields differs from a\.csv"):
        load(tmp_path / "text", tmp_path / "out")
    parts = write_extract(tmp_path / "parquet", person=None) / "person"
    parts.mkdir()
    for name, kind in (("a", pa.int64()), ("b", pa.float64())):
        pq.write_table(pa.table({"person_id": pa.array([1], kind), "year_of_birth": [1980]}), parts / f"{name}.parquet")
    with pytest.raises(StudyError, match=r"b\.parquet: its columns or their types differ from a\.parquet"):
        load(tmp_path / "parquet", tmp_path / "out")


def test_a_table_that_a_task_needs_has_to_be_there(tmp_path: Path) -> None:
    task = {"index": {"domain": "visit"}, "outcome": {"domain": "measurement"}}
    tables = find_tables(write_extract(tmp_path))
    with pytest.raises(
        StudyError, match=r"the task fever needs the table measurement, and hill's extract does not have it"
    ):
        check_needs("hill", tmp_path, tables, {"fever": task})
    check_needs("hill", tmp_path, tables, {"flu": task | {"outcome": {"domain": "condition"}}})


def test_a_zip_that_cannot_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "e.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cdm/PERSON.csv", GOOD["person"] * 1000)
    data = bytearray((tmp_path / "e.zip").read_bytes())
    data[60:120] = b"\xff" * 60
    (tmp_path / "e.zip").write_bytes(bytes(data))
    with pytest.raises(StudyError, match=r"e\.zip: cdm/PERSON\.csv: cannot be unpacked .*make the zip again"):
        load(tmp_path / "e.zip", tmp_path / "out")


def test_ids_that_a_database_keeps_as_floats(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "e.sqlite") as db:
        db.execute("CREATE TABLE person (person_id REAL, year_of_birth INTEGER)")
        db.execute("INSERT INTO person VALUES (1.74e18, 1980)")
    db.close()
    with pytest.raises(StudyError, match=r"e\.sqlite: person: row 1 of the data, column person_id: 1\.74e\+18"):
        load(tmp_path / "e.sqlite", tmp_path / "out")
    with duckdb.connect(str(tmp_path / "e.duckdb")) as base:
        base.execute("CREATE TABLE person AS SELECT 1.74e18::DOUBLE AS person_id, 1980 AS year_of_birth")
    with pytest.raises(StudyError, match=r"e\.duckdb: main\.person: row 1 of the data, column person_id: 1\.74e\+18"):
        load(tmp_path / "e.duckdb", tmp_path / "out")


def test_a_vocabulary_without_concepts(tmp_path: Path) -> None:
    (tmp_path / "athena").mkdir()
    (tmp_path / "athena" / "CONCEPT_ANCESTOR.csv").write_text("ancestor_concept_id\tdescendant_concept_id\n")
    with pytest.raises(StudyError, match=r"athena: has no CONCEPT\.csv; give the folder of an unpacked Athena"):
        load(write_extract(tmp_path / "e"), tmp_path / "out", vocabulary=tmp_path / "athena")


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ({"headerless": True}, r"sites\.hill: `headerless: true` needs `cdm_version`"),
        ({"cdm_version": "6.0"}, r"sites\.hill\.cdm_version: '6\.0' is not one of"),
        ({"on_error": "ignore"}, r"sites\.hill\.on_error: 'ignore' is not one of drop, fail"),
        ({"last_date": "2020-02-30"}, r"sites\.hill\.last_date: '2020-02-30' is not a date"),
    ],
)
def test_how_a_site_is_read_is_checked_with_the_config(site: dict[str, Any], message: str) -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["sites"] = {"hill": {"extract": "somewhere", **site}}
    with pytest.raises(StudyError, match=message):
        read_study(config)
