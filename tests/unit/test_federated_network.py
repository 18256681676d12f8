"""Federated training over a network: the same numbers as on one machine, and nothing else leaves a hospital."""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conceptbridge.api import Study
from conceptbridge.core.errors import StudyError
from conceptbridge.exchange.network.coordinator import Hospitals, coordinate
from conceptbridge.exchange.network.flare_kit import kit_of, prepare
from conceptbridge.exchange.network.hospital import Engagement, Hospital
from conceptbridge.exchange.network.messages import decode, encode
from conceptbridge.exchange.network.model_bundle import name_of
from conceptbridge.exchange.network.session import engagement
from conceptbridge.exchange.receive.bundles import receive
from conceptbridge.layout import workflow_folder
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.run_arm import read_site_of
from conceptbridge.plan import Plan
from made_arms import train_federated
from made_network import NAMES, about_of, write_hospital
from made_site import WIDTH

FOLDER = "made-ffffffffffff"
VECTORS = ArmEmbedding("made", "f" * 64, "sentence-transformers", FOLDER, FOLDER)
CNN = {"filters": 8, "dropout": 0.5, "batch": 16, "weight_decay": 0.001, "momentum": 0.9}
CNN |= {"rounds": 3, "steps": 4, "learning_rate": 0.05, "proximal": 0.0}
JOB = ArmJob(
    "influenza",
    None,
    NAMES,
    "federated",
    "cnn",
    VECTORS,
    Budget(CNN, {}, 4, 2, min_events=5, min_rows=1, min_cell_count=10, scale=True, components=4),
)
BUNDLE = name_of(JOB.task, JOB.embedding.name, JOB.learner)


class InMemory:
    """An engine that brings messages from one object to another."""

    def __init__(self, engagements: Mapping[str, Engagement]) -> None:
        self.hospitals = {name: Hospital(one) for name, one in engagements.items()}
        self.sent: list[bytes] = []

    def send(self, message: bytes, to: list[str], when: str) -> dict[str, bytes]:
        replies = {name: self.hospitals[name].answer(message) for name in reversed(to)}
        self.sent += replies.values()
        return replies


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engagement]:
    folder = tmp_path_factory.mktemp("network")
    return {name: write_hospital(folder / name, name, JOB) for name in NAMES}


def bytes_of(arm: Path) -> dict[str, bytes]:
    return {str(path.relative_to(arm)): path.read_bytes() for path in sorted(arm.rglob("*")) if path.is_file()}


def left(engagement: Engagement) -> list[dict[str, str]]:
    """The lines of a hospital's log."""
    return list(csv.DictReader(Path(engagement.log).read_text().splitlines()))


def test_messages_hold_what_they_were_given() -> None:
    value = {"a": [1, 2.5, None, "x"], "weights": {"head": np.arange(6, dtype=np.float32).reshape(2, 3)}}
    again = decode(encode(value | {"loss": np.float64(0.1), "none": np.zeros((0, 3))}), "north")
    assert again["a"] == value["a"]
    assert again["loss"] == 0.1 and again["loss"].shape == ()
    np.testing.assert_array_equal(again["weights"]["head"], value["weights"]["head"])
    assert again["none"].shape == (0, 3)


@pytest.mark.parametrize("message", [b"", b"\0" * 40, encode({"a": 1})[:-1] + b"!", b"\xff" * 8 + b"{}"])
def test_a_message_that_is_none_is_one_message(message: bytes) -> None:
    with pytest.raises(StudyError, match="north: sent a message that cannot be read"):
        decode(message, "north")


def test_hospitals_of_a_network_train_the_model_of_one_machine(network: dict[str, Engagement], tmp_path: Path) -> None:
    engine, out = InMemory(network), tmp_path / BUNDLE
    coordinate(JOB, about_of(JOB), Hospitals(list(NAMES), engine), out)
    expected = about_of(JOB)
    del expected["min_cell_count"]
    receive(out, expected, WIDTH, tmp_path / "received")
    sites = [read_site_of(JOB, Path(one.results), name) for name, one in network.items()]
    train_federated(JOB, sites, tmp_path / "here")
    assert bytes_of(tmp_path / "received/models") == bytes_of(tmp_path / "here/models")
    ours, theirs = ((tmp_path / arm / "arm.json").read_text() for arm in ("here", "received"))
    assert json.loads(ours) == json.loads(theirs)
    for one in network.values():
        assert (Path(one.models) / BUNDLE).read_bytes() == out.read_bytes()
        lines = left(one)
        assert [line["question"] for line in lines] == ["begin", "enrol", "enter", *["update"] * 4, "keep"]
        assert [line["round"] for line in lines][3:7] == ["1", "2", "3", "4"]
        assert "token_products" in lines[1]["holds"] and "head" in lines[3]["holds"]
    assert sum(map(len, engine.sent)) == sum(
        int(line["message_bytes"])
        for one in network.values()
        for line in csv.DictReader(Path(one.log).read_text().splitlines())
    )


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"settings": CNN | {"steps": 50}}, "budget.settings.steps: is 50 at the coordinator and 4 in this study"),
        ({"min_cell_count": 1}, "budget.min_cell_count: is 1 at the coordinator and 10 in this study"),
    ],
)
def test_a_hospital_trains_only_what_its_own_study_says(
    network: dict[str, Engagement], tmp_path: Path, told: dict[str, Any], found: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = replace(JOB, budget=replace(JOB.budget, **told))
    with pytest.raises(StudyError, match="riverside does not answer at the question 'begin'; no model was written"):
        coordinate(job, about_of(JOB), Hospitals(list(NAMES), InMemory(network)), tmp_path / BUNDLE)
    assert found in caplog.text
    assert not (tmp_path / BUNDLE).exists()


class SilentFromRound2(InMemory):
    """Of the hospitals one is gone in round 2."""

    def send(self, message: bytes, to: list[str], when: str) -> dict[str, bytes]:
        asked = decode(message, "")["asked"]
        return super().send(message, [n for n in to if n != "prairie" or asked.get("number") != 2], when)


def test_a_hospital_that_is_gone_is_one_message_and_no_model(network: dict[str, Engagement], tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no answer from prairie in round 2; no model was written"):
        coordinate(JOB, about_of(JOB), Hospitals(list(NAMES), SilentFromRound2(network)), tmp_path / BUNDLE)
    assert list(tmp_path.iterdir()) == []


def test_what_must_not_leave_a_hospital_is_not_sent(
    network: dict[str, Engagement], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hospital = Hospital(network["riverside"])
    begin = {"about": about_of(JOB), "job": json.loads(JOB.to_json())}
    assert "answer" in decode(hospital.answer(encode({"question": "begin", "asked": begin})), "")
    monkeypatch.setattr(hospital.client, "answer", lambda *_: {"weights": {"persons": np.zeros(300, np.float32)}})
    reply = decode(hospital.answer(encode({"question": "update", "asked": {}})), "")
    assert reply == {"refused": "update"}
    assert "the array 'persons' is not declared" in caplog.text


# --- what the commands start from -----------------------------------------------------------------------------------

HOSPITAL = workflow_folder() / "config/studies/federated-hospital.yaml"


def test_a_hospital_s_study_and_the_coordinator_s_train_the_same_models() -> None:
    hospital, coordinator = Study.read(HOSPITAL), Study.read(HOSPITAL.with_name("federated-coordinator.yaml"))
    assert hospital.strategies == ["local", "federated"]
    assert hospital.compared() == coordinator.compared()
    ours, theirs = (Plan(one, {}, {}, {}, []).federated_jobs() for one in (hospital, coordinator))
    assert ours.keys() == theirs.keys() == {"influenza.minilm.cnn.zip"}
    for file, (job, about) in ours.items():
        assert about == theirs[file][1]
        assert replace(job, sources=()) == replace(theirs[file][0], sources=())
    assert theirs["influenza.minilm.cnn.zip"][0].sources == list(NAMES)


@pytest.mark.parametrize(
    ("site", "change", "message"),
    [
        ("prairie", {}, "the kit is that of prairie, .* those of riverside"),
        ("riverside", {"federated_models": None}, "federated_models: give the folder"),
        ("riverside", {}, "cohort.parquet: there is no such file; run `conceptbridge run STUDY.yaml` first"),
    ],
)
def test_what_is_missing_to_join_is_said(tmp_path: Path, site: str, change: dict[str, None], message: str) -> None:
    config = yaml.safe_load(HOSPITAL.read_text()) | {"results": str(tmp_path)}
    study = Study.read({key: value for key, value in config.items() if key not in change})
    with pytest.raises(StudyError, match=message):
        engagement(study, Plan(study, {}, {}, {}, []).federated_jobs(), site)


def test_at_a_hospital_the_engine_may_do_what_is_needed_and_no_more(tmp_path: Path) -> None:
    kit, workspace = tmp_path / "kit", tmp_path / "results/network/riverside"
    for folder in ("startup", "local"):
        (kit / folder).mkdir(parents=True)
    (kit / "startup/fed_client.json").write_text('{"client": {"fqsn": "riverside"}}')
    components = [{"id": "process_launcher"}, {"id": "site_log_streamer"}]
    as_made = {"class_allow_list": ["a.B"], "allow_log_streaming": True, "components": components}
    (kit / "local/resources.json.default").write_text(json.dumps(as_made))
    assert kit_of(kit, "client") == "riverside"
    prepare(kit, workspace, "client")
    resources, rights = (
        json.loads((workspace / "local" / f"{f}.json").read_text()) for f in ("resources", "authorization")
    )
    assert resources["class_allow_list"] == ["conceptbridge.exchange.network.flare.Answers"]
    assert not resources["allow_log_streaming"] and resources["components"] == components[:1]
    given = rights["permissions"]["project_admin"]
    assert {name for name, right in given.items() if right != "none"} == {"submit_job", "manage_job"}
    assert not (kit / "local/resources.json").exists()
    with pytest.raises(StudyError, match=r"is not a kit of a server: it has no startup/fed_server\.json"):
        kit_of(kit, "server")
