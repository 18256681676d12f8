"""Federated training: one model of several sites' rows, of which none leaves its site."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from conceptbridge import layout
from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import is_small
from conceptbridge.exchange.egress.check import check_egress
from conceptbridge.learn import penalised_solver
from conceptbridge.learn.arm_files import TrainedModel, load_model
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.federated import sums
from conceptbridge.learn.federated.answers import ANSWERS, checked, write_answer
from conceptbridge.learn.federated.client import Client
from conceptbridge.learn.federated.hub_words import serve_in_words_of_hub as in_words
from conceptbridge.learn.federated.input_space import joint_space
from conceptbridge.learn.federated.processes import serve
from conceptbridge.learn.federated.server import federate, refusal
from conceptbridge.learn.federated.sites import InProcess
from conceptbridge.learn.places import Windows
from conceptbridge.learn.registry import learner
from conceptbridge.learn.run_federated import run_federated
from conceptbridge.learn.search import Part, Run
from conceptbridge.learn.site import LABELLED, Site, join_sites
from conceptbridge.learn.training import Arm, split_part
from conceptbridge.learn.translated_arm import run_translated_arm
from conceptbridge.learn.windows import in_windows
from conceptbridge.translate.translation import SCHEMA as TRANSLATION
from made_arms import train_federated
from made_site import CONCEPTS, NOBODY, WIDTH, site, write_site

TASK, SITES = "influenza", ("riverside", "lakeshore", "prairie")
FOLDER = "made-ffffffffffff"
VECTORS = ArmEmbedding("made", "f" * 64, "sentence-transformers", FOLDER, FOLDER)
ONEHOT = ArmEmbedding("onehot", "f" * 64, "onehot", "onehot-ffffffffffff")
LOGISTIC = {"penalty": 0.001, "penalties": 11, "patience": 3, "l1_share": 1.0}
ROUNDS = {"rounds": 12, "steps": 4, "learning_rate": 0.05, "proximal": 0.0}
CNN = {"filters": 8, "dropout": 0.5, "batch": 16, "weight_decay": 0.001, "momentum": 0.9, **ROUNDS}
TRANSFORMER = {"width": 16, "blocks": 1, "heads": 2, "tokens": 64, "dropout": 0.1, "batch": 16, "weight_decay": 0.001}
TRANSFORMER |= ROUNDS | {"learning_rate": 0.02, "steps": 8, "rounds": 20}


def job_of(name: str, settings: dict[str, Any], embedding: ArmEmbedding = VECTORS, **more: Any) -> ArmJob:
    budget = Budget(
        settings, more.pop("searched", {}), 4, 2, min_events=5, min_rows=1, min_cell_count=10, scale=True, **more
    )
    return ArmJob(TASK, None, SITES, "federated", name, embedding, budget)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three sites' folders; the third has few rows."""
    folder = tmp_path_factory.mktemp("sites")
    rows = (300, 300, 150)
    return {
        name: write_site(folder / name, CONCEPTS, rows=n, seed=i)
        for i, (name, n) in enumerate(zip(SITES, rows, strict=True))
    }


def sites_of(three: dict[str, Path], table: bool = True) -> list[Site]:
    return [site(folder, name, table) for name, folder in three.items()]


def trained(job: ArmJob, sites: list[Site], out: Path) -> tuple[TrainedModel, dict[str, Any]]:
    """The model that the sites make in this process, and its entry in arm.json."""
    out.mkdir()
    result = federate(Arm(job, out), InProcess({one.name: Client(job, one) for one in sites}))
    assert result.entry["reason"] is None
    return load_model(out / "models/all", job.learner, job.embedding.fingerprint), result.entry


def auroc(model: TrainedModel, at: Site) -> float:
    from sklearn.metrics import roc_auc_score

    test = at.rows.of("test")
    probability = model.predict(at.draws(model.space, test))
    return float(np.mean([roc_auc_score(at.rows.labels[test], of_seed) for of_seed in probability]))


@pytest.mark.parametrize(
    ("name", "settings", "embedding"),
    [
        ("cnn", CNN, VECTORS),
        ("cnn", CNN, ONEHOT),
        pytest.param("transformer", TRANSFORMER, VECTORS, marks=pytest.mark.dear),
        ("logistic", LOGISTIC, VECTORS),
    ],
)
def test_sites_learn_one_model_together(
    three: dict[str, Path], tmp_path: Path, name: str, settings: dict[str, Any], embedding: ArmEmbedding
) -> None:
    sites = sites_of(three, embedding is VECTORS)
    model, entry = trained(job_of(name, settings, embedding), sites, tmp_path / "arm")
    assert model.model.seeds == [1, 2]
    assert min(auroc(model, at) for at in sites) > 0.7
    assert entry["train_rows"] == sum(len(at.rows.of("train")) for at in sites)


def test_sites_learn_filters_that_read_all_windows_alike(three: dict[str, Path], tmp_path: Path) -> None:
    windows = Windows(((0, 0), (-365, -1)), False)
    sites = [replace(one, rows=in_windows(one.rows, windows)) for one in sites_of(three)]
    job = job_of("cnn", CNN, components=4)
    model, _ = trained(replace(job, windows=windows.to_dict()), sites, tmp_path / "arm")
    assert model.model.weights["head"].shape == (2, 2 * CNN["filters"], 2)
    assert min(auroc(model, at) for at in sites) > 0.7


def test_settings_are_chosen_on_the_sites_validation_rows_and_the_best_round_is_kept(
    three: dict[str, Path], tmp_path: Path
) -> None:
    job = job_of("cnn", CNN, searched={"learning_rate": [0.001, 0.05]})
    _, entry = trained(job, sites_of(three), tmp_path / "arm")
    assert entry["spent"]["chosen"]["learning_rate"] >= 0.05
    assert all(0 < kept <= CNN["rounds"] for kept in entry["spent"]["kept"])


def test_a_pull_to_the_weights_of_the_round_keeps_sites_near_them(three: dict[str, Path], tmp_path: Path) -> None:
    moved = []
    for pull in (0.0, 50.0):
        settings = CNN | {"rounds": 1, "proximal": pull}
        model, _ = trained(job_of("cnn", settings), sites_of(three), tmp_path / str(pull))
        first = learner("cnn").begin(
            model.space, [Run(seed, settings, Part(*[np.zeros(0, int)] * 2)) for seed in (1, 2)]
        )
        moved.append(float(np.abs(model.model.weights["head"] - first.weights["head"]).max()))
    assert 0 < moved[1] < 0.2 * moved[0]


def test_a_regression_by_sums_is_that_of_all_rows(
    three: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the same optimum, and the pooled solver made to go as far
    def far(*asked: Any, options: dict[str, Any], **more: Any) -> Any:
        return minimize(*asked, options=options | {"gtol": 1e-11, "ftol": 0}, **more)

    for name, value in {"SLACK": 1e-9, "SETTLED": 0.0, "NEWTON": 100, "minimize": far}.items():
        monkeypatch.setattr(penalised_solver, name, value)
    monkeypatch.setattr(penalised_solver.lasso_step, "__defaults__", (1e-10,))
    sites = sites_of(three)
    for share in (1.0, 0.5, 0.0):
        # at larger minima a site leaves out the tokens that few of its persons have
        job = job_of("logistic", LOGISTIC | {"l1_share": share})
        job = replace(job, budget=replace(job.budget, min_cell_count=1))
        model, entry = trained(job, sites, tmp_path / str(share))
        joined = join_sites("all", sites)
        labelled = joined.rows.of(*LABELLED)
        pooled = learner("logistic").fit(
            joined.draws(model.space, labelled)[0], [Run(1, job.budget.settings, split_part(joined, labelled))]
        )
        assert entry["spent"]["kept"] == [pooled.kept[0]] * 2
        assert np.abs(pooled.coefficients[0]).max() > 0.01
        np.testing.assert_allclose(model.model.coefficients[0], pooled.coefficients[0], atol=1e-6)
        np.testing.assert_allclose(model.model.intercepts[0], pooled.intercepts[0], atol=1e-6)


def test_what_cannot_be_federated_is_not_estimable_and_says_why(three: dict[str, Path], tmp_path: Path) -> None:
    assert refusal(job_of("lightgbm", {})) == "trees cannot be averaged"
    assert "two tokens at once" in str(refusal(job_of("logistic", LOGISTIC, ONEHOT)))
    assert refusal(job_of("cnn", CNN)) is None
    run_federated(job_of("lightgbm", {}), tmp_path, tmp_path / "arm")  # no file of a site is there, or needed
    entry = json.loads((tmp_path / "arm/arm.json").read_text())["sources"]["all"]
    assert entry["reason"] == "trees cannot be averaged"


def test_a_site_of_few_events_takes_no_part_and_one_alone_is_none(tmp_path: Path) -> None:
    folders = {
        "riverside": write_site(tmp_path / "riverside", CONCEPTS),
        "lakeshore": write_site(tmp_path / "lakeshore", CONCEPTS, seed=1),
        "quiet": write_site(tmp_path / "quiet", CONCEPTS, seed=2, events=False),
    }
    sites, job = sites_of(folders), job_of("cnn", CNN | {"rounds": 2})
    with_quiet, entry = trained(job, sites, tmp_path / "three")
    without, _ = trained(job, sites[:2], tmp_path / "two")
    assert all((with_quiet.model.weights[name] == array).all() for name, array in without.model.weights.items())
    assert entry["train_rows"] == 200
    alone = federate(Arm(job, tmp_path), InProcess({one.name: Client(job, one) for one in sites[1:]}))
    assert alone.entry["reason"] == "fewer than two sites: fewer than 10 events among the training rows at quiet"


# --- processes ------------------------------------------------------------------------------------------------------


def results_of(three: dict[str, Path], folder: Path, *names: str) -> Path:
    """A folder of results that has the files of these sites."""
    for name in names:
        cohort, *_ = layout.rows(folder, TASK, name)
        shutil.copytree(three[name], cohort.parent)
        table = layout.vectors(folder, FOLDER, name)
        table.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(cohort.parent / "table.parquet", table)
    return folder


def serve_alone(pipe: Connection, job: str, results: Path, name: str) -> None:
    """A site's process, as a user who can read the files of no other site, which lie in a folder of that site alone;
    the first site is the last to begin."""
    own = results / name
    if os.getuid() == 0:
        uid = 20_000 + SITES.index(name)
        os.setgid(uid)
        os.setuid(uid)
        for other in set(SITES) - {name}:
            with pytest.raises(PermissionError):
                list((results / other).iterdir())
    time.sleep(0.3 * (len(SITES) - SITES.index(name)))
    serve(pipe, job, own, name)


class DiesInRound7:
    """The end of a pipe at a site whose process is killed in round 7."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.send = pipe, pipe.send

    def recv(self) -> Any:
        asked = self.pipe.recv()
        if asked and asked[1].get("number") == 7:
            os._exit(9)
        return asked


def serve_until_round_7(pipe: Any, job: str, results: Path, name: str) -> None:
    serve(DiesInRound7(pipe) if name == "lakeshore" else pipe, job, results, name)


def bytes_of(arm: Path) -> dict[str, bytes]:
    return {str(path.relative_to(arm)): path.read_bytes() for path in sorted(arm.rglob("*")) if path.is_file()}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can come through, as they cannot through pytest's."""
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def test_a_site_s_process_reads_its_own_files_alone_and_the_model_is_the_same_to_the_byte(
    three: dict[str, Path], open_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(SITES):
        own = results_of(three, open_folder / name, name)
        if os.getuid() == 0:
            for path in (own, *own.rglob("*")):
                os.chown(path, 20_000 + number, 20_000 + number)
            own.chmod(0o700)
    job = job_of("logistic", LOGISTIC)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    run_federated(job, open_folder, tmp_path / "processes", 8, serve_alone)
    train_federated(job, sites_of(three), tmp_path / "here")
    assert bytes_of(tmp_path / "processes") == bytes_of(tmp_path / "here")
    assert bytes_of(tmp_path / "here").keys() > {"arm.json", "models/all/coefficients.safetensors"}


class LastFirst(InProcess):
    """Sites that answer in the opposite order."""

    def ask(self, question: str, asked: dict[str, Any], of: Any) -> list[dict[str, Any]]:
        return super().ask(question, asked, of[::-1])[::-1]


def test_the_weights_are_the_same_whoever_answers_first(three: dict[str, Path], tmp_path: Path) -> None:
    job = job_of("cnn", CNN)
    train_federated(job, sites_of(three), tmp_path / "arm")
    clients = {one.name: Client(job, one) for one in sites_of(three)}
    (tmp_path / "other").mkdir()
    federate(Arm(job, tmp_path / "other"), LastFirst(clients))
    assert bytes_of(tmp_path / "other/models") == bytes_of(tmp_path / "arm/models")


def test_a_process_that_dies_is_one_message_and_no_half_arm(three: dict[str, Path], tmp_path: Path) -> None:
    results = results_of(three, tmp_path / "results", *SITES[:2])
    with pytest.raises(StudyError, match=r"the process of lakeshore ended in round 7 \(exit status 9\); no model was"):
        job = replace(job_of("cnn", CNN), sources=SITES[:2])
        run_federated(job, results, tmp_path / "made/arm", 1, serve_until_round_7)
    assert list((tmp_path / "made").iterdir()) == []


class KillsTheJobInRound7(DiesInRound7):
    """The end of a pipe at a site in whose round 7 the job itself is killed."""

    def recv(self) -> Any:
        asked = self.pipe.recv()
        if asked and asked[1].get("number") == 7:
            os.kill(os.getppid(), signal.SIGKILL)
        return asked


def serve_until_the_job_is_killed(pipe: Any, job: str, results: Path, name: str) -> None:
    serve(KillsTheJobInRound7(pipe) if name == "lakeshore" else pipe, job, results, name)


def test_a_job_that_was_killed_gives_the_same_bytes_when_it_is_run_again(
    three: dict[str, Path], tmp_path: Path
) -> None:
    results, out = results_of(three, tmp_path / "results", *SITES[:2]), tmp_path / "made/arm"
    job = replace(job_of("cnn", CNN | {"rounds": 8}), sources=SITES[:2])
    asked = (job, results, out, 1, serve_until_the_job_is_killed)
    killed = multiprocessing.get_context("spawn").Process(target=run_federated, args=asked)
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL and not out.exists()
    run_federated(job, results, out)
    train_federated(job, sites_of(three)[:2], tmp_path / "here")
    assert bytes_of(out) == bytes_of(tmp_path / "here")


# --- no code in common ----------------------------------------------------------------------------------------------


def with_own_codes(folder: Path, site: str, hub: str) -> None:
    """Give the site codes of its own, and say what they stand for at the hub; a site that keeps them is as the hub."""
    _, tokens, _ = layout.rows(folder, TASK, site)
    table = pq.read_table(tokens)
    keys = table["key"].to_pylist()
    own = [f"{site} {key}" for key in keys] if site == "lakeshore" else keys
    pq.write_table(table.set_column(table.schema.get_field_index("key"), table.schema.field("key"), [own]), tokens)
    lines = [{"token": a, "stands_for": b, "weight": 1.0, "draw": 1} for a, b in zip(own, keys, strict=True)]
    of_site = layout.place(layout.TRANSLATIONS, task=TASK, embedding=ONEHOT.folder, target=site)
    (folder / of_site).mkdir(parents=True)
    pq.write_table(
        pa.Table.from_pylist(lines, TRANSLATION.append(pa.field("draw", pa.int32()))),
        folder / of_site / f"{hub}.parquet",
    )


def test_hospitals_without_a_code_in_common_learn_the_model_of_those_with_one(
    three: dict[str, Path], tmp_path: Path
) -> None:
    results = results_of(three, tmp_path / "results", *SITES)
    for name in SITES[1:]:
        with_own_codes(results, name, "riverside")
    job = replace(job_of("cnn", CNN | {"rounds": 4}, ONEHOT), hub="riverside")
    run_federated(job, results, layout.sources_model(results, TASK, ONEHOT.folder, "cnn", "federated"), 2, in_words)
    train_federated(replace(job, hub=None), sites_of(three, False), tmp_path / "one-code")
    made = layout.sources_model(results, TASK, ONEHOT.folder, "cnn", "federated")
    assert bytes_of(made) == bytes_of(tmp_path / "one-code")
    # and lakeshore uses it in its own words
    used = replace(job, target="lakeshore", sources=[], from_shared_model=True)
    run_translated_arm(used, results, tmp_path / "used")
    probability = pq.read_table(tmp_path / "used/predictions.parquet")["probability"].to_numpy()
    assert probability.std() > 0.02


# --- what leaves ----------------------------------------------------------------------------------------------------


class Overheard(InProcess):
    """Sites whose answers are kept."""

    def __init__(self, clients: dict[str, Client]) -> None:
        super().__init__(clients)
        object.__setattr__(self, "heard", [])

    def ask(self, question: str, asked: dict[str, Any], of: Any) -> list[dict[str, Any]]:
        answers = super().ask(question, asked, of)
        self.heard += [(name, question, answer) for name, answer in zip(of, answers, strict=True)]
        return answers


def with_rare_tokens(folder: Path) -> Path:
    """A site at which few persons have "rash", and few with the event have "thirst"."""
    write_site(folder, CONCEPTS, seed=3)
    rows = pq.read_table(folder / "cohort.parquet")
    order = pq.read_table(folder / "sequences.parquet").to_pylist()
    rash, thirst = CONCEPTS.index("rash"), CONCEPTS.index("thirst")
    left = {rash: 4, thirst: 4}
    for row, label in zip(order, rows["label"].to_pylist(), strict=True):
        for token in (rash, thirst):
            if token in row["tokens"] and (token == rash or label):
                left[token] -= 1
                row["tokens"] = [t for t in row["tokens"] if t != token or left[token] >= 0]
        row["days"], row["values"] = [0] * len(row["tokens"]), [None] * len(row["tokens"])
    schema = pq.read_schema(folder / "sequences.parquet")
    pq.write_table(pa.Table.from_pylist(order, schema=schema), folder / "sequences.parquet")
    return folder


def of_tokens(job: ArmJob, at: Site) -> NDArray[np.float64]:
    """What whoever asks can work out of a regression's first sums: of each token the sum of its share of the row's
    tokens, over the training rows with the event. Of fewer tokens than components the equations can be solved."""
    client = Client(job, at)
    space = joint_space(job, [client.answer("enrol", {})])
    assert space is not None
    client.answer("enter", {"space": space})
    total = client.answer("columns", {"draw": 1})["total"]
    zero = np.zeros(len(total))
    client.answer("standardise", {"draw": 1, "center": zero, "spread": zero + 1})
    slope = client.answer("sums", {"draw": 1, "coefficients": zero, "shift": 0.0, "working": None})["slope"]
    vectors, _ = space.draws(at.rows, at.table)[0]
    assert isinstance(vectors, np.ndarray)
    # at zero coefficients the slope is half the sum over all rows, less that over rows with the event
    return np.linalg.lstsq(vectors.T.astype(np.float64), (total / 2 - slope)[:WIDTH], rcond=None)[0]


def test_a_regression_s_sums_tell_of_no_token_that_few_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at, job = site(with_rare_tokens(tmp_path / "site"), "riverside"), job_of("logistic", LOGISTIC)
    job = replace(job, budget=replace(job.budget, scale=False))
    rows = at.rows.take(np.flatnonzero(at.rows.labels == 1))
    few = np.flatnonzero((rows.training_rows > 0) & (rows.training_rows < 10))
    assert {CONCEPTS[token] for token in few} >= {"thirst"}
    told = {}
    for rule in (True, False):
        monkeypatch.setattr(sums, "BY_CLASS", rule)
        told[rule] = of_tokens(job, at)
    assert (told[True][few] < 1e-3).all()
    assert told[True].max() > 3
    assert 0.1 < told[False][CONCEPTS.index("thirst")] < 10  # without the rule they are told


def test_no_answer_tells_a_count_under_the_minimum(three: dict[str, Path], tmp_path: Path) -> None:
    sites = [site(with_rare_tokens(tmp_path / "few"), "riverside", False), *sites_of(three, False)[1:]]
    job = job_of("cnn", CNN | {"rounds": 2}, ONEHOT)
    overheard = Overheard({one.name: Client(job, one) for one in sites})
    federate(Arm(job, tmp_path), overheard)
    assert {question for _, question, _ in overheard.heard} == {"enrol", "enter", "update"}
    for at, (name, question, answer) in enumerate(overheard.heard):
        assert set(answer) <= ANSWERS[question]
        write_answer(answer, tmp_path / "left" / str(at))
        if question == "enrol":
            assert not any(is_small(answer[count], 10) for count in ("rows", "events", "check_rows"))
            assert ("rash|present" in answer["keys"]) == (name != "riverside")
    # as the check of all that leaves a site sees it
    gate = replace(NOBODY, min_cell_count=10)
    assert check_egress(tmp_path / "left", gate, "cnn")
    write_answer({"rows": 40, "events": 4, "check_rows": 0}, tmp_path / "smuggled")
    with pytest.raises(StudyError, match=r"enrolment\.parquet.*events"):
        check_egress(tmp_path / "smuggled", gate, "cnn")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"persons": 3}, "persons is not declared"),
        ({"rows": 40, "events": 4}, "events is no count of 10 or more"),
        ({"rows": 40, "events": 35}, "its rows less its events are a count under 10"),
        ({"moments": [np.arange(3)]}, "does not hold floating-point numbers"),
    ],
)
def test_an_answer_that_must_not_leave_does_not(answer: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        checked("enrol", answer, 10)
