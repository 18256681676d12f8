"""What Flower runs for `benchmarks/flower/run.py`: at the coordinator rounds and one secure sum, at a hospital a relay.

Flower starts a process per message at a hospital. It is given to the hospital's own process, which has the rows in
memory, over a socket of that machine.
"""

import json
import time
from collections.abc import Mapping
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.compat.common.recorddict_compat import fitres_to_recorddict, parameters_to_arrayrecord, recorddict_to_fitins
from flwr.server import LegacyContext
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.serverapp import Grid, ServerApp

client = ClientApp()
server = ServerApp()


def _ask(context: Context, message: bytes) -> bytes:
    with Client(str(context.node_config["socket"]), "AF_UNIX") as hospital:
        hospital.send_bytes(message)
        return hospital.recv_bytes()


def _record(message: bytes) -> RecordDict:
    return RecordDict({"message": ConfigRecord({"bytes": message})})


@client.query()
def answer(message: Message, context: Context) -> Message:
    """Pass one question on, and the answer back; an empty one asks for the hospital's name."""
    asked = message.content["message"]["bytes"]
    told = _ask(context, asked) if asked else str(context.node_config["site"]).encode()
    return Message(_record(told), reply_to=message)


@client.train(mods=[secaggplus_mod])
def mask(message: Message, context: Context) -> Message:
    """Give the weights that answer a question to SecAgg+, which masks them before they leave."""
    from conceptbridge.exchange.network.messages import decode

    config = recorddict_to_fitins(message.content, keep_input=True).config
    weights = decode(_ask(context, config["message"]), "the hospital")["answer"]["weights"]
    told = FitRes(Status(Code.OK, ""), ndarrays_to_parameters(list(weights.values())), config["rows"], {})
    return Message(fitres_to_recorddict(told, keep_input=True), reply_to=message)


class Messages:
    """A query to each hospital, until all have answered; with the seconds that each question took."""

    def __init__(self, grid: Grid, nodes: Mapping[str, int]) -> None:
        self.grid, self.nodes = grid, nodes
        self.seconds: list[tuple[str, float]] = []
        self.said: dict[str, tuple[bytes, dict[str, bytes]]] = {}

    def send(self, message: bytes, to: list[str], when: str) -> dict[str, bytes]:
        began = time.monotonic()
        asked = [Message(_record(message), dst_node_id=self.nodes[name], message_type="query") for name in to]
        names = {node: name for name, node in self.nodes.items()}
        replies = {
            names[reply.metadata.src_node_id]: reply.content["message"]["bytes"]
            for reply in self.grid.send_and_receive(asked)
            if not reply.has_error()
        }
        self.seconds.append((when, time.monotonic() - began))
        self.said[when] = (message, replies)
        return replies


class _Sum(FedAvg):
    """Asks all hospitals the one question, and keeps what comes of it."""

    def __init__(self, asked: list[tuple[Any, FitIns]]) -> None:
        super().__init__()
        self.asked = asked
        self.average: list[Any] = []

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: Any) -> list[Any]:
        return self.asked

    def aggregate_fit(self, server_round: int, results: list[Any], failures: list[Any]) -> Any:
        self.average = parameters_to_ndarrays(results[0][1].parameters)  # the same in all: theirs are not known
        return None, {}


@server.main()
def rounds(grid: Grid, context: Context) -> None:
    """Train the model, ask the last round again through SecAgg+, and write what was measured."""
    from conceptbridge.exchange.network.coordinator import Hospitals, coordinate
    from conceptbridge.exchange.network.messages import decode
    from conceptbridge.learn.arm_job import ArmJob

    task = json.loads(Path(str(context.run_config["task"])).read_text(encoding="utf-8"))
    while len(nodes := list(grid.get_node_ids())) < len(task["hospitals"]):
        time.sleep(0.5)
    began = time.monotonic()
    hello = [Message(_record(b""), dst_node_id=node, message_type="query") for node in nodes]
    named = {r.content["message"]["bytes"].decode(): r.metadata.src_node_id for r in grid.send_and_receive(hello)}
    seconds = time.monotonic() - began
    messages = Messages(grid, named)
    job = ArmJob.from_json(json.dumps(task["job"]))
    coordinate(job, task["about"], Hospitals(task["hospitals"], messages), Path(task["out"]))

    names = task["hospitals"]
    enrolled = [decode(messages.said["at the question 'enrol'"][1][name], name)["answer"] for name in names]
    rows = np.array([int(one["rows"]) for one in enrolled])
    last = f"in round {job.budget.settings['rounds']}"
    question, replies = messages.said[last]
    sent = [decode(replies[name], name)["answer"]["weights"] for name in names]
    plain = {
        name: sum(one[name].astype(np.float64) * share for one, share in zip(sent, rows / rows.sum(), strict=True))
        for name in sent[0]
    }
    proxies = [GridClientProxy(named[name], grid, context.run_id) for name in names]
    none = ndarrays_to_parameters([])
    asked = [
        (proxy, FitIns(none, {"message": question, "rows": int(n)})) for proxy, n in zip(proxies, rows, strict=True)
    ]
    summing = _Sum(asked)
    legacy = LegacyContext(context, strategy=summing)
    legacy.state.config_records["config"] = ConfigRecord({"current_round": 1})
    legacy.state.array_records["parameters"] = parameters_to_arrayrecord(none, keep_input=True)
    began = time.monotonic()
    SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2, max_weight=float(task["max_weight"]))(grid, legacy)
    told = {
        "hello_s": seconds,
        "questions_s": messages.seconds,
        "secure_sum_s": time.monotonic() - began,
        "secure_sum_error": max(
            float(np.abs(ours - theirs).max()) for ours, theirs in zip(plain.values(), summing.average, strict=True)
        ),
        "largest_weight": max(float(np.abs(one).max()) for one in plain.values()),
        "weights": sum(one.size for one in plain.values()),
        "message_bytes": [len(question), len(replies[names[0]])],
    }
    part = Path(task["told"]).with_suffix(".part")
    part.write_text(json.dumps(told), encoding="utf-8")
    part.rename(task["told"])
