"""Dry runs, a process each: forked from one that has imported Snakemake once."""

import multiprocessing
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple


class DryRun(NamedTuple):
    """A workflow (the folder of its Snakefile), the folder it runs in, and a file with the study."""

    workflow: Path
    folder: Path
    study: Path


def plan(runs: Sequence[DryRun]) -> list[dict[str, int]]:
    """What each dry run would do: rule -> jobs."""
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload(["snakemake.cli"])
    with forked.Pool(2, maxtasksperchild=1) as pool:
        return [_jobs(told) for told in pool.map(_dry_run, runs, chunksize=1)]


def _dry_run(run: DryRun) -> str:
    from snakemake.cli import main

    sys.path.insert(0, str(run.workflow / "src"))
    told = StringIO()
    files = ["--snakefile", run.workflow / "workflow/Snakefile", "--directory", run.folder, "--configfile", run.study]
    with redirect_stdout(told), redirect_stderr(told):
        try:
            main([*map(str, files), "--dry-run", "--quiet", "host"])
        except SystemExit as end:
            if end.code:
                told.write("failed")
    return told.getvalue()


def _jobs(told: str) -> dict[str, int]:
    assert not told.endswith("failed"), told
    found = re.search(r"^job +count\n-+ +-+\n(.*?)^total", told, re.MULTILINE | re.DOTALL)
    assert found or "Nothing to be done" in told, told
    return {rule: int(n) for rule, n in (line.split() for line in found[1].splitlines())} if found else {}
