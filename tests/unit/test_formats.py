"""The file formats of an extract: what each declares, and one of another package."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.extract import find_tables
from conceptbridge.sites.formats.format import FORMATS, find_format, format_of
from tiny_extract import load, rows, write_extract
from toy_package import installed_package


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_declaration_holds_together(name: str) -> None:
    one = find_format(name)
    assert one.name == name
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in one.suffixes)
    assert one.suffixes or one.holds == "files"  # an archive may be known by its content alone


def test_a_file_is_known_by_the_longest_end_of_its_name() -> None:
    names = ("b/A.CSV.GZ", "a.parquet", "a.db")
    known = [(match[0].name, match[1]) if (match := format_of(name)) else None for name in names]
    assert known == [("text", ".csv.gz"), ("parquet", ".parquet"), None]  # a database holds more than one table


def test_listing_the_tables_of_files_imports_nothing_heavy(tmp_path: Path) -> None:
    write_extract(tmp_path)
    code = (
        "import sys; from pathlib import Path; from conceptbridge.sites.extract import find_tables; "
        f"find_tables(Path({str(tmp_path)!r})); print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"duckdb", "pyarrow", "numpy", "pandas"} & set(told)


TOY = """
from conceptbridge.sites.formats.format import Format, relation_source


class Lines(Format):
    name = "lines"
    title = "JSON lines"
    suffixes = (".jsonl",)

    def open(self, db, stored):
        listed = ", ".join(f"'{file}'" for file in stored.files)
        return relation_source(db, stored.table, stored.place, f"read_json_auto([{listed}])", None)
"""


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Path]:
    """The file of another package's format, installed."""
    with installed_package(
        tmp_path / "site-packages", "toy", "lines = toy:Lines", "conceptbridge.formats", toy=TOY
    ) as folder:
        yield folder / "toy.py"


def test_another_package_brings_a_format(toy: Path, tmp_path: Path) -> None:
    extract = write_extract(tmp_path / "e", person=None)
    lines = ['{"person_id": 1, "YEAR_of_birth": 1980}', '{"person_id": 9007199254740993, "YEAR_of_birth": 1950}']
    (extract / "person.jsonl").write_text("\n".join(lines))
    assert find_tables(extract)["person"].format == "lines"
    cdm, quality = load(extract, tmp_path / "site")
    assert rows(cdm, "person", "person_id", "year_of_birth") == [(1, 1980), (9007199254740993, 1950)]
    assert quality["tables"]["person"]["file"] == "person.jsonl"
    assert quality["tables"]["condition_occurrence"]["kept"] == 2
    # in parts as well
    parts = extract / "person"
    (extract / "person.jsonl").unlink()
    parts.mkdir()
    for n, line in enumerate(lines):
        (parts / f"{n}.jsonl").write_text(line)
    again, _ = load(extract, tmp_path / "again")
    assert rows(again, "person") == rows(cdm, "person")


def test_what_it_lacks_is_told_as_of_any_other(toy: Path, tmp_path: Path) -> None:
    extract = write_extract(tmp_path / "e", person=None)
    (extract / "person.jsonl").write_text('{"person_id": 1}')
    with pytest.raises(StudyError, match=r"person\.jsonl: the column year_of_birth is missing \(found person_id\)"):
        load(extract, tmp_path / "site")
    with pytest.raises(
        StudyError, match=r"zip of CDM tables \(Parquet, CSV, TSV, TXT, plain or as .gz, .zst, JSON lines\), or a"
    ):
        find_tables(tmp_path / "nowhere")


def test_without_it_such_a_file_is_refused(tmp_path: Path) -> None:
    extract = write_extract(tmp_path / "e", person=None)
    (extract / "person.jsonl").write_text('{"person_id": 1}')
    with pytest.raises(StudyError, match=r"person\.jsonl looks like the table person, but would not be read"):
        find_tables(extract)


def test_a_duckdb_file_of_another_version_is_to_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.duckdb").write_bytes(b"12345678DUCK" + bytes(4096))

    def connect(*asked: object, **more: object) -> None:
        raise duckdb.IOException("Trying to read a database file with version number 39, but we can only read 64 to 67")

    monkeypatch.setattr(duckdb, "connect", connect)
    with pytest.raises(StudyError, match=r"old\.duckdb: another version of DuckDB .* EXPORT DATABASE 'FOLDER'"):
        find_tables(tmp_path / "old.duckdb")
