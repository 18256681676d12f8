"""The wheel, away from the repository: it plans, checks and runs a study, and so do the examples of docs/api.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.workflow

# what the examples leave, looked at in the process that ran them
AFTER = """
from conceptbridge import StudyError

assert Path("page.html").read_bytes() == results.page().read_bytes()
cells = ["task", "target", "source", "strategy", "learner", "embedding"]
assert sorted(map(tuple, table[cells].itertuples(index=False))) == sorted(study.arms())
on_test = direct[direct["split"] == "test"].groupby("row_id")["probability"].mean()
assert abs(scores["probability"].to_numpy() - on_test.to_numpy()).max() < 1e-12
one = results.table("seeds").query(
    "source == 'riverside' and target == 'lakeshore' and strategy == 'direct' and embedding == 'random' and seed == 1"
    " and split == 'test'"
)
for metric in ("auroc", "brier", "calibration_slope"):
    (estimate,) = one.loc[one["metric"] == metric, "estimate"]
    assert abs(measured.loc[metric, "estimate"] - estimate) < 0.0051  # tables are rounded, so that no count follows
for changed, message in (
    ({"embeddings": ["onehot"]}, "the study has no embedding 'random'"),
    ({"states": "words"}, "definition.predictors.values"),  # states in words have no place for values
):
    try:
        bundle.predict(Study.read(config | changed), "lakeshore")
    except StudyError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as its wheel has it, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, folder / "installed", wheel], check=True)
    return folder / "installed"


@pytest.fixture(scope="module")
def documented(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the examples of docs/api.md have run, one after another, with the installed package."""
    folder = tmp_path_factory.mktemp("documented")
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    program = "import subprocess\n"
    for language, block in re.findall(r"^```(python|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        program += block if language == "python" else f"subprocess.run({block!r}, shell=True, check=True)\n"
    (folder / "examples.py").write_text(program + AFTER, encoding="utf-8")
    command(installed, folder, sys.executable, "examples.py")
    return folder


def command(package: Path, folder: Path, *line: str, status: int = 0) -> str:
    """Run a line in ``folder`` where ``package`` is found before all else; return what it says."""
    path = os.pathsep.join([str(package / "bin"), os.environ["PATH"]])
    env = os.environ | {"PYTHONPATH": str(package), "PATH": path}
    run = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=1800)
    assert run.returncode == status, (run.stdout + run.stderr)[-5000:]
    return run.stdout + run.stderr


def test_all_that_the_workflow_reads_is_in_the_wheel(installed: Path) -> None:
    for source, inside in {
        "workflow": "workflow_files/workflow",
        "config": "workflow_files/config",
        "src/conceptbridge": ".",
    }.items():
        for file in (ROOT / source).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                there = installed / "conceptbridge" / inside / file.relative_to(ROOT / source)
                assert there.read_bytes() == file.read_bytes(), file


def test_a_study_is_checked_and_planned_away_from_the_repository(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    line = [sys.executable, "-m", "conceptbridge.cli"]
    assert "54 arms" in command(installed, tmp_path, *line, "check", "study.yaml")
    told = command(installed, tmp_path, "conceptbridge", "run", "study.yaml", "-n")
    assert str(installed / "conceptbridge/workflow_files/workflow/Snakefile") in told
    assert str(installed / "conceptbridge/workflow_files/workflow/profiles/default") in told
    assert "This was a dry-run" in told
    assert str(ROOT / "workflow") not in told
    config = yaml.safe_load((tmp_path / "study.yaml").read_text())
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config | {"sites": {"north": {"extract": "nowhere"}}}))
    told = command(installed, tmp_path, *line, "check", "study.yaml", status=1)
    assert told == "error: nowhere: does not exist; an extract is a folder or zip of CDM tables (" + (
        "Parquet, CSV, TSV, TXT, plain or as .gz, .zst), or a SQLite or DuckDB file (config: sites.north.extract)\n"
    )


def test_the_documented_examples_run_with_the_installed_package(documented: Path) -> None:
    assert (documented / "results/report/index.html").is_file()


def test_what_the_installed_package_has_made_a_checkout_does_not_make_again(documented: Path) -> None:
    told = command(ROOT / "src", documented, sys.executable, "-m", "conceptbridge.cli", "run", "study.yaml", "-n")
    assert str(ROOT / "workflow/Snakefile") in told
    assert "Nothing to be done" in told


def test_an_environment_of_conda_gets_the_package_that_the_workflow_is_part_of(installed: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "conda"], check=True)
    files = installed / "conceptbridge/workflow_files"
    env = os.environ | {"CONDA_PREFIX": str(tmp_path / "conda"), "CONCEPTBRIDGE_HOME": str(files)}
    env.pop("PYTHONPATH", None)
    subprocess.run(["bash", files / "workflow/envs/conceptbridge.post-deploy.sh"], env=env, check=True)
    code = "from importlib.metadata import version; import conceptbridge; print(version('conceptbridge'))"
    python = [tmp_path / "conda/bin/python", "-c", f"{code}; print(conceptbridge.__file__)"]
    told = subprocess.run(python, env=env, capture_output=True, text=True, check=True).stdout.split()
    (metadata,) = installed.glob("conceptbridge-*.dist-info")
    assert f"conceptbridge-{told[0]}.dist-info" == metadata.name
    assert Path(told[1]).resolve() == installed / "conceptbridge/__init__.py"
