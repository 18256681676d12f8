"""The coordinator of federated training over a network: it asks hospitals, and writes a bundle of what comes of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.network.messages import decode, encode
from conceptbridge.exchange.network.model_bundle import write_model_bundle
from conceptbridge.learn.arm_files import write_arm
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.federated.answers import Answer
from conceptbridge.learn.federated.server import ALL, federate, refused
from conceptbridge.learn.training import Arm


class Messenger(Protocol):
    """What an engine does: it brings a message to hospitals, and theirs back."""

    def send(self, message: bytes, to: list[str], when: str) -> Mapping[str, bytes]:
        """The reply of each hospital, by its name; whoever is missing is gone. ``when`` says in words which question
        this is."""


@dataclass(frozen=True)
class Hospitals:
    """The hospitals of a network, as whom questions can be put to (``learn.federated.sites.Asked``)."""

    names: list[str]
    messenger: Messenger

    def ask(self, question: str, asked: dict[str, Any], of: Any) -> list[Answer]:
        """The answers of these hospitals, in this order. Raises StudyError if one does not answer, naming it."""
        when = f"in round {asked['number']}" if "number" in asked else f"at the question {question!r}"
        replies = self.messenger.send(encode({"question": question, "asked": asked}), list(of), when)
        answers: list[Answer] = []
        if missing := [name for name in of if name not in replies]:
            who = " and ".join(missing)
            raise StudyError(
                f"federated training: no answer from {who} {when}; no model was written. Start again when all "
                "hospitals are there"
            )
        for name in of:
            reply = decode(replies[name], name)
            if "answer" not in reply:
                raise StudyError(
                    f"federated training: {name} does not answer {when}; no model was written. The log at {name} says "
                    "why"
                )
            answers.append(reply["answer"])
        return answers


def coordinate(job: ArmJob, about: Mapping[str, Any], hospitals: Hospitals, out: Path) -> None:
    """Train the job's model with the hospitals, write its bundle to ``out``, and send it to each of them.

    ``about``: what the bundle's manifest says of the model, which a hospital compares with its own study. That there is
    too little at the hospitals is a finding, and the bundle has the reason. Raises StudyError when a hospital does not
    answer, or will not; then nothing is written.
    """
    hospitals.ask("begin", {"about": dict(about), "job": json.loads(job.to_json())}, hospitals.names)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "arm"
        folder.mkdir()
        write_arm(folder, None, {ALL: federate(Arm(job, folder), hospitals)})
        write_model_bundle(about, folder, out)
    bundle = np.frombuffer(out.read_bytes(), np.uint8)
    hospitals.ask("keep", {"bundle": bundle}, hospitals.names)


def write_refusal(about: Mapping[str, Any], reason: str, out: Path) -> None:
    """Write the bundle of a model that cannot be trained so, whatever the hospitals hold, and why."""
    with TemporaryDirectory() as temporary:
        write_arm(Path(temporary), None, {ALL: refused(reason)})
        write_model_bundle(about, Path(temporary), out)
