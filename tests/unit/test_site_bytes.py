"""The same rows are the same typed tables to the byte, whatever wrote them."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.simulate.network import write_extract
from extract_forms import FORMS, write_form
from tiny_extract import load


def sums(cdm: Path) -> dict[str, str]:
    return {file.stem: hashlib.md5(file.read_bytes()).hexdigest() for file in cdm.iterdir()}


@pytest.fixture(scope="module")
def extract(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("forms")
    write_extract("riverside", 1500, 1, folder / "extract")
    cdm, _ = load(folder / "extract", folder / "out")
    return folder / "extract", sums(cdm)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_in_any_form(form: str, extract: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, expected = extract
    cdm, _ = load(write_form(sorted(folder.glob("*.parquet")), form, tmp_path / "form"), tmp_path / "out")
    assert sums(cdm) == expected
    for file in cdm.iterdir():
        assert all(field.nullable for field in pq.read_schema(file)), file


def test_row_groups_of_usual_sizes_do_not_count(tmp_path: Path) -> None:
    """Of a table that is longer than one of them: multiples of 2,048 rows, as DuckDB and Arrow write them."""
    n = 300_000
    person = pa.table({"person_id": pa.array(range(n)), "year_of_birth": pa.array([1950] * n, pa.int32())})
    found = []
    for size in (8_192, 131_072, n):
        folder = tmp_path / str(size)
        folder.mkdir()
        pq.write_table(person, folder / "person.parquet", row_group_size=size)
        cdm, _ = load(folder, tmp_path / f"out-{size}", threads=2)
        found.append(sums(cdm)["person"])
    assert len(set(found)) == 1
