"""The tiny network's study and its feasibility page, made once for all tests that look at them or plan them again."""

import sys
from pathlib import Path

import pytest

from tiny_study import TINY, snakemake


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the finished study; its logs tell what each job imported (python -X importtime).

    No test writes into it: one that runs something there takes a copy.
    """
    folder = tmp_path_factory.mktemp("network") / "two"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPROFILEIMPORTTIME", "1")
        run = snakemake(folder, TINY, "--cores", "2", "--", "all", "feasibility", python=sys.executable)
    assert run.returncode == 0, (run.stdout + run.stderr)[-5000:]
    assert "profiles/default" in run.stderr  # its settings count without being asked for
    return folder
