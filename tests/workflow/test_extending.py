"""The examples of docs/extending.md: installed as packages, they run in a study; so do they as files of the library."""

import filecmp
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyarrow import feather

from conceptbridge.core.code_fingerprint import code_files
from conceptbridge.core.errors import StudyError
from conceptbridge.core.registry import installed
from conceptbridge.plan import Plan
from conceptbridge.simulate.network import simulate
from conceptbridge.sites.cdm import REQUIRED
from documented_packages import add_to_library, homes, install, packages
from tiny_study import ROOT, TINY, finish, task

pytestmark = pytest.mark.workflow

SOURCE, TARGET, CLINIC = "riverside", "lakeshore", "clinic"
EMBEDDING, LEARNER, STRATEGY = "trigrams", "perceptron", "prior-correction"
STUDY: dict[str, Any] = (
    TINY
    | {"name": "extending", "min_cell_count": 5}
    # no values, whose cuts depend on a site's other rows
    | task(predictors={"domains": ["condition", "drug", "procedure", "demographic"]})
    | {key: value for one in packages() for key, value in one.study.items()}
)


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that has the examples installed, on Python's path here and in every process that is started."""
    folder = install(packages(), tmp_path_factory.mktemp("packages"))
    with pytest.MonkeyPatch.context() as patch:
        path = os.environ.get("PYTHONPATH")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([path] if path else [])]))
        patch.syspath_prepend(folder)
        invalidate_caches()
        installed.cache_clear()
        yield folder
    installed.cache_clear()


@pytest.fixture(scope="module")
def network(site_packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders: a study of two extracts in Feather files (``hospital``), and patients that its bundles score
    (``clinic``)."""
    folder = tmp_path_factory.mktemp("hospitals")
    hospital = folder / "hospital"
    for site in (SOURCE, TARGET):
        extract = hospital / STUDY["sites"][site]["extract"]
        extract.mkdir(parents=True)
        for name, table in simulate(site, TINY["simulate"]["persons"], TINY["simulate"]["seed"]).items():
            feather.write_feather(table, extract / f"{name}.feather")
    finish(hospital, STUDY, "results/tables/arms.parquet", "bundle")
    (folder / "clinic").mkdir()
    rows = pd.read_parquet(hospital / f"results/tasks/influenza/{TARGET}/cohort.parquet")
    listed = rows[rows["split"] == "test"][["person_id", "index_date"]]
    listed.to_csv(folder / "clinic/patients.csv", index=False)
    sites = {
        CLINIC: {"extract": str(hospital / STUDY["sites"][TARGET]["extract"]), "patients": "patients.csv"},
        SOURCE: {"bundles": str(hospital / "results/bundles" / SOURCE)},
    }
    finish(folder / "clinic", STUDY | {"sites": sites}, "score")
    return folder


def test_every_row_of_the_table_is_shown_or_told_of_elsewhere() -> None:
    shown = [one.entry_point[0] for one in packages()]
    assert [*shown, "conceptbridge.converters", "conceptbridge.databases"] == list(homes())


def test_a_study_of_all_four_has_its_arms(network: Path) -> None:
    arms = pd.read_parquet(network / "hospital/results/tables/arms.parquet")
    assert set(arms["learner"]) == {LEARNER}
    assert set(arms["embedding"]) == {EMBEDDING}
    assert set(arms["target"]) == {TARGET}
    assert dict(zip(arms["strategy"], arms["source"], strict=True)) == {
        "local": TARGET,
        "direct": SOURCE,
        STRATEGY: SOURCE,
    }
    assert arms["auroc"].notna().all()
    log_odds = [np.log(p / (1 - p)) for p in (predictions(network, "direct"), predictions(network, STRATEGY))]
    factor = (log_odds[1] - log_odds[0]).to_numpy()
    np.testing.assert_allclose(factor, factor[0], rtol=1e-9)
    assert factor[0] != 0


def predictions(folder: Path, strategy: str) -> pd.Series:
    """Of the test rows at the target, by seed and row."""
    (arm,) = folder.glob(f"hospital/results/arms/influenza/{EMBEDDING}-*/{LEARNER}/{strategy}/{TARGET}")
    rows = pd.read_parquet(arm / "predictions.parquet")
    return rows[rows["split"] == "test"].set_index(["seed", "row_id"])["probability"]


def test_the_learner_s_model_goes_through_a_bundle_and_scores_as_direct_does(network: Path) -> None:
    (bundle,) = (network / "hospital/results/bundles" / SOURCE).glob(f"*.{LEARNER}.zip")
    with zipfile.ZipFile(bundle) as package:
        assert f"model/{LEARNER}.safetensors" in package.namelist()
    assert f"{LEARNER}.safetensors" in bundle.with_suffix(".md").read_text(encoding="utf-8")  # the check looked at it
    (scores,) = (network / "clinic/results/scores/influenza" / CLINIC / SOURCE).glob(f"{EMBEDDING}-*/{LEARNER}.csv")
    found = pd.read_csv(scores)
    rows = pd.read_parquet(network / f"hospital/results/tasks/influenza/{TARGET}/cohort.parquet")
    rows["index_date"] = rows["index_date"].astype(str)
    rows["direct"] = rows["row_id"].map(predictions(network, "direct").groupby("row_id").mean())
    both = found.merge(rows, on=["person_id", "index_date"])
    assert len(both) == len(found) == (rows["split"] == "test").sum() > 50
    np.testing.assert_allclose(both["probability"], both["direct"], rtol=1e-9)


def test_the_code_of_each_counts_for_its_own_jobs(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(network / "hospital")
    plan = Plan.read(STUDY)
    (embedding,) = plan.study.by_id
    modules = {("train", name): plan.modules("train", learner=LEARNER, strategy=name) for name in STUDY["strategies"]}
    modules |= {(rule, SOURCE): plan.modules(rule, embedding=embedding, site=SOURCE) for rule in ("embed", "ingest")}
    jobs: dict[str, set[tuple[str, str]]] = {one.module: set() for one in packages()}
    for job, of_job in modules.items():
        for file in code_files(ROOT / f"workflow/scripts/{plan.script(job[0])}.py", of_job):
            if file.stem in jobs:
                jobs[file.stem].add(job)
    assert jobs == {
        "conceptbridge_perceptron": {("train", name) for name in STUDY["strategies"]},
        "conceptbridge_spelling": {("embed", SOURCE)},
        "conceptbridge_prior_correction": {("train", STRATEGY)},
        "conceptbridge_feather": {("ingest", SOURCE)},
    }


def test_the_learner_passes_the_tests_of_every_learner(site_packages: Path) -> None:
    tests = ["tests/unit/test_every_learner.py", "-k", LEARNER]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout


def test_spelling_is_the_same_in_every_process_and_near_where_stems_are(site_packages: Path) -> None:
    encoder = import_module("conceptbridge_spelling").SpellingVectors(64, 3)
    texts = ["Influenza", "influenza A", "fracture of wrist", "", "x" * 1000]
    ((order, vectors),) = encoder.encode(texts)
    assert order == texts
    assert np.isfinite(vectors).all()
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    code = "import sys; from conceptbridge_spelling import SpellingVectors; "
    code += f"sys.stdout.buffer.write(next(SpellingVectors(64, 3).encode({texts}))[1].tobytes())"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert elsewhere == vectors.tobytes()


def test_prior_correction_moves_a_calibrated_model_to_another_event_rate(site_packages: Path) -> None:
    rng = np.random.default_rng(1)
    # normal scores; the model knows their odds where 3 in 10 have the event; here 1 in 10 has it
    label = rng.random(20_000) < 0.1
    odds = np.exp(2 * rng.normal(loc=2.0 * label) - 2) * 0.3 / 0.7
    corrected = import_module("conceptbridge_prior_correction").correct(odds / (1 + odds), 0.3, 0.1)
    for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 1.0)):
        inside = (corrected >= low) & (corrected < high)
        assert corrected[inside].mean() == pytest.approx(label[inside].mean(), abs=0.02)


def test_feather_keeps_long_ids_and_tells_what_is_wrong(site_packages: Path, tmp_path: Path) -> None:
    import duckdb

    from conceptbridge.sites.formats.format import Place, StoredTable

    one = import_module("conceptbridge_feather").Feather()

    def read(*files: Path) -> list[Any]:
        with duckdb.connect() as db:
            place = Place(files[0], "feather", parts=files if len(files) > 1 else ())
            source = one.open(db, StoredTable("person", place, files, tmp_path, {}))
            columns = ", ".join(f"{sql} AS {name}" for name, (sql, _) in source.columns.items())
            return db.execute(f"SELECT {columns} FROM {source.relation}").fetchall()

    ids = [1, 2**53 + 1, -3]
    table = pa.table({"PERSON_ID": ids, "year_of_birth": [1950, 1960, 1970]})
    feather.write_feather(table, tmp_path / "person.feather")
    assert [row[0] for row in read(tmp_path / "person.feather")] == ids
    for n in range(3):
        feather.write_feather(table.slice(n, 1), tmp_path / f"{n}.feather")
    assert read(*(tmp_path / f"{n}.feather" for n in range(3))) == read(tmp_path / "person.feather")
    for wrong in (b"", b"person_id", (tmp_path / "person.feather").read_bytes()[:-20]):
        (tmp_path / "wrong.feather").write_bytes(wrong)
        with pytest.raises(StudyError, match=r"wrong\.feather: cannot be read as Feather"):
            read(tmp_path / "wrong.feather")
    feather.write_feather(table.drop_columns(["year_of_birth"]), tmp_path / "wrong.feather")
    with pytest.raises(StudyError, match=rf"wrong\.feather: the column {REQUIRED['person'][1]} is missing"):
        read(tmp_path / "wrong.feather")


def test_in_the_library_each_is_one_file_and_one_line(network: Path, tmp_path: Path) -> None:
    library = tmp_path / "src/conceptbridge"
    shutil.copytree(ROOT / "src/conceptbridge", library, ignore=shutil.ignore_patterns("__pycache__"))
    add_to_library(packages(), library)
    added, lines = changes(ROOT / "src/conceptbridge", library)
    assert (len(added), lines) == (len(packages()), [1] * len(packages()))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | {"data": str(network / "hospital")}))
    code = (
        "from conceptbridge import Study; study = Study.read('study.yaml'); print(study.mistakes(), len(study.arms()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(library.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "[] 3\n", run.stdout + run.stderr


def changes(before: Path, after: Path) -> tuple[list[Path], list[int]]:
    """The files that are only in ``after``; of each file that differs, how many lines longer it is."""
    added, lines = [], []
    for file in sorted(path for path in after.rglob("*") if path.is_file()):
        was = before / file.relative_to(after)
        if not was.exists():
            added.append(file)
        elif not filecmp.cmp(was, file, shallow=False):
            lines.append(len(file.read_text().splitlines()) - len(was.read_text().splitlines()))
    return added, lines
