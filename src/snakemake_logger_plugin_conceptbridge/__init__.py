"""What a run of a study shows in a terminal: how far each stage and each long job is, and of a job that failed the end
of its log.

Snakemake finds it by its name: `--logger conceptbridge`. All that it leaves out is in Snakemake's own log file.
"""

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from logging import WARNING, LogRecord
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

#: the stages of a study and their rules, in the order in which a study walks through them
STAGES = {
    "read the extracts": (
        *("simulate", "convert", "ingest", "vocabulary", "survey", "units", "feasibility"),
        *("receive", "receive_tokens", "receive_profile", "receive_vocabulary", "receive_aggregates"),
        *("receive_source", "receive_federated"),
    ),
    "find the cohorts": ("cohort", "sequences", "leaks", "patients", "patients_sequences", "rows_digest", "profile"),
    "embed the names": (
        *("fetch_models", "compute_texts", "compute_terms", "embed", "find_ancestors", "learn_vectors", "represent"),
        *("embedding_quality", "embedding_tables"),
    ),
    "translate": ("translate", "summarise_translations", "review", "translations"),
    "train and transfer": (
        *("train", "transfer", "transfer_translated", "pool", "pool_translated", "pool_sources"),
        *("pool_sources_translated", "federate", "federate_translated", "use_federated", "use_federated_translated"),
        *("models_digest", "resample", "resample_local"),
    ),
    "evaluate": ("external", "evaluate", "importance"),
    "report": ("tables", "figures", "provenance", "report", "all"),
    "exchange": (
        *("write_bundle", "bundle", "predict", "coverage_sheet", "score", "write_aggregates", "aggregates"),
        *("write_meds", "meds"),
    ),
}
#: rules of a workflow that uses this one
OTHERS = "other jobs"
#: lines of a failed job's log that are shown
LAST_LINES = 20
#: where no terminal shows bars, a line follows each of so many parts of the jobs
PARTS = 10
#: seconds after which a job is a long one
LONG = 10
#: where no terminal shows bars, a line of a long job follows so many seconds without another line
SILENT = 60
#: a log's last line is within so many bytes of its end
END = 2000

#: what Snakemake calls the end of a job that failed
_OF_A_JOB = ("RuleException", "CalledProcessError")

#: a line of a job's log: when, what
_LINE = re.compile(r"\d\d:\d\d:\d\d (?P<said>.+)")

_STAGE_OF = {rule: stage for stage, rules in STAGES.items() for rule in rules}


@dataclass(frozen=True)
class _Job:
    """A job that runs, or waits in a cluster's queue."""

    rule: str
    about: str
    logs: list[Path]
    began: float

    def __str__(self) -> str:
        return f"{self.rule} {self.about}".strip()

    def said(self) -> str | None:
        """What it said last, if it is a long one."""
        if time.monotonic() - self.began < LONG:
            return None
        for log in self.logs:
            try:
                with log.open("rb") as file:
                    file.seek(max(log.stat().st_size - END, 0))
                    lines = file.read().decode(errors="replace").splitlines()
            except OSError:
                continue
            if told := [found["said"] for line in lines if (found := _LINE.fullmatch(line))]:
                return told[-1]
        return None


class LogHandler(LogHandlerBase):
    """Bars in a terminal, and what long jobs said last; in a file or a pipe a line per tenth of the jobs and per stage
    that is done, and one of a long job where there would be none for a while."""

    def __post_init__(self) -> None:
        self.console = Console(stderr=not self.common_settings.stdout, highlight=False, soft_wrap=True)
        self.running: dict[int, _Job] = {}
        self.left: dict[str, int] = {}
        self.total = self.done = 0
        self.started = time.monotonic()
        self.bars: Progress | None = None
        self.bar_of: dict[str, TaskID] = {}
        self.live: Live | None = None
        self.printed = time.monotonic()
        self.closed = threading.Event()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def emit(self, record: LogRecord) -> None:
        """Show a record, or keep what later ones need of it."""
        about = vars(record)
        match about.get("event"):
            case LogEvent.RUN_INFO:
                self._start(about["stats"])
            case LogEvent.JOB_INFO:
                self._begin(about)
            case LogEvent.JOB_FINISHED:
                self._finish(about["job_id"])
            case LogEvent.JOB_ERROR:
                self._fail(about)
            case LogEvent.ERROR if about.get("exception") in _OF_A_JOB:
                pass  # its log is shown
            case _ if record.levelno >= WARNING and (text := record.getMessage().strip()) not in ("", "None"):
                self._print(text)

    def close(self) -> None:
        """Leave the bars as they are."""
        self.closed.set()
        self.running.clear()
        if self.live is not None:
            self.live.stop()
        super().close()

    def _start(self, stats: Mapping[str, int]) -> None:
        jobs = {rule: n for rule, n in stats.items() if rule != "total"}
        self.total, self.started = sum(jobs.values()), time.monotonic()
        for stage in (*STAGES, OTHERS):
            of_stage = sum(n for rule, n in jobs.items() if _STAGE_OF.get(rule, OTHERS) == stage)
            if of_stage:
                self.left[stage] = of_stage
        if not self.console.is_terminal:
            self._print(f"{self.total} jobs")
            threading.Thread(target=self._break_silence, daemon=True).start()
            return
        columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bars = Progress(*columns)
        self.bar_of = {stage: self.bars.add_task(stage, total=n) for stage, n in self.left.items()}
        self.bar_of[""] = self.bars.add_task("all jobs", total=self.total)
        self.live = Live(get_renderable=self._screen, console=self.console, refresh_per_second=2)
        self.live.start()

    def _begin(self, about: Mapping[str, Any]) -> None:
        self.running[about["jobid"]] = _Job(
            about["rule_name"],
            " ".join(map(str, (about.get("wildcards") or {}).values())),
            [Path(log) for log in about.get("log") or []],
            time.monotonic(),
        )

    def _long_jobs(self) -> list[str]:
        """A line for each long job that said something, the one that began first before the others."""
        return [f"{job}: {said}" for job in list(self.running.values()) if (said := job.said())]

    def _screen(self) -> Group:
        assert self.bars is not None
        lines = (Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in self._long_jobs())
        return Group(self.bars, *lines)

    def _break_silence(self) -> None:
        while not self.closed.wait(SILENT / 12):
            if time.monotonic() - self.printed >= SILENT and (lines := self._long_jobs()):
                self._print(lines[0])

    def _print(self, text: str) -> None:
        self.printed = time.monotonic()
        self.console.print(escape(text))

    def _finish(self, job: int) -> None:
        ended = self.running.pop(job, None)
        stage = _STAGE_OF.get(ended.rule if ended else "", OTHERS)
        self.done += 1
        if stage in self.left:
            self.left[stage] -= 1
        if self.bars is not None:
            for bar in (stage, ""):
                if bar in self.bar_of:
                    self.bars.advance(self.bar_of[bar])
            return
        if not self.left.get(stage, 1):
            self._print(f"{stage}: done")
        if self.done * PARTS // self.total > (self.done - 1) * PARTS // self.total:
            spent = time.monotonic() - self.started
            left = (
                "" if self.done == self.total else f", about {_time(spent / self.done * (self.total - self.done))} left"
            )
            self._print(f"{self.done} of {self.total} jobs in {_time(spent)}{left}")

    def _fail(self, about: Mapping[str, Any]) -> None:
        self.running.pop(about.get("jobid", -1), None)
        self._print(f"error: a job of the rule {about['rule_name']} failed")
        for log in map(Path, about["log"]):
            if log.is_file():
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                self._print("\n".join([*lines[-LAST_LINES:], f"The whole log is in {log}"]))


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
