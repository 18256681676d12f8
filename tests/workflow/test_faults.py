"""Whatever ends a run: one clear message, nothing half written, and the next run completes with the same tables."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conceptbridge.core import run_lock
from embedding_service import WIDTH, service
from tiny_study import ROOT, TINY, snakemake

pytestmark = pytest.mark.workflow

#: everything up to the tables of vectors: seconds
SMALL: dict[str, Any] = TINY | {
    "simulate": {"persons": 300, "seed": 1},
    "embeddings": ["random"],
    "embedding_cache": "cache",
}
TARGETS = ("--cores", "2", "--", "embedding_tables")


def errors(run: subprocess.CompletedProcess[str]) -> list[str]:
    """What jobs said of their failure; there is no traceback beside it."""
    told = run.stdout + run.stderr
    assert run.returncode != 0, told
    assert "Traceback" not in told, told
    return sorted(set(re.findall(r"^(?:error: |config: ).*$", told, re.MULTILINE)))


def contents(folder: Path) -> dict[str, bytes]:
    """Every table of the study, and every table of vectors."""
    results = folder / "results"
    files = [*results.glob("tables/*"), *results.glob("embeddings/**/*.parquet")]
    return {str(path.relative_to(results)): path.read_bytes() for path in files}


def half_written(folder: Path) -> list[Path]:
    kept = (".running", ".snakemake_timestamp")
    return [path for path in folder.glob("results/**/.*") if path.name not in kept]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run = snakemake(folder, SMALL, *TARGETS)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


@pytest.fixture
def begun(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the study whose vectors are all lost: embedding begins anew."""
    folder = tmp_path / "begun"
    shutil.copytree(undisturbed, folder)
    for path in ("results/embeddings", "results/tables", "results/figures", "cache"):
        shutil.rmtree(folder / path)
    return folder


@pytest.mark.dear
def test_kills_at_random_moments_leave_the_same_tables() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/kills.py"), "1", "--chain", "5"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 of 1 as if nothing had happened" in run.stdout, run.stdout
    assert len(re.findall(" after [0-9.]+ s", run.stdout)) == 5, run.stdout


def test_a_command_ends_with_the_run_that_started_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import argparse, time\nfrom command import run\n"
        "run(argparse.ArgumentParser(), lambda a: (print('begun', flush=True), time.sleep(600)))\n"
    )
    starter = tmp_path / "starter.py"
    starter.write_text(
        "import os, subprocess, sys\n"
        "os.environ['CONCEPTBRIDGE_RUN'] = str(os.getpid())\n"
        f"child = subprocess.Popen([sys.executable, {str(script)!r}])\n"
        "print(child.pid, flush=True)\nchild.wait()\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "workflow/scripts"), str(ROOT / "src")])}
    with subprocess.Popen([sys.executable, str(starter)], stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        command = int(process.stdout.readline())
        assert process.stdout.readline() == "begun\n"
        process.kill()
    deadline = time.monotonic() + 120
    while Path(f"/proc/{command}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    alive = Path(f"/proc/{command}").exists()
    if alive:
        os.kill(command, signal.SIGKILL)
    assert not alive


def test_two_runs_at_once_in_one_folder(begun: Path, undisturbed: Path) -> None:
    first = run_lock.acquire(begun / "results")
    [message] = errors(snakemake(begun, SMALL, *TARGETS))
    assert f"another run (process {os.getpid()} on " in message
    first.close()  # as the end of its process does
    again = snakemake(begun, SMALL, *TARGETS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert contents(begun) == contents(undisturbed)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """The folder as a file system of its own; skipped where that is not allowed."""
    mount = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if mount.returncode:
        pytest.skip(f"no file system can be mounted here: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_results_that_are_read_only(begun: Path) -> None:
    results = begun / "results"
    with mounted(results, "--bind", str(results)):
        subprocess.run(["mount", "-o", "remount,bind,ro", results], check=True)
        [message] = errors(snakemake(begun, SMALL, *TARGETS))
    assert message == "config: results: the folder results cannot be written (Read-only file system)"


def test_a_full_disk(tmp_path: Path, undisturbed: Path) -> None:
    (tmp_path / "results").mkdir()
    with mounted(tmp_path / "results", "-t", "tmpfs", "-o", "size=200k", "tmpfs"):
        messages = errors(snakemake(tmp_path, SMALL, *TARGETS))
    assert messages
    assert all("No space left on device: make room" in message for message in messages)
    again = snakemake(tmp_path, SMALL, *TARGETS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert contents(tmp_path) == contents(undisturbed)


def test_a_damaged_cache(begun: Path, undisturbed: Path) -> None:
    run = snakemake(begun, SMALL, "--cores", "2", "--until", "compute_texts")
    assert run.returncode == 0, run.stdout + run.stderr
    part = max(begun.glob("cache/*/*.arrow"), key=lambda path: path.stat().st_size)
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    messages = errors(snakemake(begun, SMALL, *TARGETS))
    assert all("start the run again" in message for message in messages)
    again = snakemake(begun, SMALL, *TARGETS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert contents(begun) == contents(undisturbed)


def test_an_embedding_service_that_dies(tmp_path: Path, undisturbed: Path) -> None:
    with service("", "", *["401"] * 50) as far_away:
        far = {
            "backend": "openai", "model": "far", "revision": "1", "url": far_away.url, "width": WIDTH,
            "request_texts": 20, "concurrency": 1,
        }  # fmt: skip
        study = SMALL | {"embeddings": [{"far": far}]}
        shutil.copytree(undisturbed, tmp_path / "study")
        [message] = errors(snakemake(tmp_path / "study", study, *TARGETS))
        assert "401" in message
        paid = sum(far_away.paid.values())
        assert paid == 40
        far_away.faults.clear()
        again = snakemake(tmp_path / "study", study, *TARGETS)
        assert again.returncode == 0, again.stdout + again.stderr
        assert set(far_away.paid.values()) == {1}
        assert len(far_away.paid) > paid
    assert not half_written(tmp_path / "study")
