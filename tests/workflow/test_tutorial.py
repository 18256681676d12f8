"""docs/tutorial.md, run as it stands: the first steps always, training and what comes after it where dear tests run."""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(bash|python|yaml)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
#: blocks of the steps before training
FIRST = next(n for n, (_, block) in enumerate(BLOCKS) if "feasibility" in block)
pytestmark = pytest.mark.workflow


def run(folder: Path, blocks: list[tuple[str, str]]) -> Iterator[str]:
    """Run blocks of the page one after another, and yield what each says; a block of keys is put into the study."""
    home = {"HOME": str(folder), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for language, block in blocks:
        if language == "yaml":
            study = yaml.safe_load((folder / "flu.yaml").read_text(encoding="utf-8")) | yaml.safe_load(block)
            (folder / "flu.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
            continue
        command = ["bash", "-ec", block] if language == "bash" else [sys.executable, "-c", block]
        done = subprocess.run(command, cwd=folder, env=os.environ | home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (block, (done.stdout + done.stderr)[-3000:])
        yield done.stdout


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("tutorial")
    return folder, list(run(folder, BLOCKS[:FIRST]))


def test_the_tutorial_begins_with_a_study_that_says_what_it_predicts(started: tuple[Path, list[str]]) -> None:
    folder, (*_, told) = started
    assert "Your definition of influenza" in told
    assert "4266367 Influenza, and 2 descendants" in told
    assert told.count("training   estimable") == told.count("testing    estimable") == 2
    assert not (folder / "results").exists()


@pytest.mark.dear
def test_the_tutorial_ends_with_the_tables_of_a_paper(started: tuple[Path, list[str]]) -> None:
    folder, _ = started
    *_, ran, table = run(folder, BLOCKS[FIRST:])
    assert "influenza at south: " in ran
    assert "translated" in table
    for path in re.findall(r"`((?:tables/|figures/|provenance)[\w./-]*)`", TEXT):
        assert (folder / "results" / path).exists(), path
    rows = list(csv.DictReader((folder / "results/tables/arms.csv").open(encoding="utf-8")))
    assert {row["status"] for row in rows} == {"estimated"}
    assert (folder / "results/report/index.html").is_file()
