"""What a run shows: stages, times, and why a job failed; every rule belongs to a stage."""

import io
import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent

import snakemake_logger_plugin_conceptbridge as plugin
from snakemake_logger_plugin_conceptbridge import STAGES, LogHandler

ROOT = Path(__file__).parents[2]


class Settings:
    """The part of Snakemake's settings that the handler reads."""

    stdout = False


@pytest.fixture
def shown() -> tuple[LogHandler, io.StringIO]:
    """A handler, and the file that it writes to."""
    handler, text = LogHandler(Settings(), None), io.StringIO()  # type: ignore[arg-type]
    handler.console = Console(file=text, width=200)
    return handler, text


def tell(handler: LogHandler, level: int = logging.INFO, message: str | None = None, **about: Any) -> None:
    record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    vars(record).update(about)
    handler.emit(record)


def run(handler: LogHandler, jobs: dict[str, int]) -> None:
    tell(handler, event=LogEvent.RUN_INFO, stats=jobs | {"total": sum(jobs.values())})
    names = [rule for rule, n in jobs.items() for _ in range(n)]
    for job, rule in enumerate(names):
        tell(handler, event=LogEvent.JOB_INFO, jobid=job, rule_name=rule)
        tell(handler, event=LogEvent.JOB_FINISHED, job_id=job)


def test_every_rule_of_the_workflow_belongs_to_a_stage() -> None:
    files = [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    rules = re.findall(r"^\s*rule (\w+):", text, re.MULTILINE) + re.findall(r"use rule \w+ as (\w+) with", text)
    listed = [rule for of_stage in STAGES.values() for rule in of_stage]
    assert sorted(listed) == sorted(rules)


def test_a_file_gets_a_line_per_stage_and_per_tenth_of_the_jobs(shown: tuple[LogHandler, io.StringIO]) -> None:
    handler, text = shown
    run(handler, {"ingest": 3, "train": 190, "elsewhere_rule": 4, "report": 1})
    lines = text.getvalue().splitlines()
    assert lines[0] == "198 jobs"
    assert [line for line in lines if line.endswith("done")] == [
        f"{stage}: done" for stage in ("read the extracts", "train and transfer", "other jobs", "report")
    ]
    assert len(lines) == 1 + 4 + 10
    assert re.fullmatch(r"198 of 198 jobs in \d+:\d\d", lines[-1])


def test_a_job_that_failed_shows_the_end_of_its_log(shown: tuple[LogHandler, io.StringIO], tmp_path: Path) -> None:
    handler, text = shown
    log = tmp_path / "train.log"
    log.write_text("\n".join([*(f"line {n}" for n in range(50)), "error: [x] no such column"]))
    tell(handler, logging.ERROR, event=LogEvent.JOB_ERROR, rule_name="train", log=[str(log)], output=[])
    tell(handler, logging.ERROR, "CalledProcessError in file x", event=LogEvent.ERROR, exception="CalledProcessError")
    lines = text.getvalue().splitlines()
    assert lines[0] == "error: a job of the rule train failed"
    assert lines[-2:] == ["error: [x] no such column", f"The whole log is in {log}"]
    assert len(lines) <= 22


def test_warnings_are_shown_and_nothing_else(shown: tuple[LogHandler, io.StringIO]) -> None:
    handler, text = shown
    tell(handler, message="Building DAG of jobs...")
    tell(handler, logging.WARNING, "warning: riverside has [no] influenza.")
    assert text.getvalue() == "warning: riverside has [no] influenza.\n"


@pytest.fixture
def long_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Snakemake tells of a job that has been on for long and writes a log."""
    monkeypatch.setattr(plugin, "LONG", 0)
    log = tmp_path / "train.log"
    log.write_text(
        "12:00:01 minilm: loaded in 2.1 s\n12:00:07 pass 12 of at most 60 [of 3 runs]\nTraceback of nobody\n"
    )
    return {
        "event": LogEvent.JOB_INFO,
        "jobid": 7,
        "rule_name": "train",
        "wildcards": {"learner": "cnn", "target": "prairie"},
        "log": [str(log)],
    }


def test_a_terminal_shows_what_a_long_job_said_last(long_job: dict[str, Any]) -> None:
    handler = LogHandler(Settings(), None)  # type: ignore[arg-type]
    handler.console = Console(file=io.StringIO(), width=100, force_terminal=True)
    tell(handler, event=LogEvent.RUN_INFO, stats={"train": 2, "total": 2})
    tell(handler, **long_job)
    with handler.console.capture() as screen:
        handler.console.print(handler._screen())
    assert "train cnn prairie: pass 12 of at most 60 [of 3 runs]" in screen.get()
    tell(handler, event=LogEvent.JOB_FINISHED, job_id=7)
    with handler.console.capture() as screen:
        handler.console.print(handler._screen())
    assert "pass 12" not in screen.get()
    handler.close()


def test_a_file_gets_a_line_of_a_long_job_after_a_silence(
    shown: tuple[LogHandler, io.StringIO], long_job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "SILENT", 0.1)
    handler, text = shown
    tell(handler, event=LogEvent.RUN_INFO, stats={"train": 1, "total": 1})
    tell(handler, **long_job)
    while len(text.getvalue().splitlines()) < 2:
        time.sleep(0.01)
    handler.close()
    assert text.getvalue().splitlines()[1] == "train cnn prairie: pass 12 of at most 60 [of 3 runs]"


def test_a_terminal_gets_bars(shown: tuple[LogHandler, io.StringIO]) -> None:
    handler, _ = shown
    handler.console = Console(file=io.StringIO(), width=100, force_terminal=True)
    run(handler, {"ingest": 2, "train": 1})
    handler.close()
    assert handler.bars is not None
    assert {one.description: (one.completed, one.total) for one in handler.bars.tasks} == {
        "read the extracts": (2, 2), "train and transfer": (1, 1), "all jobs": (3, 3),
    }  # fmt: skip
