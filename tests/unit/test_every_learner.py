"""What every learner keeps, ours and one of another package: what it declares, and that its models are as declared."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from conceptbridge.core.code_fingerprint import fingerprint
from conceptbridge.core.errors import StudyError
from conceptbridge.core.schema import check
from conceptbridge.exchange.package import read_package, write_package
from conceptbridge.exchange.receive.bundles import receive
from conceptbridge.exchange.send.bundle import write_bundle
from conceptbridge.learn import draws
from conceptbridge.learn.arm_job import Budget
from conceptbridge.learn.learner import Learner
from conceptbridge.learn.registry import LEARNERS, learner
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import Part, Run
from conceptbridge.study.config import config_schema, read_study
from conceptbridge.study.learners import find_learner
from conceptbridge.vocabulary.build import SCHEMA as VOCABULARY
from made_arms import train_local, transfer
from made_site import CONCEPTS, NOBODY, WIDTH, made_examples, site, write_site
from toy_package import LEARNER, installed_package, installed_toy

ROOT = Path(__file__).parents[2]
NAMES = [*LEARNERS, "toy"]
PRESETS = ("fair", "paper")
#: settings with which a test takes no time
SMALL = {"filters": 8, "width": 8, "blocks": 2, "heads": 2, "batch": 16, "min_pass_steps": 10, "patience": 2}
SMALL |= {"num_iterations": 10, "min_data_in_leaf": 10, "max_passes": 3}
#: what model.json tells of a space without places
SPACE = {"slots": None}
PART = Part(np.arange(150), np.arange(150, 200))


@pytest.fixture(scope="module", autouse=True)
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with installed_toy(tmp_path_factory.mktemp("installed")) as folder:
        yield folder


@pytest.fixture(params=NAMES)
def one(request: pytest.FixtureRequest, toy: Path) -> Learner[Any]:
    """Each of the learners."""
    return learner(request.param)


@pytest.fixture(params=["dense", "one-hot"])
def rows(request: pytest.FixtureRequest) -> Examples:
    made = made_examples(np.random.default_rng(5), 200, 9, 5)
    return made if request.param == "dense" else Examples(OneHot(9, 0.1, 2.0), made.tokens, made.offsets, made.labels)


def settings_of(one: Learner[Any], part: str | None = None) -> dict[str, Any]:
    """The first of the default settings in training, or with those of a strategy that tunes."""
    given = one.default("fair")
    settings = {key: value for key, value in given.items() if key not in one.tuning} | (given[part] if part else {})
    first = {key: value[0] if key in one.searched(settings) else value for key, value in settings.items()}
    return {key: SMALL.get(key, value) for key, value in first.items()} | (
        {"max_passes": SMALL["max_passes"]} if one.takes_passes else {}
    )


def runs_of(one: Learner[Any], part: str | None = None, seeds: Sequence[int] = (1, 2), rows: Part = PART) -> list[Run]:
    return [Run(seed, settings_of(one, part), rows) for seed in seeds]


def saved(one: Learner[Any], model: Any, folder: Path) -> dict[str, Any]:
    """What model.json would have of the model."""
    folder.mkdir()
    described: dict[str, Any] = json.loads(json.dumps(model.save(folder)))
    return described


# -- what it declares


@pytest.mark.parametrize("preset", PRESETS)
def test_defaults_are_whole_and_in_range(one: Learner[Any], preset: str) -> None:
    given = one.default(preset)
    check(given, one.schema(), one.name)
    assert one.check(given) is None
    assert set(given) == {*one.settings, *one.tuning}
    if preset == "paper" and preset in one.defaults:
        assert not any(one.searched(part) for part in (given, *(given[name] for name in one.tuning)))


def test_every_setting_says_what_it_is_and_has_a_range(one: Learner[Any]) -> None:
    for part, settings in ((None, one.settings), *one.tuning.items()):
        for key, setting in settings.items():
            assert setting.about
            for wrong in ({"x": 1}, [], [{"x": 1}], None):
                given = {part: {key: wrong}} if part else {key: wrong}
                with pytest.raises(StudyError, match=key):
                    check(given, one.schema(), "config")
    with pytest.raises(StudyError, match="unknown key 'x'"):
        check({"x": 1}, one.schema(), "config")


def test_a_study_names_it_and_gets_its_defaults(one: Learner[Any]) -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    study = read_study(config | {"learners": {one.name: None}, "strategies": ["local", "direct", "tune-all"]})
    assert study.config["learners"][one.name] == one.default("fair")
    budget = json.loads(study.budget("influenza", one.name, "local"))
    assert {*budget["settings"], *budget["searched"]} == {*one.settings, *(["max_passes"] if one.takes_passes else [])}
    assert study.budget("influenza", one.name, "tune-all") != study.budget("influenza", one.name, "local")
    assert json.loads(study.budget("influenza", one.name, "direct"))["settings"] == {}


def test_reading_all_declarations_imports_nothing_that_takes_long() -> None:
    heavy = ["duckdb", "lightgbm", "numba", "numpy", "pandas", "pyarrow", "safetensors", "scipy", "sklearn", "torch"]
    code = "import sys; from conceptbridge.study.config import config_schema; config_schema(); "
    code += f"print(sorted(set({heavy}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


# -- what its models are


def test_a_saved_model_is_as_declared_and_predicts_as_it_did(one: Learner[Any], rows: Examples, tmp_path: Path) -> None:
    model = one.fit(rows, runs_of(one))
    for name, made in (
        ("fit", model),
        ("tune-head", one.tune(model, rows, runs_of(one, "tune-head"), True)[0]),
        ("tune-all", one.tune(model, rows, runs_of(one, "tune-all"), False)[0]),
    ):
        probability = one.predict(made, rows)
        assert probability.shape == (2, len(rows))
        assert ((probability >= 0) & (probability <= 1)).all()
        described = saved(one, made, tmp_path / name)
        assert described.pop("seeds") == [1, 2]
        assert len(described.pop("kept")) == 2
        assert set(described) == set(one.saves.fields)
        assert {path.name for path in (tmp_path / name).iterdir()} == set(one.saves.files([1, 2]))
        inputs = one.inputs(rows.vectors.shape[1], isinstance(rows.vectors, OneHot), described | {"space": SPACE})
        sizes = {"seeds": 2, "inputs": inputs, "windows": 1}
        for file, arrays in one.saves.arrays.items():
            with safe_open(tmp_path / name / file, framework="numpy") as opened:
                assert set(opened.keys()) == set(arrays)
                for array, declared in arrays.items():
                    found = opened.get_slice(array)
                    assert found.get_dtype() == declared.dtype
                    for size, n in zip(declared.sizes, found.get_shape(), strict=True):
                        assert n == (size if isinstance(size, int) else sizes.setdefault(size, n)), array
        assert one.check_sizes(sizes) is None
        again = one.load(tmp_path / name, described | {"seeds": [1, 2], "kept": list(made.kept)})
        np.testing.assert_array_equal(one.predict(again, rows), probability)
        assert again.seeds == made.seeds


def test_a_run_does_not_depend_on_the_runs_beside_it(one: Learner[Any], rows: Examples) -> None:
    three, second = (one.fit(rows, runs_of(one, seeds=seeds)) for seeds in ((1, 2, 3), (2,)))
    # but for the rounding of a product of more columns
    np.testing.assert_allclose(one.predict(three, rows)[1:2], one.predict(second, rows), rtol=1e-12)
    assert three.losses[1] == second.losses[0]
    for part in ("tune-head", "tune-all"):
        beside, _ = one.tune(three, rows, runs_of(one, part, (1, 2, 3)), part == "tune-head")
        alone, _ = one.tune(second, rows, runs_of(one, part, (2,)), part == "tune-head")
        np.testing.assert_allclose(one.predict(beside, rows)[1:2], one.predict(alone, rows), rtol=1e-12)
    reordered = three.take([2, 0])
    assert reordered.seeds == [3, 1]
    np.testing.assert_allclose(one.predict(reordered, rows), one.predict(three, rows)[[2, 0]], rtol=1e-12)


def test_members_that_were_taken_apart_join_again(one: Learner[Any], rows: Examples) -> None:
    three = one.fit(rows, runs_of(one, seeds=(1, 2, 3)))
    joined = three.take([0]).join([three.take([1]), three.take([2])])
    assert (joined.seeds, joined.kept, joined.losses) == (three.seeds, three.kept, three.losses)
    np.testing.assert_allclose(one.predict(joined, rows), one.predict(three, rows), rtol=1e-12)


def test_each_member_sees_the_vectors_of_its_own_draw(one: Learner[Any], rows: Examples) -> None:
    """A control is drawn anew for every seed: member k is what it would be alone, on draw k."""
    if isinstance(rows.vectors, OneHot):
        pytest.skip("nothing is drawn")
    other = replace(rows, vectors=np.ascontiguousarray(rows.vectors[::-1]), cache={})
    runs = runs_of(one, seeds=(1, 2, 1))
    both = draws.fit(one, [rows, other], runs)
    assert both.seeds == [1, 2, 1]
    predicted = draws.predict(one, both, [rows, other])
    for k, seen in enumerate((rows, other, rows)):
        alone = one.fit(seen, [runs[k]])
        np.testing.assert_allclose(predicted[k], one.predict(alone, seen)[0], rtol=1e-12)
    tuned, _ = draws.tune(one, both, [rows, other], runs_of(one, "tune-all", (1, 2, 1)), False, ())
    alone = one.tune(both.take([1]), other, runs_of(one, "tune-all", (2,)), False)[0]
    np.testing.assert_allclose(draws.predict(one, tuned, [rows, other])[1], one.predict(alone, other)[0], rtol=1e-12)


def test_the_same_runs_make_the_same_model(one: Learner[Any], rows: Examples) -> None:
    first, again = (one.predict(one.fit(deepcopy(rows), runs_of(one)), rows) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_loss_is_that_of_the_rows_that_checked_the_run(one: Learner[Any], rows: Examples) -> None:
    model = one.fit(rows, runs_of(one))
    labels = rows.labels[PART.check]
    for probability, loss in zip(one.predict(model, rows)[:, PART.check], model.losses, strict=True):
        assert loss == pytest.approx(-np.log(np.where(labels == 1, probability, 1 - probability)).mean(), rel=1e-4)
    without = one.fit(rows, runs_of(one, rows=Part(PART.train, np.empty(0, np.int64))))
    assert without.losses == [np.inf, np.inf]


# -- where it goes

FINGERPRINT = "f" * 64
DEFINITION = {
    "index": {"domain": "visit", "concepts": [9203]},
    "outcome": {"domain": "condition", "concepts": [1], "days": [1, 7]},
    "predictors": {"days": [-365, 0], "domains": ["condition"]},
}


def budget(settings: dict[str, Any]) -> Budget:
    return Budget(settings, {}, 1, 2, 5, min_rows=1, min_cell_count=5, scale=True)


def test_a_model_goes_to_another_hospital_and_nothing_else_does(one: Learner[Any], tmp_path: Path) -> None:
    home = write_site(tmp_path / "home", CONCEPTS, seed=1)
    tokens = pq.read_table(home / "tokens.parquet").to_pylist()
    beside = {"vocabulary": "SNOMED", "named_by": "concept", "private": False}
    known = [
        {k: t[k] for k in ("key", "concept_id", "domain", "state", "text")} | {"name": t["text"]} | beside
        for t in tokens
    ]
    pq.write_table(pa.Table.from_pylist(known, schema=VOCABULARY), home / "vocabulary.parquet")
    embedding = {"name": "made", "fingerprint": FINGERPRINT, "backend": "transformers"}
    train_local(site(home, "home"), one.name, embedding, budget(settings_of(one)), tmp_path / "arm")
    about = {"source": "home", "task": "flu", "definition": DEFINITION, "embedding": embedding | {"entry": {}}}
    about |= {"learner": one.name, "seeds": 2}
    files = (home / "vocabulary.parquet", home / "tokens.parquet", None, NOBODY)
    sent, sheet = tmp_path / "sent.zip", tmp_path / "sheet.md"
    write_bundle(about | {"min_cell_count": 5}, tmp_path / "arm", *files, sent, sheet)
    receive(sent, about, WIDTH, tmp_path / "received")
    there = site(write_site(tmp_path / "there", CONCEPTS, seed=2), "there")
    predicted = []
    for arm in ("arm", "received"):
        transfer(there, one.name, "direct", {"home": tmp_path / arm}, FINGERPRINT, budget({}), tmp_path / "direct")
        predicted.append(pq.read_table(tmp_path / "direct/predictions.parquet"))
    assert predicted[0].equals(predicted[1])
    for n, (add, refused, kept) in enumerate(UNDECLARED):
        described = read_package(sent, "bundle", tmp_path / f"files{n}")
        add(tmp_path / f"files{n}/model", one)
        write_package(tmp_path / f"files{n}", "bundle", described, tmp_path / "changed.zip")
        with pytest.raises(StudyError, match=refused):
            receive(tmp_path / "changed.zip", about, WIDTH, tmp_path / "not received")
        shutil.copytree(tmp_path / "arm", tmp_path / f"arm{n}")
        add(tmp_path / f"arm{n}/models/home", one)
        with pytest.raises(StudyError, match=kept):
            write_bundle(about | {"min_cell_count": 5}, tmp_path / f"arm{n}", *files, tmp_path / "not sent.zip", sheet)


def add_an_array(model: Path, one: Learner[Any]) -> None:
    path = model / next(iter(one.saves.arrays), "space.safetensors")
    save_file(load_file(path) | {"x": np.zeros((2, 3), np.float32)}, path)


def add_a_field(model: Path, one: Learner[Any]) -> None:
    described = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(described | {"x": 1}))


def add_a_file(model: Path, one: Learner[Any]) -> None:
    (model / "x.txt").write_text("tree\n")


#: what no learner declares; why it is not received, and why it is not sent
UNDECLARED = [
    (add_an_array, "x: is not an array of such a model", "the array 'x' is not declared"),
    (add_a_field, "'x' was unexpected", "the key x is not declared"),
    (add_a_file, r"x\.txt: is not a file of such a model", r"x\.txt: .* does not declare this file"),
]


# -- how it is found


def test_another_package_s_learner_is_found_without_being_imported(toy: Path) -> None:
    sys.modules.pop("toy", None)
    assert list(LEARNERS) == NAMES
    assert LEARNERS["toy"] == "toy"
    assert "toy" not in sys.modules
    assert learner("toy").name == "toy"


def test_its_code_is_code_of_its_own_arms(toy: Path, tmp_path: Path) -> None:
    script = ROOT / "workflow/scripts/arm.py"
    before, other = (fingerprint(script, [LEARNERS[name]]) for name in ("toy", "cnn"))
    with installed_toy(tmp_path / "newer") as folder:
        (folder / "toy.py").write_text(LEARNER.replace("POSITIVE)", "SHARE)"))
        assert fingerprint(script, [LEARNERS["toy"]]) != before
        assert fingerprint(script, [LEARNERS["cnn"]]) == other
    assert fingerprint(script, [LEARNERS["toy"]]) == before


@pytest.mark.parametrize(
    ("entry", "text", "message"),
    [
        ("cnn = odd:Odd", "", r"there are two learners named 'cnn': conceptbridge\.learn.* and odd:Odd of odd"),
        (
            "toy = odd:Odd",
            "",
            r"there are two learners named 'toy': odd:Odd of odd 1\.0 and toy:Toy of toy 1\.0; uninstall",
        ),
        ("odd = odd:Odd", "import nowhere", r"the learner 'odd' \(odd:Odd\) cannot be imported: ModuleNotFoundError"),
        ("odd = odd:Odd", "x = 1", r"the learner 'odd' \(odd:Odd\) cannot be imported: AttributeError: .*'Odd'"),
        (
            "a/b = odd:Odd",
            "from toy import Toy\n\nclass Odd(Toy):\n    name = 'a/b'",
            r"learner 'a/b': a name has only lower",
        ),
        ("odd = odd:Odd", "Odd = 3", r"the learner 'odd' of the module odd must be a subclass of"),
        ("odd = odd:Odd", "from toy import Toy as Odd", r"the learner 'odd' of .* whose `name` is 'odd'"),
    ],
)
def test_a_learner_that_cannot_be_used_is_told_by_name(tmp_path: Path, entry: str, text: str, message: str) -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    name = entry.split(" ")[0]
    with installed_package(tmp_path / "odd", "odd", entry, odd=text):
        with pytest.raises(StudyError, match=message):
            read_study(config | {"learners": {name: {}}})
        if name == "odd":  # whoever does not name it has nothing to do with it
            assert read_study(config).config["learners"]
            assert config_schema(["cnn"])["properties"]["learners"]["properties"]["odd"] == {}


def test_a_name_that_is_none_is_answered_with_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"there is no learner 'cmn' \(did you mean 'cnn'\?\); there are cnn, tra"):
        find_learner("cmn")
