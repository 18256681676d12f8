"""Any extract becomes the same typed site: formats, dialects, versions, and an account of every row."""

import gzip
import hashlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.cdm import REQUIRED, TABLES
from conceptbridge.sites.extract import extract_files, find_tables
from conceptbridge.sites.versions import COLUMNS
from tiny_extract import GOOD, assert_adds_up, load, rows, write_extract

BIG = 9007199254740993  # 2^53 + 1, which no float holds
ROOT = Path(__file__).parents[2]


def expected(cdm: Path) -> None:
    """What ``GOOD`` says, in the order in which it says it."""
    assert rows(cdm, "person", "person_id", "year_of_birth", "month_of_birth") == [(1, 1980, 2), (BIG, 1950, None)]
    assert rows(
        cdm,
        "condition_occurrence",
        "person_id",
        "condition_concept_id",
        "condition_start_date",
        "condition_source_value",
    ) == [(1, 4266367, date(2015, 3, 2), "J11"), (BIG, 0, date(2016, 3, 2), "cough, dry")]
    assert rows(cdm, "visit_occurrence", "visit_occurrence_id", "visit_end_date") == [
        (10, date(2015, 3, 1)),
        (11, date(2016, 3, 9)),
    ]


def as_parquet(folder: Path) -> Path:
    for file in folder.glob("*.csv"):
        pq.write_table(pc.read_csv(file), file.with_suffix(".parquet"))
        file.unlink()
    return folder


def as_upper_tsv(folder: Path) -> Path:
    for file in folder.glob("*.csv"):
        lines = [line.split(",", 6) for line in file.read_text().splitlines()]
        text = "\n".join(
            "\t".join(lines[0]).upper().split("\n") + ["\t".join(line).replace('"', "") for line in lines[1:]]
        )
        (folder / f"{file.stem.upper()}.TSV").write_text(text + "\n")
        file.unlink()
    return folder


def as_gzip(folder: Path) -> Path:
    for file in folder.glob("*.csv"):
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    return folder


def as_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.glob("*.csv"):
            archive.write(file, f"export 2024/{file.name.upper()}")
    return folder.with_suffix(".zip")


def as_duckdb(folder: Path) -> Path:
    with duckdb.connect(str(folder.with_suffix(".duckdb"))) as db:
        db.execute("CREATE SCHEMA cdm")
        for file in folder.glob("*.csv"):
            db.execute(f"CREATE TABLE cdm.{file.stem.upper()} AS FROM '{file}'")
        db.execute("ALTER TABLE cdm.VISIT_OCCURRENCE RENAME TO v")
        db.execute("CREATE VIEW cdm.visit_occurrence AS FROM cdm.v")
    return folder.with_suffix(".duckdb")


def as_sqlite(folder: Path) -> Path:
    with sqlite3.connect(folder.with_suffix(".db")) as db:
        for file in folder.glob("*.csv"):
            table = pc.read_csv(file)
            db.execute(f"CREATE TABLE {file.stem} ({', '.join(table.column_names)})")
            # dates as R writes them: seconds since 1970
            values = [
                tuple((v - date(1970, 1, 1)).days * 86400.0 if isinstance(v, date) else v for v in row.values())
                for row in table.to_pylist()
            ]
            db.executemany(f"INSERT INTO {file.stem} VALUES ({', '.join('?' * table.num_columns)})", values)
    db.close()
    return folder.with_suffix(".db")


def mixed(folder: Path) -> Path:
    """Persons in a database, visits zipped with gzip, the rest as it is."""
    with sqlite3.connect(folder / "persons.sqlite") as db:
        db.execute("CREATE TABLE Person (PERSON_ID INTEGER, year_of_birth INTEGER, month_of_birth INTEGER)")
        db.executemany("INSERT INTO Person VALUES (?, ?, ?)", [(1, 1980, 2), (BIG, 1950, None)])
    db.close()
    (folder / "person.csv").unlink()
    visits = folder / "visit_occurrence.csv"
    (folder / "Visit_Occurrence.CSV.GZ").write_bytes(gzip.compress(visits.read_bytes()))
    visits.unlink()
    return folder


def with_datetimes(folder: Path) -> Path:
    """No column is a date: each has a time, in another name."""
    for file in folder.glob("*.csv"):
        header, *lines = file.read_text().splitlines()
        timed = [re.sub(r"(\d{4}-\d{2}-\d{2})", r"\1 23:59:59", line) for line in lines]
        file.write_text("\n".join([header.replace("_date", "_datetime"), *timed]) + "\n")
    return folder


def in_parts(folder: Path) -> Path:
    """Each table as a folder of two or more gzipped parts, each with the header."""
    for file in folder.glob("*.csv"):
        header, *lines = file.read_text().splitlines(keepends=True)
        (folder / file.stem.upper()).mkdir()
        for n, line in enumerate(lines):
            (folder / file.stem.upper() / f"part-{n}.csv.gz").write_bytes(gzip.compress((header + line).encode()))
        (folder / file.stem.upper() / "_SUCCESS").touch()
        file.unlink()
    return folder


def in_parquet_parts(folder: Path) -> Path:
    for file in as_parquet(folder).glob("*.parquet"):
        table = pq.read_table(file)
        file.with_suffix("").mkdir()
        for n in range(len(table)):
            pq.write_table(table[n : n + 1], file.with_suffix("") / f"part-{n}.snappy.parquet")
        file.unlink()
    return folder


@pytest.mark.parametrize(
    "form",
    [
        lambda f: f,
        as_parquet,
        as_upper_tsv,
        as_gzip,
        as_zip,
        as_duckdb,
        as_sqlite,
        mixed,
        with_datetimes,
        lambda f: as_parquet(with_datetimes(f)),
        lambda f: as_duckdb(with_datetimes(f)),
        in_parts,
        in_parquet_parts,
    ],
    ids=lambda f: f.__name__,
)
def test_the_same_content_in_any_format(form: Any, tmp_path: Path) -> None:
    cdm, quality = load(form(write_extract(tmp_path / "extract")), tmp_path / "out")
    expected(cdm)
    assert_adds_up(quality)
    assert not any(counts["dropped"] for counts in quality["tables"].values())


@pytest.mark.parametrize(
    ("change", "table"),
    [
        (lambda t: t.replace(",", ";").replace('"cough; dry"', "cough, dry"), "condition_occurrence"),
        (lambda t: t.replace("\n", "\r\n"), "condition_occurrence"),
        (lambda t: "\ufeff" + t, "person"),
        (lambda t: t.encode("utf-16"), "visit_occurrence"),
        (lambda t: t.replace("visit_end_date", "\"date(visit_end_date,'unixepoch')\""), "visit_occurrence"),
        (lambda t: t.replace("visit_start_date", " Visit_Start_Date "), "visit_occurrence"),
        (lambda t: t.replace("2015-03-01", "20150301").replace("2016-03-09", "3/9/2016"), "visit_occurrence"),
        (
            lambda t: t.replace("2015-03-01", "2015-03-01 23:59:59").replace("-03-09", "-03-09T01:00:00+02:00"),
            "visit_occurrence",
        ),
        (lambda t: t.replace("1950,,,", "1950,\\N,NULL,"), "person"),
        (lambda t: t.replace("1950,,,", "1950,NA,#N/A,"), "person"),
        (lambda t: t.replace("1,8532,1980,2,", "1.0,8532,1980.0,2,"), "person"),
        (lambda t: t.replace("\n", ",\n").replace("\n1", "\n1", 1), "person"),
    ],
)
def test_the_same_content_in_any_dialect(change: Any, table: str, tmp_path: Path) -> None:
    cdm, quality = load(write_extract(tmp_path / "e", **{table: change(GOOD[table])}), tmp_path / "out")
    expected(cdm)
    assert not any(counts["dropped"] for counts in quality["tables"].values())


def test_an_id_of_64_bits_stays_itself(tmp_path: Path) -> None:
    ids = [BIG, BIG + 1, -BIG, -(2**63), 2**63 - 1, -1, 0]
    for form in ("csv", "parquet"):
        folder = tmp_path / form
        folder.mkdir()
        table = pa.table({"person_id": ids, "year_of_birth": [1950] * len(ids)})
        write = pq.write_table if form == "parquet" else pc.write_csv
        write(table, folder / f"person.{form}")
        cdm, _ = load(folder, tmp_path / f"{form}-out")
        assert [row[0] for row in rows(cdm, "person", "person_id")] == ids


def test_types_that_databases_export(tmp_path: Path) -> None:
    """NUMBER(38,0), timestamps, times with a zone, text without a character set."""
    write_extract(tmp_path / "e", visit_occurrence=None)
    with duckdb.connect() as db:
        db.execute(
            f"""COPY (SELECT 10::DECIMAL(38, 0) AS "Visit_Occurrence_ID", 1::HUGEINT AS PERSON_ID,
            '9203'::BLOB AS visit_concept_id, TIMESTAMP '2015-03-01 23:00:00' AS visit_start_date,
            TIMESTAMPTZ '2015-03-01 23:00:00+00' AS visit_end_date)
            TO '{tmp_path / "e" / "visit_occurrence.parquet"}'"""
        )
    cdm, _ = load(tmp_path / "e", tmp_path / "out")
    assert rows(cdm, "visit_occurrence", "* EXCLUDE visit_source_value") == [
        (10, 1, 9203, date(2015, 3, 1), date(2015, 3, 1))
    ]


@pytest.mark.parametrize("version", COLUMNS)
def test_files_without_header_are_read_by_their_version(version: str, tmp_path: Path) -> None:
    for table in ("person", "visit_occurrence", "condition_occurrence"):
        lines = [line.replace('"cough, dry"', "cough dry").split(",") for line in GOOD[table].splitlines()]
        given = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        text = "\n".join(",".join(row.get(column, "") for column in COLUMNS[version][table]) for row in given)
        (tmp_path / f"{table}.csv").write_text(text + "\n")
    cdm, _ = load(tmp_path, tmp_path / "out", headerless=True, cdm_version=version)
    columns = ("person_id", "visit_occurrence_id", "condition_source_value", "condition_status_concept_id")
    assert rows(cdm, "condition_occurrence", *columns) == [(1, 10, "J11", None), (BIG, 11, "cough dry", None)]


def test_the_schema_is_one_table_that_every_version_knows() -> None:
    for table, columns in TABLES.items():
        assert set(REQUIRED[table]) <= set(columns)
        for version in COLUMNS.values():
            assert set(columns) <= set(version[table])


def test_every_bad_row_has_one_reason(tmp_path: Path) -> None:
    header, good, _ = GOOD["condition_occurrence"].splitlines()
    bad = {
        "101,2,0,2015-03-02,,10,x": "its person is not in the person table",
        "102,1,0,1980-02-28,,10,x": "condition_start_date is before the person's birth",
        "103,1,0,2019-01-02,,10,x": "condition_start_date is after the extract",
        "104,1,0,9999-12-31,,10,x": "condition_start_date stands for no date (before 1900-01-02 or after 2098-12-31)",
        "105,1,0,1900-01-01,,10,x": "condition_start_date stands for no date (before 1900-01-02 or after 2098-12-31)",
        "106,1,0,,,10,x": "condition_start_date is empty",
        "107,1,0,soon,,10,x": "condition_start_date cannot be read",
        "108,x,0,2015-03-02,,10,x": "person_id cannot be read",
        "109,1,0,2015-03-02,,10,x,y": "it has more fields than the header",
        "110,1,0,2015-03-02,,10": "it has fewer fields than the header",
        '111,1,0,2015-03-02,,10,"x"y': "a quote in it is neither closed nor doubled",
        good: "it repeats another row",
    }
    text = "\n".join([header, good, *bad]) + "\n"
    cdm, quality = load(
        write_extract(tmp_path / "e", condition_occurrence=text), tmp_path / "out", last_date="2019-01-01"
    )
    counts = quality["tables"]["condition_occurrence"]
    assert counts["dropped"] == {reason: list(bad.values()).count(reason) for reason in counts["dropped"]}
    assert set(counts["dropped"]) == set(bad.values())
    assert rows(cdm, "condition_occurrence", "condition_occurrence_id") == [(100,)]
    assert_adds_up(quality)


def test_what_can_be_set_right_is_set_right_and_counted(tmp_path: Path) -> None:
    person = GOOD["person"].replace("1980,2,29", "1980,13,32")
    visits = GOOD["visit_occurrence"].replace("2016-03-09", "2016-02-09").replace("2015-03-01\n", "9999-12-31\n")
    conditions = GOOD["condition_occurrence"].replace(",10,J11", ",ten,J11")
    periods = GOOD["observation_period"].replace("1,1,2010", "1,1,1970")
    extract = write_extract(
        tmp_path / "e",
        person=person,
        visit_occurrence=visits,
        condition_occurrence=conditions,
        observation_period=periods,
    )
    cdm, quality = load(extract, tmp_path / "out")
    assert rows(cdm, "person", "month_of_birth", "day_of_birth")[0] == (None, None)
    assert rows(cdm, "visit_occurrence", "visit_end_date") == [(None,), (None,)]
    assert rows(cdm, "observation_period", "observation_period_start_date")[0] == (date(1980, 1, 1),)
    assert rows(cdm, "condition_occurrence", "visit_occurrence_id") == [(None,), (11,)]
    assert {table: counts["repaired"] for table, counts in quality["tables"].items() if counts["repaired"]} == {
        "person": {"month_of_birth is not a month: left empty": 1, "day_of_birth is not a day: left empty": 1},
        "observation_period": {"observation_period_start_date is before the person's birth: cut to it": 1},
        "visit_occurrence": {
            "visit_end_date stands for no date: left empty": 1,
            "visit_end_date is before visit_start_date: left empty": 1,
        },
        "condition_occurrence": {"visit_occurrence_id cannot be read: left empty": 1},
    }


def test_a_person_and_a_concept_stand_once(tmp_path: Path) -> None:
    """Otherwise every join would multiply their rows; the first one stays."""
    person = GOOD["person"] + "1,8507,1981,1,1,0\n"
    concept = GOOD["concept"] + "4266367,Flu,Condition,SNOMED,S,6142004\n"
    cdm, quality = load(write_extract(tmp_path / "e", person=person, concept=concept), tmp_path / "out")
    expected(cdm)
    assert rows(cdm, "concept", "concept_name") == [("Influenza",)]
    assert quality["tables"]["person"]["dropped"] == {"its person_id is another row's": 1}
    assert quality["tables"]["concept"]["dropped"] == {"its concept_id is another row's": 1}


def test_rows_wider_than_their_header_never_shift_a_column(tmp_path: Path) -> None:
    """The header is CDM 5.3's, the rows are 5.4's: production_id comes in between."""
    row = ["1", "1", "4217646", "2015-03-01", "", "2015-03-02", "", "32812", "uid", "lot 7", "2", "77", "10"]
    text = ",".join(COLUMNS["5.3"]["device_exposure"]) + "\n" + ",".join(row + [""] * 6) + "\n"
    cdm, quality = load(write_extract(tmp_path / "e", device_exposure=text), tmp_path / "out")
    assert rows(cdm, "device_exposure") == [(1, 1, None, 4217646, date(2015, 3, 1), date(2015, 3, 2), None)]
    (reason,) = quality["tables"]["device_exposure"]["repaired"]
    assert "columns whose place is in doubt" in reason
    # what no version explains is not believed
    text = GOOD["condition_occurrence"].splitlines()[0] + "\n100,1,0,2015-03-02,,10,pain, left,\n"
    with pytest.raises(StudyError, match="it has more fields than the header in all rows of condition_occurrence"):
        load(write_extract(tmp_path / "f", condition_occurrence=text), tmp_path / "out2")


def test_what_is_odd_in_kept_rows_is_counted(tmp_path: Path) -> None:
    conditions = GOOD["condition_occurrence"] + "102,1,999,2015-03-02,,12,\n103,1,998,2015-03-02,,0,R05\n"
    _, quality = load(write_extract(tmp_path / "e", condition_occurrence=conditions), tmp_path / "out")
    assert quality["tables"]["condition_occurrence"]["noted"] == {
        "its visit is not in the visit table": 1,
        "its concept is 0": 1,
        "its concept has no name": 2,
    }
    assert quality["events"]["condition"] == {
        "rows": 4,
        "unmapped_share": 0.25,
        "named_share": 0.25,
        "named_by_source_share": 0.5,
        "years": [2015, 2015, 2016],
    }
    assert (quality["persons"], quality["visits"]) == (2, 2)


def test_names_come_from_the_extract_then_from_the_vocabulary(tmp_path: Path) -> None:
    athena = tmp_path / "athena"
    athena.mkdir()
    (athena / "CONCEPT.csv").write_text(
        "concept_id\tconcept_name\tdomain_id\tvocabulary_id\tconcept_class_id\tstandard_concept\tconcept_code\t"
        "valid_start_date\tvalid_end_date\tinvalid_reason\n"
        '999\t12" stent, "large\tDevice\tSNOMED\tx\tS\t1\t19700101\t20991231\t\n'
        "4266367\tAnother name\tCondition\tSNOMED\tx\tS\t6142004\t19700101\t20991231\t\n"
        "998\tCough\tCondition\tSNOMED\tx\tS\t2\t19700101\t20991231\t\n"
        "1\tSymptom\tCondition\tSNOMED\tx\tS\t3\t19700101\t20991231\t\n"
        "2\tNobody uses this\tCondition\tSNOMED\tx\tS\t4\t19700101\t20991231\t\n"
    )
    (athena / "CONCEPT_ANCESTOR.csv").write_text(
        "ancestor_concept_id\tdescendant_concept_id\tmin_levels_of_separation\tmax_levels_of_separation\n"
        "1\t998\t1\t1\n1\t997\t1\t1\n"
    )
    conditions = GOOD["condition_occurrence"] + "102,1,999,2015-03-02,,10,\n103,1,998,2015-03-02,,10,R05\n"
    concept = GOOD["concept"] + "998,,Condition,SNOMED,S,2\n"
    extract = write_extract(tmp_path / "e", condition_occurrence=conditions, concept=concept)
    cdm, quality = load(extract, tmp_path / "out", vocabulary=athena)
    assert rows(cdm, "concept", "concept_id", "concept_name") == [
        (1, "Symptom"),  # nobody's, but an ancestor: a roll-up needs it
        (998, "Cough"),
        (999, '12" stent, "large'),
        (4266367, "Influenza"),
    ]
    assert rows(cdm, "concept_ancestor", "ancestor_concept_id", "descendant_concept_id") == [(1, 998)]
    # sexes and kinds of visit are concepts, too
    assert quality["names"] == {
        "concepts_in_use": 7,
        "named_by_the_extract": 1,
        "named_by_the_vocabulary": 2,
        "ancestors_from_the_vocabulary": 1,
    }


def test_the_output_is_the_same_bytes_again_and_on_any_number_of_threads(tmp_path: Path) -> None:
    """Also where rows have to be dropped by a join with a longer table of persons."""
    with duckdb.connect() as db:
        db.execute(
            f"COPY (SELECT i AS person_id, 1950 AS year_of_birth FROM range(400_000) t(i)) TO '{tmp_path}/person.csv'"
        )
        db.execute(
            f"""
            COPY (SELECT 7919 * i % 300_007 AS measurement_id, 31 * i % 450_000 AS person_id,
                         3 AS measurement_concept_id, 'S' || i % 7 AS measurement_source_value,
                         DATE '2015-01-01' + (i % 999)::INT AS measurement_date
                  FROM range(300_000) t(i)) TO '{tmp_path}/measurement.parquet' (ROW_GROUP_SIZE 20_000)
            """
        )
    sums = []
    for threads in (1, 2, 4):
        cdm, quality = load(tmp_path, tmp_path / "out", threads=threads)
        sums.append({file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in cdm.iterdir()})
    assert sums[0] == sums[1] == sums[2]
    kept = [i for i in range(300_000) if 31 * i % 450_000 < 400_000]
    unknown = {"its person is not in the person table": 300_000 - len(kept)}
    assert quality["tables"]["measurement"]["dropped"] == unknown
    assert [row[0] for row in rows(cdm, "measurement", "measurement_id")] == [7919 * i % 300_007 for i in kept]


def test_a_killed_ingest_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    with duckdb.connect() as db:
        db.execute(
            f"COPY (SELECT i AS person_id, 1950 AS year_of_birth FROM range(2_000_000) t(i)) TO '{tmp_path}/person.csv'"
        )
    script = ROOT / "workflow/scripts/ingest.py"
    command = [sys.executable, script, "--extract", tmp_path, "--cdm", tmp_path / "site/cdm", "--reading", "{}"]
    command += ["--quality", tmp_path / "site/quality.json"]
    for wait in (0.2, 0.1, 0.5):
        status = 0
        while status == 0:  # sooner where it was faster
            shutil.rmtree(tmp_path / "site", ignore_errors=True)
            child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            while not list((tmp_path / "site").glob(".cdm.*/*")) and child.poll() is None:
                time.sleep(0.01)
            time.sleep(wait)
            child.send_signal(signal.SIGKILL)
            status = child.wait()
            wait /= 2
        assert status == -signal.SIGKILL
        assert not (tmp_path / "site/cdm").exists()
        assert not (tmp_path / "site/quality.json").exists()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert sorted(p.name for p in (tmp_path / "site").iterdir()) == ["cdm", "quality.json"]
    assert sorted(p.stem for p in (tmp_path / "site/cdm").iterdir()) == sorted(TABLES)


def test_the_files_of_an_extract_are_listed(tmp_path: Path) -> None:
    write_extract(tmp_path)
    (tmp_path / "LICENSE.txt").write_text("x")
    (tmp_path / "drug_era.csv").write_text("x")
    assert [file.name for file in extract_files(find_tables(tmp_path))] == sorted(f"{table}.csv" for table in GOOD)


def test_bad_rows_of_every_part_are_counted_and_left_out(tmp_path: Path) -> None:
    header, *good = GOOD["condition_occurrence"].splitlines(keepends=True)
    bad = "102,5,1,2015-03-02,,,\n", "103,1\n", "104,1,1,1979-01-01,,,\n"
    parts = write_extract(tmp_path / "text", condition_occurrence=None) / "condition_occurrence"
    parts.mkdir()
    for n, line in enumerate(good):
        (parts / f"{n}.csv").write_text("".join([header, bad[0], bad[1], line, bad[2]]))
    cdm, quality = load(tmp_path / "text", tmp_path / "out")
    expected(cdm)
    assert quality["tables"]["condition_occurrence"]["file"] == "condition_occurrence"
    assert quality["tables"]["condition_occurrence"]["dropped"] == {
        "it has fewer fields than the header": 2,
        "its person is not in the person table": 2,
        "condition_start_date is before the person's birth": 2,
    }
    assert_adds_up(quality)
    assert [f.name for f in extract_files(find_tables(tmp_path / "text")) if f.parent == parts] == ["0.csv", "1.csv"]


def test_rows_are_dropped_from_the_right_part(tmp_path: Path) -> None:
    parts = write_extract(tmp_path / "e", condition_occurrence=None) / "condition_occurrence"
    parts.mkdir()
    for n in range(3):
        ids = range(10 * n, 10 * n + 10)
        persons = [7 if i == 14 else 1 for i in ids]
        columns = {"condition_occurrence_id": ids, "person_id": persons, "condition_start_date": ["2015-03-02"] * 10}
        pq.write_table(pa.table({k: pa.array(v) for k, v in columns.items()}), parts / f"{n}.parquet")
    cdm, _ = load(tmp_path / "e", tmp_path / "out")
    assert [i for (i,) in rows(cdm, "condition_occurrence", "condition_occurrence_id")] == [*range(14), *range(15, 30)]


def test_numbers_that_are_bounds_and_ranges_that_cannot_be_right_are_noted(tmp_path: Path) -> None:
    rows = [
        (4171756, 5, 0, 5, "<5"),
        (0, 5, 0, 0, "<5"),
        ("", 5, 9, 3, "5"),
        (4172703, 5, 1, 9, "5"),
        (0, "", 0, 0, "<5"),
    ]
    lines = [f"{n},1,3004501,2015-03-01,{','.join(map(str, row))}" for n, row in enumerate(rows)]
    head = "measurement_id,person_id,measurement_concept_id,measurement_date,operator_concept_id,value_as_number,"
    table = "\n".join([f"{head}range_low,range_high,value_source_value", *lines, ""])
    _, quality = load(write_extract(tmp_path / "extract", measurement=table), tmp_path / "out")
    noted = {
        reason: n
        for reason, n in quality["tables"]["measurement"]["noted"].items()
        if "number" in reason or "range" in reason
    }
    assert noted == {
        "its number is a bound (<, <=, >, >=), not a value": 2,
        "its reference range cannot be right (0 alone, or not in order): not used": 2,
    }
