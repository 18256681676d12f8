"""Content decides whether a file that a study is given is another one: an older one in its place runs jobs again."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tiny_study import TINY, snakemake

pytestmark = pytest.mark.workflow
PERSON = "person_id,gender_concept_id,year_of_birth\n"
STUDY: dict[str, Any] = TINY | {
    "sites": {"hill": {"extract": "extract"}},
    "strategies": ["local"],
    "tasks": {
        "flu": TINY["tasks"]["influenza"]
        | {"index": {"domain": "visit", "concepts": "set.csv"}, "split": {"by": "hash"}}
    },
}


def write(folder: Path, year: int) -> None:
    folder.mkdir()
    tables = {
        "person": PERSON + "".join(f"{i},8507,{year}\n" for i in range(1, 9)),
        "observation_period": "person_id,observation_period_start_date,observation_period_end_date\n"
        + "".join(f"{i},2015-01-01,2020-12-31\n" for i in range(1, 9)),
        "visit_occurrence": "visit_occurrence_id,person_id,visit_concept_id,visit_start_date\n"
        + "".join(f"{i},{i},{9203 if i < 5 else 9201},2016-01-01\n" for i in range(1, 9)),
        "condition_occurrence": "person_id,condition_concept_id,condition_start_date\n1,4266367,2016-01-03\n",
        "concept": "concept_id,concept_name\n4266367,Influenza\n",
    }
    for table, text in tables.items():
        (folder / f"{table}.csv").write_text(text)


def test_an_older_delivery_is_another_extract(tmp_path: Path) -> None:
    home = tmp_path / "study"
    home.mkdir()
    write(home / "v1", 1970)
    write(home / "v2", 1950)
    (home / "set.csv").write_text("concept_id\n9203\n")
    (home / "older.csv").write_text("concept_id\n9201\n")
    for old in [*(home / "v2").iterdir(), home / "older.csv"]:
        os.utime(old, (1e9, 1e9))
    (home / "extract").symlink_to("v1")

    def run(*arguments: str) -> str:
        done = snakemake(home, STUDY, "--cores", "2", "--until", "cohort", *arguments)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout + done.stderr

    run()
    first = (home / "results/tasks/flu/hill/cohort.parquet").read_bytes()
    assert "rule " not in (told := run("-n")), told
    # a link that is turned to an older folder
    (home / "extract").unlink()
    (home / "extract").symlink_to("v2")
    assert "ingest" in run()
    second = (home / "results/tasks/flu/hill/cohort.parquet").read_bytes()
    assert second != first
    # the same files, touched
    for file in (home / "v2").iterdir():
        file.touch()
    assert "rule " not in (told := run("-n")), told
    # a copy that keeps its time, over a concept set
    shutil.copy2(home / "older.csv", home / "set.csv")
    told = run()
    assert "rule cohort" in told
    assert "rule ingest" not in told
    assert (home / "results/tasks/flu/hill/cohort.parquet").read_bytes() != second
