"""One run at a time in a folder of results."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.core.run_lock import LOCK, acquire, release

HOLDER = "import sys, time; from conceptbridge.core.run_lock import acquire; from pathlib import Path; "
HOLDER += "held = acquire(Path(sys.argv[1])); print(flush=True); time.sleep(60)"


def test_a_second_run_is_told_of_the_first(tmp_path: Path) -> None:
    first = acquire(tmp_path / "results")
    with pytest.raises(StudyError, match=rf"another run \(process {os.getpid()} on .*\) is writing"):
        acquire(tmp_path / "results")
    first.close()
    acquire(tmp_path / "results").close()


def test_a_killed_run_holds_nothing_and_its_half_written_files_go(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        run.stdout.readline()
        run.kill()
    (tmp_path / "arms/.models.x7").mkdir(parents=True)
    (tmp_path / "arms/.models.x7/weights").write_text("half")
    (tmp_path / "arms/.arm.json.x8").write_text("half")
    whole = [tmp_path / "arms/arm.json", tmp_path / "arms/.snakemake_timestamp"]
    for path in whole:
        path.write_text("")
    acquire(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*whole, tmp_path / LOCK}
    assert not (tmp_path / "arms/.models.x7").exists()


def test_after_a_run_that_ended_well_nothing_is_looked_for(tmp_path: Path) -> None:
    held = acquire(tmp_path)
    release(held)
    held.close()
    (tmp_path / ".mine").write_text("")
    acquire(tmp_path)
    assert (tmp_path / ".mine").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match=r"the folder .*results cannot be written \(Not a directory\)"):
        acquire(tmp_path / "file/results")
