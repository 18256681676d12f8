"""NVIDIA FLARE between three hospitals and a coordinator, each a process of its own, over mutual TLS."""

import csv
import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from conceptbridge.exchange.network.flare_kit import ENGAGEMENT, prepare, running, train
from conceptbridge.exchange.network.model_bundle import name_of
from conceptbridge.exchange.receive.bundles import receive
from conceptbridge.learn.run_arm import read_site_of
from made_arms import train_federated
from made_network import NAMES, about_of, write_hospital
from made_site import WIDTH
from test_federated_network import CNN, JOB, bytes_of

pytest.importorskip("nvflare", reason="NVIDIA FLARE is not installed: pip install 'conceptbridge[flare]'")

NETWORK = """
api_version: 3
name: network
description: three hospitals
participants:
  - {{name: localhost, type: server, org: coordinator, fed_learn_port: {port}}}
  - {{name: riverside, type: client, org: riverside}}
  - {{name: lakeshore, type: client, org: lakeshore}}
  - {{name: prairie, type: client, org: prairie}}
  - {{name: admin@network.org, type: admin, org: coordinator, role: project_admin}}
builders:
  - {{path: nvflare.lighter.impl.workspace.WorkspaceBuilder, args: {{template_file: [master_template.yml]}}}}
  - {{path: nvflare.lighter.impl.static_file.StaticFileBuilder, args: {{config_folder: config, scheme: grpc}}}}
  - {{path: nvflare.lighter.impl.cert.CertBuilder}}
  - {{path: nvflare.lighter.impl.signature.SignatureBuilder}}
"""
JOB_20 = replace(JOB, budget=replace(JOB.budget, settings=CNN | {"rounds": 20}))
BUNDLE = name_of(JOB.task, JOB.embedding.name, JOB.learner)


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kits")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "network.yml").write_text(NETWORK.format(port=port))
    command = [sys.executable, "-m", "nvflare.cli", "provision", "-p", "network.yml", "-w", "kits"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "kits/network/prod_00"


def test_over_flare_hospitals_train_the_model_of_one_machine(kits: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "coordinator" / BUNDLE, []
    engagements = {name: write_hospital(tmp_path / name, name, JOB_20) for name in NAMES}
    with ExitStack() as stack:
        server = tmp_path / "coordinator/flare"
        prepare(kits / "localhost", server, "server")
        stack.enter_context(running(server, "server", "localhost"))
        for name, engagement in engagements.items():
            prepare(kits / name, tmp_path / name / "flare", "client")
            engagement.write(tmp_path / name / "flare" / ENGAGEMENT)
            stack.enter_context(running(tmp_path / name / "flare", "client", name))
        task = {"hospitals": list(NAMES), "job": json.loads(JOB_20.to_json()), "about": about_of(JOB), "out": str(out)}
        train(server, kits / "admin@network.org", {"influenza.made.cnn": task}, told.append)
    expected = about_of(JOB)
    del expected["min_cell_count"]
    receive(out, expected, WIDTH, tmp_path / "received")
    sites = [read_site_of(JOB, Path(one.results), name) for name, one in engagements.items()]
    train_federated(JOB_20, sites, tmp_path / "here")
    assert bytes_of(tmp_path / "received/models") == bytes_of(tmp_path / "here/models")
    for one in engagements.values():
        assert (Path(one.models) / BUNDLE).read_bytes() == out.read_bytes()
        lines = list(csv.DictReader(Path(one.log).read_text().splitlines()))
        assert [line["question"] for line in lines] == ["begin", "enrol", "enter", *["update"] * 21, "keep"]
