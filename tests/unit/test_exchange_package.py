"""Packages: what is written is read back, and nothing that a stranger changed is."""

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.package import MANIFEST, read_package, strict_json, write_package

FILES = {"model.json": b'{"seeds": [1]}\n', "models/weights.safetensors": bytes(range(256)) * 8, "empty.csv": b""}
ABOUT = {"task": "influenza", "site": "riverside", "seeds": 3}


def written(folder: Path, files: dict[str, bytes], about: dict[str, Any] = ABOUT) -> Path:
    for name, content in files.items():
        path = folder / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_package(folder / "made", "bundle", about, folder / "package.zip")
    return folder / "package.zip"


def unpacked(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_package_is_read_back_and_its_bytes_depend_on_its_content_alone(tmp_path: Path) -> None:
    package = written(tmp_path, FILES)
    assert read_package(package, "bundle", tmp_path / "read") == ABOUT
    assert unpacked(tmp_path / "read") == FILES
    (tmp_path / "again").mkdir()
    # written in another order, at another time
    again = written(tmp_path / "again", dict(reversed(FILES.items())), dict(reversed(ABOUT.items())))
    assert again.read_bytes() == package.read_bytes()


NAMES = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,8}(/[a-z][a-z0-9._-]{0,8})?\Z")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(NAMES, st.binary(max_size=50), max_size=5),
    about=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs")), max_size=5), st.integers()
    ),
)
def test_any_files_come_back_or_are_refused_when_written(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], about: dict[str, Any]
) -> None:
    folded = [part.lower() for name in files for part in {name, name.split("/")[0]}]
    plain = len(folded) == len(set(folded)) and MANIFEST not in folded
    if not plain:
        return
    folder = tmp_path_factory.mktemp("any")
    (folder / "made").mkdir()
    package = written(folder, files, about)
    assert read_package(package, "bundle", folder / "read") == about
    assert unpacked(folder / "read") == files


def rewritten(package: Path, change: Callable[[zipfile.ZipFile, dict[str, bytes]], None]) -> None:
    """Write the zip once more; ``change`` gets the new zip and the old one's files, those left in which are added."""
    with zipfile.ZipFile(package) as old:
        files = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(package, "w") as new:
        change(new, files)
        for name, content in files.items():
            new.writestr(name, content)


def with_manifest(**fields: Any) -> Callable[[zipfile.ZipFile, dict[str, bytes]], None]:
    def change(_: zipfile.ZipFile, files: dict[str, bytes]) -> None:
        manifest = json.loads(files[MANIFEST]) | fields
        files[MANIFEST] = json.dumps({k: v for k, v in manifest.items() if v is not None}).encode()

    return change


def with_file(name: str, content: bytes) -> Callable[[zipfile.ZipFile, dict[str, bytes]], None]:
    return lambda _, files: files.update({name: content})


def added(name: str, mode: int = 0, method: int = zipfile.ZIP_STORED) -> Callable[..., None]:
    def change(new: zipfile.ZipFile, _: dict[str, bytes]) -> None:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        entry.compress_type = method
        new.writestr(entry, b"0" * 1000)

    return change


def listed(**fields: Any) -> Callable[..., None]:
    """The manifest's entry of model.json changed."""

    def change(_: zipfile.ZipFile, files: dict[str, bytes]) -> None:
        manifest = json.loads(files[MANIFEST])
        manifest["files"]["model.json"] |= fields
        files[MANIFEST] = json.dumps(manifest).encode()

    return change


def flagged(package: Path, name: str) -> None:
    """Say in the zip's directory that a file is encrypted."""
    content = bytearray(package.read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(name.encode()))
    content[at + 8] |= 1
    package.write_bytes(content)


def twice(new: zipfile.ZipFile, files: dict[str, bytes]) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        new.writestr("model.json", b"{}")
        new.writestr("model.json", files.pop("model.json"))


def ends_early(new: zipfile.ZipFile, _: dict[str, bytes]) -> None:
    entry = zipfile.ZipInfo("other.json")
    entry.filename = "model.json\0.txt"  # as a directory has it; Python's own reader stops at the zero
    new.writestr(entry, b"{}")


HOSTILE: dict[str, tuple[Callable[..., None], str]] = {
    "a newer format": (with_manifest(format=2), "manifest.json: format: 2 is newer"),
    "no format": (with_manifest(format=None), "format: must be a whole number"),
    "a format that is no number": (with_manifest(format=True), "format: must be a whole number"),
    "another kind": (with_manifest(kind="results"), "kind: is 'results', expected 'bundle'"),
    "an unknown field": (with_manifest(run="setup.py"), "unknown field 'run'"),
    "a missing field": (with_manifest(about=None), "the field 'about' is missing"),
    "about is a list": (with_manifest(about=[]), "about: is not a JSON object"),
    "files is a list": (with_manifest(files=[]), "files: is not a JSON object"),
    "no manifest": (lambda _, files: files.pop(MANIFEST), "has no manifest.json"),
    "a manifest that is no JSON": (with_file(MANIFEST, b"{"), "manifest.json: is not JSON"),
    "a manifest that is no object": (with_file(MANIFEST, b"[]"), "manifest.json: is not a JSON object"),
    "a manifest in another encoding": (with_file(MANIFEST, '{"ä": 1}'.encode("latin-1")), "is not UTF-8 (at byte 2)"),
    "a deep manifest": (with_file(MANIFEST, b"[" * 100_000), "more than 20 levels deep"),
    "a key twice": (with_file(MANIFEST, b'{"format": 1, "format": 2}'), "the key 'format' twice"),
    "a number without end": (with_file(MANIFEST, b'{"format": 1e999}'), "1e999 is not a finite number"),
    "a text that a terminal would obey": (with_manifest(about={"site": "\x1b[2J"}), "control characters"),
    "a changed file": (
        with_file("model.json", b'{"seeds": [2]}\n'),
        "model.json: does not have the SHA-256 in manifest.json",
    ),
    "a cut file": (with_file("model.json", b"{"), "files: model.json: bytes"),
    "a file too many": (with_file("setup.py", b""), "setup.py: is not listed"),
    "a file too few": (lambda _, files: files.pop("empty.csv"), "empty.csv: is not in the package"),
    "a hash that is none": (listed(sha256="x"), "model.json: sha256: is not 64 hex digits"),
    "a size that is none": (listed(bytes=-1), "model.json: bytes"),
    "a field of a file that nobody knows": (
        listed(mode=0o777),
        "model.json: must have exactly the fields sha256 and bytes",
    ),
    "a path that climbs out": (added("../evil"), "'../evil' is not a valid file name"),
    "a path that climbs out later": (added("models/../../evil"), "'models/../../evil' is not a valid file name"),
    "an absolute path": (added("/etc/passwd"), "'/etc/passwd' is not a valid file name"),
    "a path of another system": (added("..\\evil"), "is not a valid file name"),
    "a drive": (added("C:evil"), "'C:evil' is not a valid file name"),
    "a hidden file": (added(".bashrc"), "'.bashrc' is not a valid file name"),
    "a folder": (added("models/"), "'models/' is not a valid file name"),
    "a name with control characters": (added("a\x1b[2Jb"), "'a?[2Jb' is not a valid file name"),
    "a name that ends early": (ends_early, "'model.json?.txt' is not a valid file name"),
    "a name that is too long": (added("a" * 300), "is not a valid file name"),
    "a name that reads backwards": (added("a\u202etxt.exe"), "is not a valid file name"),
    "a link": (added("link", stat.S_IFLNK | 0o777), "link: is a link"),
    "a pipe": (added("pipe", stat.S_IFIFO | 0o644), "pipe: is not a plain file"),
    "a compressed file": (added("zeros", method=zipfile.ZIP_DEFLATED), "zeros: is compressed"),
    "a file twice": (twice, "model.json: is listed twice"),
    "a file twice where case is nothing": (added("MODEL.json"), "is listed twice"),
    "a file that is a folder, too": (added("models"), "models: is both a file and a folder"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_package_is_refused_by_name_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    change, message = HOSTILE[case]
    package = written(tmp_path, FILES)
    rewritten(package, change)
    with pytest.raises(StudyError) as refused:
        read_package(package, "bundle", tmp_path / "read")
    assert message in str(refused.value)
    assert str(refused.value).startswith(str(package))
    assert "\x1b" not in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "package.zip"]


def test_files_on_top_of_each_other_are_refused(tmp_path: Path) -> None:
    """Two entries of the directory that share their bytes make a zip that is larger unpacked than packed."""
    package = written(tmp_path, {"a": b"0" * 5000, "b": b"1"})
    content = package.read_bytes()
    # the directory's entry of b says that it is as long as the package
    at = content.rindex(b"PK\x01\x02")
    size = (len(content)).to_bytes(4, "little")
    package.write_bytes(content[: at + 20] + size + size + content[at + 28 :])
    with pytest.raises(StudyError, match="they overlap"):
        read_package(package, "bundle", tmp_path / "read")


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    package = written(tmp_path, FILES)
    flagged(package, "model.json")
    with pytest.raises(StudyError, match=r"model\.json: is encrypted"):
        read_package(package, "bundle", tmp_path / "read")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x80\x04pickle"])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "package.zip").write_bytes(content)
    with pytest.raises(StudyError, match=r"package\.zip"):
        read_package(tmp_path / "package.zip", "bundle", tmp_path / "read")


def test_a_package_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="the file does not exist"):
        read_package(tmp_path / "package.zip", "bundle", tmp_path / "read")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_changed_byte_gets_through_or_ends_otherwise(tmp_path: Path, data: st.DataObject) -> None:
    package, into = tmp_path / "package.zip", tmp_path / "read"
    shutil.rmtree(into, ignore_errors=True)
    content = bytearray(written(tmp_path, FILES).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    package.write_bytes(content[:end])
    try:
        read_package(package, "bundle", into)
    except StudyError:
        assert not into.exists()
    else:
        assert unpacked(into) == FILES


def test_a_link_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/link").symlink_to("/etc/hostname")
    with pytest.raises(StudyError, match="is a link"):
        write_package(tmp_path / "made", "bundle", {}, tmp_path / "package.zip")
    assert not (tmp_path / "package.zip").exists()


@pytest.mark.parametrize("about", [{"auroc": float("nan")}, {"site": "a\x00b"}, {"site": "\ud800"}])
def test_what_could_not_be_read_is_not_written(tmp_path: Path, about: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r"package\.zip: manifest\.json"):
        written(tmp_path, {"a": b""}, about)


def test_an_unfinished_text_takes_no_longer_than_a_finished_one() -> None:
    with pytest.raises(StudyError, match="is not JSON"):
        strict_json(b'"' + b'\\"' * 500_000, "model.json")
