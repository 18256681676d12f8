"""A hospital that takes part in federated training over a network: it answers a coordinator, and keeps a log of it.

What it may be asked for was settled before: the ``Engagement``, which its own study made. All that it answers goes
through the check of all that leaves a site (``exchange.egress``) first.
"""

import csv
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from conceptbridge import layout
from conceptbridge.core.atomic_files import atomic_file, write_json
from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.egress.check import check_egress
from conceptbridge.exchange.egress.site_secrets import SiteSecrets, read_site_secrets
from conceptbridge.exchange.network.messages import decode, encode
from conceptbridge.exchange.network.model_bundle import name_of
from conceptbridge.exchange.package import differences, shown
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.federated.answers import Answer, size_of, write_answer
from conceptbridge.learn.federated.client import Client
from conceptbridge.learn.run_arm import read_site_of

logger = logging.getLogger(__name__)

#: columns of the log
LEFT = ("task", "embedding", "learner", "question", "round", "holds", "bytes", "message_bytes", "refused")


@dataclass(frozen=True)
class Engagement:
    """What a hospital takes part in: its ``site`` in its own study, whose ``results`` have its rows; for each model by
    its bundle's name the ``about`` that the coordinator's study must say of it too, and the ``job``; the folder
    ``models`` for bundles of what was trained together, and the ``log`` of what left."""

    site: str
    results: str
    min_cell_count: int
    jobs: Mapping[str, Mapping[str, Any]]
    models: str
    log: str
    #: what may be said: the study's config, as JSON; and what must not be: folders of this machine
    config: str
    folders: list[str]

    def write(self, file: Path) -> None:
        write_json(asdict(self), file)

    @classmethod
    def read(cls, file: Path) -> "Engagement":
        """Read what ``write`` wrote."""
        return cls(**json.loads(file.read_text(encoding="utf-8")))


class Hospital:
    """A hospital that answers one coordinator, question by question."""

    def __init__(self, engagement: Engagement) -> None:
        self.engagement = engagement
        self.secrets = _secrets(engagement)
        self.job: ArmJob | None = None
        self.client: Client | None = None

    def answer(self, message: bytes) -> bytes:
        """The answer to a question, both as bytes.

        That it cannot be given is told without a reason, which may say something of the hospital: the log has it.
        """
        question, asked = "?", {}
        try:
            told = decode(message, "the coordinator")
            question, asked = told["question"], told["asked"]
            with threadpool_limits(1):  # the same bytes on one core or eight
                answer = self._answer(question, asked)
            reply = encode({"answer": answer})
            holds = self._checked(answer)
        except Exception as error:  # whatever it is, the coordinator is not told
            logger.exception("the question %r was not answered", question)
            answer, reply, holds = {}, encode({"refused": question}), ""
            self._log(question, asked, holds, 0, len(reply), str(error) or type(error).__name__)
            return reply
        self._log(question, asked, holds, size_of(answer), len(reply), "")
        return reply

    def _answer(self, question: str, asked: dict[str, Any]) -> Answer:
        if question == "begin":
            return self._begin(asked)
        if question == "keep":
            return self._keep(asked)
        if self.client is None:
            raise StudyError(f"the coordinator asks for {question!r} before it has said which model is trained")
        return self.client.answer(question, asked)

    def _begin(self, asked: dict[str, Any]) -> Answer:
        told, site = asked["job"], self.engagement.site
        name = name_of(told["task"], told["embedding"]["name"], told["learner"])
        if name not in self.engagement.jobs:
            raise StudyError(f"the coordinator wants to train {shown(name)}, which is no federated arm of this study")
        ours = self.engagement.jobs[name]
        for field, theirs, own in differences(asked["about"], ours["about"], "nothing", ("entry",)):
            raise StudyError(f"{name}: {field}: is {shown(repr(theirs))} at the coordinator and {own!r} in this study")
        for field, theirs, own in differences(told, ours["job"], "nothing", ("sources",)):
            raise StudyError(f"{name}: {field}: is {shown(repr(theirs))} at the coordinator and {own!r} in this study")
        self.job = ArmJob.from_json(json.dumps(ours["job"]))
        self.client = Client(self.job, read_site_of(self.job, Path(self.engagement.results), site))
        return {}

    def _keep(self, asked: dict[str, Any]) -> Answer:
        assert self.job is not None
        name = name_of(self.job.task, self.job.embedding.name, self.job.learner)
        with atomic_file(Path(self.engagement.models) / name) as file:
            file.write_bytes(asked["bundle"].astype(np.uint8).tobytes())
        return {}

    def _checked(self, answer: Answer) -> str:
        """Check what leaves, and say what it holds. Raises StudyError if it must not leave."""
        assert self.job is not None
        with TemporaryDirectory() as temporary:
            write_answer(answer, Path(temporary))
            released = check_egress(Path(temporary), self.secrets, self.job.learner)
        if finding := self.secrets.finding(str(answer.get("reason", "")), program=True):
            raise StudyError(f"the reason to take no part holds {finding}; it does not leave the site")
        return " ".join(column for file in released for column in file.columns) or " ".join(answer)

    def _log(self, question: str, asked: Mapping[str, Any], holds: str, size: int, message: int, refused: str) -> None:
        job, log = self.job, Path(self.engagement.log)
        model = ("", "", "") if job is None else (job.task, job.embedding.name, job.learner)
        log.parent.mkdir(parents=True, exist_ok=True)
        new = not log.is_file()
        with log.open("a", newline="", encoding="utf-8") as file:
            row = (*model, question, asked.get("number", ""), holds, size, message, refused)
            csv.writer(file).writerows(([LEFT] if new else []) + [row])


def _secrets(engagement: Engagement) -> SiteSecrets:
    results, site = Path(engagement.results), engagement.site
    tasks = dict.fromkeys(ours["job"]["task"] for ours in engagement.jobs.values())
    cohorts = [results / layout.place(layout.COHORT, task=task, site=site) for task in tasks]
    of_site = (results / layout.place(layout.VOCABULARY, site=site)).parent
    return read_site_secrets(
        [of_site], cohorts, engagement.config, engagement.min_cell_count, map(Path, engagement.folders)
    )
