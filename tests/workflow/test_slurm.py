"""A study on a real SLURM of one node: the tables of a local run, though jobs run into their limits."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tiny_study import ROOT, TINY, command, finish

START = ROOT.parent / "shared/bin/start-slurm.sh"
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slurm,
    pytest.mark.dear,
    pytest.mark.skipif(not START.is_file(), reason=f"{START} starts SLURM, and is not there"),
    pytest.mark.skipif(os.geteuid() != 0, reason="SLURM is started as root"),
]

# each job costs about 6 s there
STUDY: dict[str, Any] = TINY | {
    "embeddings": ["onehot"],
    "learners": {"lightgbm": TINY["learners"]["lightgbm"]},
    "strategies": ["local", "direct"],
}
TARGETS = ["tables", "provenance"]
# the shipped profile, on a node of as few as two processors, one of them taken by the job that hangs; and two jobs that
# need more than they are first given
HANGS, SWELLS = "provenance", "tables"
ON_CLUSTER = [
    *("--profile", str(ROOT / "workflow/profiles/slurm"), "--max-threads", "1"),
    *("--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "1"),
    *("--set-resources", f"{HANGS}:runtime=attempt", f"{SWELLS}:mem_mb=300*attempt**2"),
]
MOST_SECONDS = 1800


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SLURM_CONF")  # which conftest.py sets
        yield from started()


def started() -> Iterator[None]:
    try:
        # it counts processors with nproc, which obeys what conftest.py sets
        env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        started = subprocess.run([START], capture_output=True, text=True, check=False, timeout=300, env=env)
        if started.returncode != 0:
            pytest.skip(f"SLURM does not start here: {started.stderr.strip()[-300:]}")
        yield
    except subprocess.TimeoutExpired:
        pytest.skip("SLURM did not start within five minutes")
    finally:
        subprocess.run([START.with_name("stop-slurm.sh")], capture_output=True, check=False, timeout=120)


def answer(*command: str) -> list[list[str]]:
    """The words of each line that a command of SLURM prints."""
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    return [line.split() for line in told.splitlines()]


def freeze_first(rule: str, running: subprocess.Popen[bytes]) -> None:
    """Stop the processes of the first job of ``rule`` as soon as it runs: it hangs until its time is up."""
    while running.poll() is None:
        for job, comment in answer("squeue", "--noheader", "--states=RUNNING", "--format=%A %k"):
            # not by scancel: SLURM would know, and refuse jobs that need all of the node
            processes = [int(words[0]) for words in answer("scontrol", "listpids", job)[1:]]
            if comment.startswith(f"rule_{rule}") and processes:
                for process in processes:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGSTOP)
                return
        time.sleep(0.2)


@pytest.mark.usefixtures("cluster")
def test_the_tables_are_those_of_a_local_run_though_jobs_run_into_their_limits(tmp_path: Path) -> None:
    local, there = tmp_path / "local", tmp_path / "there"
    there.mkdir()
    finish(local, STUDY, *TARGETS)

    with (there / "log").open("wb") as log:
        running = subprocess.Popen(
            [*command(there, STUDY), *ON_CLUSTER, "--", *TARGETS], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            freeze_first(HANGS, running)
            status = running.wait(MOST_SECONDS)
        finally:
            running.kill()  # a controller that is gone would keep it waiting for ever
    told = (there / "log").read_text()
    assert status == 0, told[-5000:]
    assert re.search("SLURM status is: 'TIMEOUT'", told)
    assert re.search("SLURM status is: '(OUT_OF_MEMORY|FAILED)'", told)
    assert attempts(told, HANGS, "runtime") == [1, 2]
    assert attempts(told, SWELLS, "mem_mb") == [300, 1200]

    tables = sorted(path.name for path in (local / "results/tables").iterdir())
    assert tables == sorted(path.name for path in (there / "results/tables").iterdir())
    assert len(tables) > 40
    for name in tables:
        assert (there / "results/tables" / name).read_bytes() == (local / "results/tables" / name).read_bytes(), name


def attempts(told: str, rule: str, resource: str) -> list[int]:
    """What the submitted jobs of ``rule`` were given, each differently, in order."""
    # between them stands the log of one that failed, which may tell of the same job again
    blocks = re.findall(rf"^rule {rule}:\n((?: .*\n)+)", told, re.MULTILINE)
    given = list(dict.fromkeys(int(re.search(rf"\b{resource}=(\d+)", block)[1]) for block in blocks))  # type: ignore[index]
    assert len(re.findall(rf"submitted with SLURM jobid .*/rule_{rule}/", told)) == len(given)
    return given
