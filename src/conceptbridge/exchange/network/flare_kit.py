"""Start NVIDIA FLARE from the kits that `nvflare provision` makes, so that it does what is needed and no more.

A kit is copied to a folder of the results, and stays as it was signed. At a hospital FLARE may then make one object,
our executor; a coordinator can start and stop jobs there, and neither look at files nor run a command; no log is sent.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conceptbridge.core.atomic_files import write_json
from conceptbridge.core.errors import StudyError

#: what is in FLARE's folder beside its own files: at a hospital, at the coordinator
ENGAGEMENT, TASKS = "engagement.json", "tasks.json"
ADAPTER = "conceptbridge.exchange.network.flare"
#: seconds after which a hospital asks again whether there is a question
ASK_AGAIN = 0.05
#: seconds after which a hospital whose process has ended is given up
GIVEN_UP = 10.0

_MODULE = "nvflare.private.fed.app.{side}.{side}_train"
_RIGHTS = (
    *("submit_job", "manage_job", "clone_job", "download_job", "view", "operate", "shell_commands", "byoc"),
    "server-predeployed-flwr",
)


def failure(workspace: Path, model: str) -> Path:
    """Where a job says why it has trained no model."""
    return workspace / f"{model}.failed.txt"


def kit_of(folder: Path, side: str) -> str:
    """The name in a kit: of a hospital, of the server, or of its administrator.

    Raises StudyError if the folder is not such a kit; ``side`` is client, server or admin.
    """
    file = folder / "startup" / f"fed_{side}.json"
    if not file.is_file():
        raise StudyError(f"{folder}: is not a kit of a {side}: it has no startup/fed_{side}.json")
    told = json.loads(file.read_text(encoding="utf-8"))
    if side == "client":
        return str(told["client"]["fqsn"])
    return str(told["admin"]["username"]) if side == "admin" else str(told["servers"][0]["name"])


def prepare(kit: Path, workspace: Path, side: str) -> None:
    """Copy a kit to the folder ``workspace``, and let FLARE do there only what is needed."""
    if workspace.exists():
        shutil.rmtree(workspace)
    shutil.copytree(kit, workspace)
    local = workspace / "local"
    resources = json.loads((local / "resources.json.default").read_text(encoding="utf-8"))
    resources["class_allow_list"] = [f"{ADAPTER}.{'Rounds' if side == 'server' else 'Answers'}"]
    if side == "client":
        resources["allow_log_streaming"] = False
        resources["components"] = [one for one in resources["components"] if one["id"] != "site_log_streamer"]
        rights = {name: "any" if name in ("submit_job", "manage_job") else "none" for name in _RIGHTS}
        write_json({"format_version": "1.0", "permissions": {"project_admin": rights}}, local / "authorization.json")
    else:
        resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(workspace / "snapshots")
        for component in resources["components"]:
            if component["id"] == "job_manager":
                component["args"]["uri_root"] = str(workspace / "jobs")
    write_json(resources, local / "resources.json")
    (workspace / "startup").chmod(0o700)  # keys


@contextmanager
def running(workspace: Path, side: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """FLARE's process of a hospital or of the server, with all that it starts, until the end of the block."""
    settings = ["secure_train=true", "config_folder=config", f"org={name}"]
    settings += [f"uid={name}"] if side == "client" else []
    command = [sys.executable, "-u", "-m", _MODULE.format(side=side), "-m", str(workspace)]
    command += ["-s", f"fed_{side}.json", "--set", *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")}
    with (workspace / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True, cwd=workspace
        )
    try:
        yield process
    finally:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sent)
            except ProcessLookupError:
                break
            for _ in range(50):
                if process.poll() is not None:
                    break
                time.sleep(0.1)
        process.wait()


def write_job(folder: Path, model: str, hospitals: list[str]) -> None:
    """Write FLARE's job that trains a model: names of our two classes, and no code."""
    told = {
        "name": model,
        "min_clients": len(hospitals),
        "mandatory_clients": hospitals,
        "resource_spec": {},
        "deploy_map": {"coordinator": ["server"], "hospital": hospitals},
    }
    nothing: dict[str, Any] = {
        "format_version": 2,
        "task_data_filters": [],
        "task_result_filters": [],
        "components": [],
    }
    rounds = {"id": "rounds", "path": f"{ADAPTER}.Rounds", "args": {"model": model}}
    answers = {"tasks": ["*"], "executor": {"path": f"{ADAPTER}.Answers", "args": {}}}
    server = nothing | {
        "server": {"heart_beat_timeout": 600, "task_request_interval": ASK_AGAIN},
        "dead_client_grace_period": GIVEN_UP,
        "dead_client_check_lead_time": GIVEN_UP,
        "workflows": [rounds],
    }
    write_json(told, folder / "meta.json")
    write_json(server, folder / "coordinator/config/config_fed_server.json")
    write_json(nothing | {"executors": [answers]}, folder / "hospital/config/config_fed_client.json")


def train(workspace: Path, admin: Path, tasks: Mapping[str, Mapping[str, Any]], tell: Callable[[str], None]) -> None:
    """Have the server, which runs, train each of the ``tasks`` with their hospitals, one after the other.

    ``admin`` is the kit of its administrator. Waits until all hospitals are there; ``tell`` is told what goes on.
    Raises StudyError, with what the job says, if a model was not trained.
    """
    from nvflare.fuel.flare_api.flare_api import new_secure_session

    write_json(dict(tasks), workspace / TASKS)
    session = new_secure_session(kit_of(admin, "admin"), str(admin), timeout=60.0)
    try:
        for model, task in tasks.items():
            _wait_for(session, task["hospitals"], tell)
            tell(f"training {model}")
            job = workspace / "submitted" / model
            write_job(job, model, task["hospitals"])
            session.monitor_job(session.submit_job(str(job)), poll_interval=1.0)
            if not Path(task["out"]).is_file():
                why = failure(workspace, model)
                told = why.read_text(encoding="utf-8") if why.is_file() else f"see {workspace}/output.txt"
                raise StudyError(f"{model}: {told}{_ended(workspace)}")
            tell(f"wrote {task['out']}")
    finally:
        session.close()


def _ended(workspace: Path) -> str:
    """Of which hospitals the process has ended, as far as FLARE's server has written that."""
    output = (workspace / "output.txt").read_text(encoding="utf-8", errors="replace")
    names = dict.fromkeys(re.findall(r"due to reported failure from ([\w.-]+)", output))
    return f". The process of {' and '.join(names)} has ended; start again when it is back" if names else ""


def _wait_for(session: Any, hospitals: list[str], tell: Callable[[str], None]) -> None:
    told: list[str] = []
    while missing := sorted(set(hospitals) - {client.name for client in session.get_system_info().client_info}):
        if missing != told:
            tell(f"waiting for {', '.join(missing)}")
            told = missing
        time.sleep(1)
