"""Files that a study is given are told apart by what is in them, and read again only after somebody touched them."""

import os
import shutil
from pathlib import Path

import pytest

from conceptbridge.core import contents
from conceptbridge.core.contents import Contents


def test_a_digest_is_of_what_is_in_the_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("a")
    other.write_text("b")
    told = Contents(tmp_path)
    assert told.digest([]) == ""
    first = told.digest([str(one)])
    assert first != told.digest([str(other)])
    assert told.digest([str(one), str(other)]) != told.digest([str(other), str(one)])
    shutil.copy(one, tmp_path / "copy")
    assert told.digest([str(tmp_path / "copy")]) == first
    assert told.digest([str(tmp_path / "gone")]) not in ("", first)


@pytest.mark.parametrize("how", ["older", "same time and size", "link"])
def test_an_older_file_in_its_place_is_another_one(how: str, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    file, new = tmp_path / "extract.csv", tmp_path / "new.csv"
    file.write_text("first")
    new.write_text("other")
    os.utime(new, (1e9, 1e9))
    if how == "link":
        (tmp_path / "v1").symlink_to(file)
        file = tmp_path / "v1"
    told = Contents(tmp_path / "results")
    first = told.digest([str(file)])
    told.save()
    if how == "link":
        file.unlink()
        file.symlink_to(new)
    else:
        if how != "older":
            os.utime(new, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
        shutil.copy2(new, file)
    again = Contents(tmp_path / "results")
    assert again.digest([str(file)]) != first


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "extract.csv"
    file.write_text("first")
    told = Contents(tmp_path)
    first = told.digest([str(file)])
    told.save()
    read: list[object] = []
    plain = contents.hashlib.file_digest
    monkeypatch.setattr(contents.hashlib, "file_digest", lambda *a: read.append(a) or plain(*a))
    assert Contents(tmp_path).digest([str(file)]) == first
    assert not read
    file.touch()  # touched, and the same
    assert Contents(tmp_path).digest([str(file)]) == first
    assert len(read) == 1


@pytest.mark.parametrize("kept", ["", "{", "[]", '"x"', "{}", '{"a": 1}'])
def test_kept_digests_that_cannot_be_used_are_computed_again(kept: str, tmp_path: Path) -> None:
    (tmp_path / contents.FILE).write_text(kept)
    (tmp_path / "a").write_text("a")
    assert Contents(tmp_path).digest([str(tmp_path / "a")])


def test_without_a_folder_of_results_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    told = Contents(tmp_path / "results")
    told.digest([str(tmp_path / "a")])
    told.save()
    assert not (tmp_path / "results").exists()
