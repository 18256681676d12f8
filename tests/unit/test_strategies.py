"""What holds for every strategy that is found by name, ours and those of other packages."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import conceptbridge.learn.strategies
from conceptbridge import layout
from conceptbridge.core import code_fingerprint, registry
from conceptbridge.core.errors import StudyError
from conceptbridge.learn.arm_files import PREDICTIONS
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.run_arm import read_site_of, run_arm
from conceptbridge.study import strategies
from conceptbridge.study.config import read_study
from conceptbridge.study.learners import LEARNERS, find_learner
from conceptbridge.study.strategies import STRATEGIES, Needs, Strategy, strategy
from conceptbridge.tasks.cohort import SCHEMA as COHORT
from made_arms import train_federated
from made_site import CONCEPTS, write_site

OWN = tuple(STRATEGIES.own)
ROOT = Path(__file__).parents[2]
TASK, LEARNER = "influenza", "logistic"
EMBEDDING = ArmEmbedding("made", "f" * 64, "sentence-transformers", "made-ffffffffffff", "made-ffffffffffff")
#: two sources, and two targets that are none
SOURCES, TARGETS = ("riverside", "lakeshore"), ("prairie", "harbour")


def budget_of(name: str) -> Budget:
    """A small budget: what the strategy's declaration entitles it to."""
    how = strategy(name)
    curve = {"sizes": [20], "replicates": 1} if how.has_learning_curve else {}
    return Budget(
        {"penalty": 0.01, "penalties": 11, "patience": 3, "l1_share": 0.5} if how.trains else {},
        {},
        max_trials=1,
        seeds=2,
        min_events=5,
        min_rows=1,
        min_cell_count=5,
        scale=True,
        depths=[0.0, 1.0] if how.tunes else (),
        **curve,
    )


def shares_model(name: str, target: str) -> bool:
    """Whether the target uses a model that is trained once for several."""
    how = strategy(name)
    return how.needs == Needs.ROUNDS or (how.same_for_other_targets and target in TARGETS)


def job_of(name: str, target: str | None) -> ArmJob:
    how = strategy(name)
    sources = () if how.needs == Needs.OWN_ROWS else tuple(site for site in SOURCES if site != target)
    shared = target is not None and shares_model(name, target)
    return ArmJob(TASK, target, sources, name, LEARNER, EMBEDDING, budget_of(name), shared)


def arm_of(results: Path, name: str, target: str | None) -> Path:
    """Make an arm as the workflow does: from its job as JSON and the folder of results; return its folder."""
    where = (results, TASK, EMBEDDING.folder, LEARNER)
    out = layout.arm(*where, name, target) if target else layout.sources_model(*where, name)
    job = job_of(name, target)
    if target is None and strategy(name).needs == Needs.ROUNDS:
        train_federated(job, [read_site_of(job, results, site) for site in job.sources], out)
        return out
    if job.from_shared_model and not layout.sources_model(*where, name).exists():
        arm_of(results, name, None)
    run_arm(ArmJob.from_json(job.to_json()), results, out)
    return out


def write_study(results: Path, flipped: str | None = None) -> Path:
    """Four sites' rows and vectors, the labels of one ``flipped``, and the local arms of the sources."""
    for number, site in enumerate((*SOURCES, *TARGETS)):
        cohort, *_ = layout.rows(results, TASK, site)
        write_site(cohort.parent, CONCEPTS, seed=number)
        if site == flipped:
            rows = pq.read_table(cohort).to_pandas()
            rows["label"] = (1 - rows.label).astype("int8")
            pq.write_table(pa.Table.from_pandas(rows, schema=COHORT), cohort)
        table = layout.vectors(results, EMBEDDING.folder, site)
        table.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(cohort.parent / "table.parquet", table)
    for site in SOURCES:
        arm_of(results, "local", site)
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("results"))


def probabilities(arm: Path) -> list[float]:
    predicted: list[float] = pq.read_table(arm / "predictions.parquet")["probability"].to_pylist()
    return predicted


def models(arm: Path) -> dict[str, bytes]:
    """The files of an arm's models but model.json, which names the target."""
    files = [path for path in (arm / "models").rglob("*") if path.is_file() and path.name != "model.json"]
    return {str(path.relative_to(arm)): path.read_bytes() for path in files}


def test_each_file_of_ours_is_found_and_no_other() -> None:
    shared = {"source_models", "several_sites", "tuning"}
    folder = Path(conceptbridge.learn.strategies.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"} - shared
    assert {STRATEGIES[name] for name in OWN} == {f"conceptbridge.learn.strategies.{name}" for name in files}


@pytest.mark.parametrize("name", OWN)
def test_what_a_strategy_declares_is_consistent(name: str) -> None:
    how = strategy(name)
    assert how.name == name
    assert how.label.format(source="riverside", model="cnn on onehot").count("cnn on onehot") == 1
    assert how.sentence
    assert not how.sentence.endswith(".")
    assert (how.source is None) == ("{source}" in how.label or how.needs == Needs.OWN_ROWS)
    for learner in LEARNERS:
        settings = find_learner(learner).tuning
        # in rounds a learner whose sums travel has the settings of its other arms
        assert how.settings_section is None or how.settings_section in settings or how.needs == Needs.ROUNDS


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("target", [SOURCES[0], TARGETS[0]])
def test_each_strategy_predicts_every_row_of_a_target(results: Path, name: str, target: str) -> None:
    arm = arm_of(results, name, target)
    predictions = pq.read_table(arm / "predictions.parquet")
    assert predictions.schema.equals(PREDICTIONS)
    how, job = strategy(name), job_of(name, target)
    sources = {how.source or source for source in job.sources or [target]}
    assert set(predictions["source"].to_pylist()) == sources
    entries = json.loads((arm / "arm.json").read_text())["sources"]
    assert {source: entry["reason"] for source, entry in entries.items()} == dict.fromkeys(sources)
    cohort = pq.read_table(layout.rows(results, TASK, target)[0]).to_pandas()
    tested = cohort[cohort.split != "train"]
    for _, rows in predictions.to_pandas().groupby(["source", "seed"]):
        assert rows.row_id.tolist() == tested.row_id.tolist()
        assert rows.label.tolist() == tested.label.tolist()
    curves = pq.read_table(arm / "curves.parquet").to_pandas()
    assert set(curves["size"].dropna()) == ({20} if how.has_learning_curve else set())
    # logistic regression is not tuned step by step
    assert set(curves["depth"].dropna()) <= ({0.0, 1.0} if how.tunes else set())


@pytest.mark.parametrize("target", [SOURCES[0], TARGETS[0]])
def test_a_model_is_the_same_whatever_the_target_s_labels_unless_its_strategy_uses_them(
    results: Path, tmp_path: Path, target: str
) -> None:
    flipped = write_study(tmp_path, flipped=target)
    for name in OWN:
        arms = [arm_of(folder, name, target) for folder in (results, flipped)]
        of_sources = strategy(name).needs == Needs.ROUNDS and target not in SOURCES
        same = not strategy(name).uses_target_labels or of_sources
        assert (probabilities(arms[0]) == probabilities(arms[1])) == same, name
        assert not same or models(arms[0]) == models(arms[1])


@pytest.mark.parametrize("name", [name for name in OWN if strategy(name).same_for_other_targets])
def test_targets_that_are_no_source_share_a_model(results: Path, name: str) -> None:
    made_for = layout.sources_model(results, TASK, EMBEDDING.folder, LEARNER, name)
    arms = [arm_of(results, name, target) for target in TARGETS]
    assert models(made_for)
    assert [models(arm) for arm in arms] == [{}, {}]
    # as if it had been trained for one of them alone
    alone = results / "alone"
    run_arm(replace(job_of(name, TARGETS[0]), from_shared_model=False), results, alone)
    assert probabilities(alone) == probabilities(arms[0])


def test_reading_the_declarations_imports_nothing_heavy() -> None:
    heavy = ("pandas", "torch", "numba", "lightgbm", "sklearn", "scipy", "duckdb")
    code = (
        "import sys\nfrom conceptbridge.study import config, strategies\n"
        "for name in strategies.STRATEGIES: strategies.strategy(name)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- strategies of other packages -----------------------------------------------------------------------------------

TOY = '''
from conceptbridge.learn.arm_files import SourceResult
from conceptbridge.learn.strategies.several_sites import SeveralSites
from conceptbridge.learn.strategies.source_models import SourceModels
from conceptbridge.study.strategies import Needs, Strategy


class Cautious(SourceModels):
    """The source's probability, half way to one half."""

    name = "cautious"
    label = "{source}'s {model}, half as sure"
    sentence = "the source's model, half as sure"

    def transfer(self, arm, source, trained, parts):
        probability = trained.predict(arm.tested(trained.space))
        assert not parts
        assert set(arm.target.rows.labels) == {-1}  # it declares no use of labels, so that it is given none
        return SourceResult({"reason": None}, (probability + 0.5) / 2)


class Nearby(SeveralSites):
    """Trained on the first of the other sites."""

    name = "nearby"
    source = "nearby"
    same_for_other_targets = True
    label = "a near site's {model}"
    sentence = "trained on another site's rows"


class Twice(Strategy):
    """Trained at the target, like local."""

    name = "twice"
    needs = Needs.OWN_ROWS
    uses_target_labels = True
    trains = True
    has_learning_curve = True
    label = "local {model}, again"
    sentence = "trained at the target, again"

    def run(self, arm):
        from conceptbridge.learn.strategies.local import Local

        return Local().run(arm)


class Broken(Strategy):
    name = "another"
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installed package of three strategies, one of each kind, and one that is not declared as it has to be."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "toy-1.0.dist-info").mkdir()
    (tmp_path / "toy-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (tmp_path / "toy-1.0.dist-info/entry_points.txt").write_text(
        "[conceptbridge.strategies]\ncautious = toy:Cautious\nnearby = toy:Nearby\ntwice = toy:Twice\n"
        "broken = toy:Broken\nabsent = toy:Absent\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.installed.cache_clear()
    yield tmp_path
    sys.modules.pop("toy", None)
    strategy.cache_clear()
    monkeypatch.undo()
    registry.installed.cache_clear()


@pytest.mark.parametrize("name", ["cautious", "nearby", "twice"])
def test_a_strategy_of_another_package_runs_as_ours_do(toy: Path, results: Path, name: str) -> None:
    assert list(STRATEGIES) == [*OWN, "absent", "broken", "cautious", "nearby", "twice"]
    assert STRATEGIES[name] == "toy"
    arm = arm_of(results, name, TARGETS[0])
    entries = json.loads((arm / "arm.json").read_text())["sources"]
    assert all(entry["reason"] is None for entry in entries.values())
    if name == "cautious":
        assert probabilities(arm) == [(p + 0.5) / 2 for p in probabilities(arm_of(results, "direct", TARGETS[0]))]
    if name == "twice":
        assert probabilities(arm) == probabilities(arm_of(results, "local", TARGETS[0]))


def test_a_study_may_use_a_strategy_of_another_package(toy: Path) -> None:
    demo = yaml.safe_load((ROOT / "config/studies/three-winters.yaml").read_text(encoding="utf-8"))
    demo["strategies"] = ["local", "cautious", "nearby", "twice"]
    study = read_study(demo)
    assert study.strategies == demo["strategies"]
    assert [study.strategies_that_need(needs) for needs in Needs] == [["local", "twice"], ["cautious"], ["nearby"], []]
    budget = json.loads(study.budget(TASK, "cnn", "cautious"))
    assert (budget["settings"], budget["searched"], budget["max_trials"]) == ({}, {}, 1)
    assert study.budget(TASK, "cnn", "twice") == study.budget(TASK, "cnn", "local")
    assert read_study({**demo, "share_rows": False}).strategies == ["local", "cautious", "twice"]


def test_its_code_is_code_of_its_arms(toy: Path) -> None:
    script = toy / "script.py"
    script.write_text("import conceptbridge.learn.run_arm\n")
    before = code_fingerprint.fingerprint(script, ["toy"])
    assert before != code_fingerprint.fingerprint(script)
    code_fingerprint._read.cache_clear()
    code_fingerprint._meaning.cache_clear()
    (toy / "toy.py").write_text(TOY + "\n# a comment\n")
    assert code_fingerprint.fingerprint(script, ["toy"]) == before
    code_fingerprint._read.cache_clear()
    code_fingerprint._meaning.cache_clear()
    (toy / "toy.py").write_text(TOY + "\nCHANGED = True\n")
    assert code_fingerprint.fingerprint(script, ["toy"]) != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tune-heads", r"there is no strategy 'tune-heads' \(did you mean 'tune-head'\?\); there are local, direct"),
        ("absent", r"the strategy 'absent' \(toy:Absent\) cannot be imported: AttributeError"),
        ("broken", "the strategy 'broken': its class has the name 'another'; both must be the same"),
    ],
)
def test_what_another_package_gets_wrong_is_told_by_name(toy: Path, name: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        strategy(name)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"label": ""}, "does not set label"),
        ({"needs": Needs.SHARED_ROWS}, "`source` names rows of several sites; it needs rows of several sites"),
        ({"source": "all"}, "`source` names rows of several sites; it needs the target's own rows"),
        ({"same_for_other_targets": True}, "the same for all targets"),
        ({"tunes": True}, "`tunes` need `trains`"),
        ({"has_learning_curve": True}, "needs `uses_target_labels`"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(declared: dict[str, Any], message: str) -> None:
    sound = {"name": "toy", "needs": Needs.OWN_ROWS, "label": "a {model}", "sentence": "made at the target"}
    strategies._check("toy", type("Toy", (Strategy,), sound)())
    with pytest.raises(StudyError, match=message):
        strategies._check("toy", type("Toy", (Strategy,), sound | declared)())
