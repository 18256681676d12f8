"""Sites in processes of their own, each of which opens the files of its own site and no other."""

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from conceptbridge.core.errors import StudyError
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.federated.answers import Answer
from conceptbridge.learn.federated.client import Client
from conceptbridge.learn.site import Site

#: how a site reads its files of a job, below a folder of results
Read = Callable[[ArmJob, Path, str], Site]
#: what a process runs: the end of its pipe, the job, the folder of results, and the site
Serve = Callable[[Connection, str, Path, str], None]


def serve(pipe: Connection, job: str, results: Path, site: str, read: Read | None = None) -> None:
    """Read a site's files below ``results`` and answer what comes through the pipe, until it is closed.

    ``read`` is how they are read, if not as they are.
    """
    from conceptbridge.learn.run_arm import read_site_of

    threadpool_limits(1)  # the same bytes on one core or eight
    client: Client | None = None
    while True:
        try:
            asked = pipe.recv()
        except (EOFError, OSError):  # who asked is gone
            return
        if asked is None:
            return
        try:
            if client is None:
                of_site = ArmJob.from_json(job)
                client = Client(of_site, (read or read_site_of)(of_site, results, site))
            pipe.send(("answer", client.answer(*asked)))
        except StudyError as error:
            pipe.send(("error", str(error)))
        except Exception:
            pipe.send(("bug", traceback.format_exc()))


@dataclass(frozen=True)
class Processes:
    """Running processes, by site; ``at_once`` of them may compute at a time."""

    running: Mapping[str, tuple[SpawnProcess, Connection]]
    at_once: int

    @property
    def names(self) -> Sequence[str]:
        return list(self.running)

    def ask(self, question: str, asked: dict[str, Any], of: Sequence[str]) -> list[Answer]:
        """Put a question to these sites. Raises StudyError for what a site's process says is wrong, or if it ends."""
        waiting, busy, answers = list(of), dict[Any, str](), dict[str, Answer]()
        while waiting or busy:
            while waiting and len(busy) < self.at_once:
                name = waiting.pop(0)
                pipe = self.running[name][1]
                try:
                    pipe.send((question, asked))
                except OSError:
                    raise self._ended(name, question, asked) from None
                busy[pipe] = name
            for ready in wait(list(busy)):
                name = busy.pop(ready)
                answers[name] = self._answer_of(name, question, asked)
        return [answers[name] for name in of]

    def _answer_of(self, name: str, question: str, asked: dict[str, Any]) -> Answer:
        try:
            kind, what = self.running[name][1].recv()
        except (EOFError, OSError):
            raise self._ended(name, question, asked) from None
        if kind == "error":
            raise StudyError(str(what))
        if kind == "bug":
            raise RuntimeError(f"the process of {name}:\n{what}")
        answer: Answer = what
        return answer

    def _ended(self, name: str, question: str, asked: dict[str, Any]) -> StudyError:
        process = self.running[name][0]
        process.join(5)
        when = f"in round {asked['number']}" if "number" in asked else f"at the question {question!r}"
        return StudyError(
            f"federated training: the process of {name} ended {when} (exit status {process.exitcode}); no model was "
            "written. Start the run again; if it was killed for memory, give the rule `federate` more"
        )


@contextmanager
def processes(job: ArmJob, results: Mapping[str, Path], at_once: int = 1, run: Serve = serve) -> Iterator[Processes]:
    """Start a process per site of ``results``, the folder of results in which its files lie, and end them all."""
    context, running = multiprocessing.get_context("spawn"), dict[str, tuple[SpawnProcess, Connection]]()
    try:
        for site, folder in results.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=run, args=(theirs, job.to_json(), folder, site), daemon=True)
            process.start()
            theirs.close()  # so that its end is noticed
            running[site] = (process, ours)
        yield Processes(running, max(at_once, 1))
    finally:
        for process, pipe in running.values():
            pipe.close()
            process.join(2)
            if process.is_alive():
                process.kill()
                process.join()
