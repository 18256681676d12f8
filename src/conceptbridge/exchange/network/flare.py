"""NVIDIA FLARE brings the messages: a controller at the coordinator, an executor at each hospital.

Both are named in a job's files and made by FLARE, in a process that stays for all rounds. They know nothing of what the
messages say. FLARE's own averaging is not used: it depends on who answers first.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal

from conceptbridge.core.atomic_files import write_text
from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.network.coordinator import Hospitals, coordinate
from conceptbridge.exchange.network.flare_kit import ENGAGEMENT, TASKS, failure
from conceptbridge.exchange.network.hospital import Engagement, Hospital
from conceptbridge.learn.arm_job import ArmJob

_TASK, _MESSAGE = "answer", "message"
#: seconds between two looks at who has answered
_LOOK = 0.02


def _workspace(context: FLContext) -> Path:
    return Path(context.get_engine().get_workspace().get_root_dir())


class Rounds(Controller):  # type: ignore[misc]
    """Trains one model with the hospitals, and ends."""

    def __init__(self, model: str) -> None:
        super().__init__(task_check_period=_LOOK)
        self.model = model

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Nothing is to be made ready."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing is to be ended."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Ask the hospitals until there is a model; of a mistake, say so in a file, and stop the job."""
        workspace = _workspace(fl_ctx)
        task = json.loads((workspace / TASKS).read_text(encoding="utf-8"))[self.model]
        hospitals = Hospitals(task["hospitals"], _Broadcast(self, abort_signal, fl_ctx))
        try:
            coordinate(ArmJob.from_json(json.dumps(task["job"])), task["about"], hospitals, Path(task["out"]))
        except StudyError as error:
            write_text(str(error), failure(workspace, self.model))
            self.system_panic(str(error), fl_ctx)


class _Broadcast:
    """A task to each hospital, until all have answered or are gone."""

    def __init__(self, controller: Rounds, abort_signal: Signal, context: FLContext) -> None:
        self.controller, self.abort_signal, self.context = controller, abort_signal, context

    def send(self, message: bytes, to: list[str], when: str) -> Mapping[str, bytes]:
        replies: dict[str, bytes] = {}

        def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
            reply = client_task.result
            if isinstance(reply, Shareable) and isinstance(reply.get(_MESSAGE), bytes):
                replies[client_task.client.name] = reply[_MESSAGE]
            client_task.result = None

        task = Task(name=_TASK, data=Shareable({_MESSAGE: message}), result_received_cb=received)
        self.controller.broadcast_and_wait(
            task, self.context, targets=to, min_responses=len(to), abort_signal=self.abort_signal
        )
        if self.abort_signal.triggered:  # as soon as one process has ended; then nobody answers
            raise StudyError(f"federated training was stopped {when}; no model was written")
        return replies


class Answers(Executor):  # type: ignore[misc]
    """Answers at a hospital what its engagement lets it answer."""

    def __init__(self) -> None:
        super().__init__()
        self.hospital: Hospital | None = None

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Any:
        """Answer one message with one message."""
        message = shareable.get(_MESSAGE)
        if not isinstance(message, bytes):
            return make_reply(ReturnCode.BAD_TASK_DATA)
        if self.hospital is None:
            self.hospital = Hospital(Engagement.read(_workspace(fl_ctx) / ENGAGEMENT))
        return Shareable({_MESSAGE: self.hospital.answer(message)})
