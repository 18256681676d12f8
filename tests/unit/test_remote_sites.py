"""An extract in an object store is the extract on disk; an object that is replaced copies it again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from conceptbridge.core.errors import StudyError
from conceptbridge.plan import Plan
from conceptbridge.sites.converters.remote import listed
from conceptbridge.study.config import read_study
from test_converters import config
from tiny_extract import GOOD, load, write_extract

ADDRESS = "s3://hospital/north/cdm"


@pytest.fixture(scope="module")
def store() -> Iterator[fs.FileSystem]:
    """A store on loopback with the extract of ``tiny_extract``, and files beside it that hold no table."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "reader")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "swordfish-8812")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        store = fs.S3FileSystem(endpoint_override=f"http://{host}:{port}", allow_bucket_creation=True)
        store.create_dir("hospital")
        for table, text in GOOD.items():
            put(store, f"{table}.csv", text)
        put(store, "readme.md", "about the person table")
        yield store
    server.stop()


def put(store: fs.FileSystem, name: str, text: str) -> None:
    with store.open_output_stream(f"hospital/north/cdm/{name}") as file:
        file.write(text.encode())


def plan(folder: Path, address: str = ADDRESS) -> Plan:
    listed.cache_clear()
    settings: Any = config(extract=address)
    task = {"index": {"domain": "visit", "concepts": [9203]}, "outcome": {"domain": "death", "days": [1, 7]}}
    return Plan.read(settings | {"data": str(folder), "tasks": {"death": task | {"split": {"by": "hash"}}}})


def test_an_extract_in_a_store_is_the_extract_on_disk(store: fs.FileSystem, tmp_path: Path) -> None:
    before = plan(tmp_path).settings("convert", site="clinic")
    told = json.loads(before["settings"])
    assert sorted(told["objects"]) == [f"{table}.csv" for table in sorted(GOOD)]
    study = plan(tmp_path).study
    converter = study.converter("clinic")
    assert converter is not None
    converter.convert(told, tmp_path / "copy")
    from_store, of_store = load(tmp_path / "copy", tmp_path / "1")
    from_disk, of_disk = load(write_extract(tmp_path / "disk"), tmp_path / "2")
    for file in from_disk.iterdir():
        assert file.read_bytes() == (from_store / file.name).read_bytes()
    assert of_store == of_disk
    assert plan(tmp_path).settings("convert", site="clinic") == before
    put(store, "person.csv", GOOD["person"].replace("1950", "1951"))
    assert plan(tmp_path).settings("convert", site="clinic") != before
    with pytest.raises(StudyError, match=r"cdm/person\.csv: was replaced since the run was planned"):
        converter.convert(told, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    assert {name.split(".")[0] for name in converter.only(told, ["person", "death"])["objects"]} == {"person"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://hospital/south", "has no CDM table"),
        ("s3://nobody-s/cdm", "s3://nobody-s/cdm: cannot be read|has no CDM table"),
        ("s3://reader:swordfish-8812@hospital/cdm", "with bucket and folder alone"),
        ("s3://hospital/cdm?secret_key=swordfish-8812", "with bucket and folder alone"),
    ],
)
def test_what_is_wrong_is_told_without_a_key(store: fs.FileSystem, address: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        plan(tmp_path, address)
    assert "swordfish" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_address_is_none() -> None:
    with pytest.raises(StudyError, match=r"found ftp://\.\.\., but .* are read; give a folder, s3"):
        read_study(config(extract="ftp://hospital/cdm"))
