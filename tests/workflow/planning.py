"""Dry runs, a process each, forked from one that has imported Snakemake once; and what follows from a changed job."""

import multiprocessing
import re
import sys
from collections import Counter
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


class Job(NamedTuple):
    """A job of a dry run: its rule, wildcards, inputs and outputs."""

    rule: str
    wildcards: dict[str, str]
    inputs: frozenset[str]
    outputs: frozenset[str]


def plan(runs: Sequence[DryRun]) -> list[dict[str, int]]:
    """What each dry run would do: rule -> jobs."""
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload(["snakemake.cli"])
    with forked.Pool(2, maxtasksperchild=1) as pool:
        return [_jobs(told) for told in pool.map(_dry_run, runs, chunksize=1)]


def jobs(run: DryRun) -> list[Job]:
    """Every job of a study, whether it is done or not."""
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload(["snakemake.cli"])
    with forked.Pool(1) as pool:
        told = pool.apply(_dry_run, (run, ("--forceall",)))
    found = []
    for block in re.split(r"^(?:local)?rule (?=\w+:$)", told, flags=re.MULTILINE)[1:]:
        said = dict(re.findall(r"^    (input|output|wildcards): (.*)$", block, re.MULTILINE))
        files = [frozenset(said.get(key, "").split(", ")) - {""} for key in ("input", "output")]
        named = dict(pair.split("=", 1) for pair in said.get("wildcards", "").split(", ") if pair)
        found.append(Job(block[: block.index(":")], named, *files))
    return found


def followed(changed: Sequence[Job], all_jobs: Sequence[Job]) -> dict[str, int]:
    """The jobs that changed and all that come after them: rule -> jobs."""
    again, outputs = list(changed), {file for job in changed for file in job.outputs}
    waiting = [job for job in all_jobs if job not in changed]
    while following := [job for job in waiting if job.inputs & outputs]:
        again += following
        outputs |= {file for job in following for file in job.outputs}
        waiting = [job for job in waiting if job not in following]
    return dict(Counter(job.rule for job in again))


def _dry_run(run: DryRun, more: Sequence[str] = ("--quiet", "host")) -> str:
    from snakemake.cli import main

    sys.path.insert(0, str(run.workflow / "src"))
    told = StringIO()
    files = ["--snakefile", run.workflow / "workflow/Snakefile", "--directory", run.folder, "--configfile", run.study]
    with redirect_stdout(told), redirect_stderr(told):
        try:
            main([*map(str, files), "--dry-run", *more])
        except SystemExit as end:
            if end.code:
                told.write("failed")
    return told.getvalue()


def _jobs(told: str) -> dict[str, int]:
    assert not told.endswith("failed"), told
    found = re.search(r"^job +count\n-+ +-+\n(.*?)^total", told, re.MULTILINE | re.DOTALL)
    assert found or "Nothing to be done" in told, told
    return {rule: int(n) for rule, n in (line.split() for line in found[1].splitlines())} if found else {}
