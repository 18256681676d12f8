"""Stages keep to the memory of their job: they spill, give the same bytes, and a lack is told in one line."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.simulate.network import write_extract
from conceptbridge.sites import memory, records
from conceptbridge.sites.memory import database
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.vocabulary.build import make_vocabulary
from task_site import TEXTS, task
from tiny_extract import load

AS_RECORDED = {"drug": "none", "condition": 0}


def test_a_lack_of_memory_is_told_in_one_line(tmp_path: Path) -> None:
    told = r"^this job lacks memory: it was given 20 MB, .* --set-resources RULE:mem_mb=40, with the rule's name"
    with pytest.raises(StudyError, match=told), database(1, 20, tmp_path / "spill") as db:
        db.execute("SET memory_limit = '2MB'")
        db.execute("SELECT list(i ORDER BY hash(i)) FROM range(10_000_000) t(i)").fetchall()


def test_the_limit_follows_what_the_job_was_given(tmp_path: Path) -> None:
    for given, limit in ((4000, "3.7 GiB"), (8000, "3.7 GiB")):
        with database(1, given, tmp_path / "spill") as db:
            (found,) = db.execute("SELECT current_setting('memory_limit')").fetchall()[0]
        assert found == {4000: "1.8 GiB", 8000: limit}[given]


def test_the_clock_of_a_site_is_utc(tmp_path: Path) -> None:
    with database(1, 1000, tmp_path / "spill") as db:
        assert db.execute("SELECT current_setting('TimeZone')").fetchall() == [("UTC",)]


def test_little_memory_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the events are read in many pieces."""
    write_extract("riverside", 4000, 1, tmp_path / "extract")
    sums = []
    for given in (8000, 300):
        out = tmp_path / str(given)
        monkeypatch.setattr(memory, "_LEAST_MB", 60)
        cdm, _ = load(tmp_path / "extract", out)
        spec = task()
        files = {name: out / f"{name}.parquet" for name in ("vocabulary", "cohort", "splits", "tokens", "sequences")}
        make_vocabulary(cdm, "here", TEXTS, AS_RECORDED, 10, files["vocabulary"], memory_mb=given)
        make_cohort(cdm, "here", spec, 10, files["cohort"], out / "a.csv", files["splits"], memory_mb=given)
        made = (files["vocabulary"], files["cohort"], spec, AS_RECORDED, files["tokens"], files["sequences"])
        make_sequences(cdm, "here", *made, memory_mb=given)
        sums.append({name: hashlib.md5(file.read_bytes()).hexdigest() for name, file in files.items()})
    assert sums[0] == sums[1]
    rows = pq.read_table(files["sequences"])
    monkeypatch.setattr(records, "CHUNK", 1000)
    make_sequences(cdm, "here", *made, memory_mb=300)
    assert pq.read_table(files["sequences"]).equals(rows)


def test_rules_tell_their_jobs_what_they_have() -> None:
    rules = Path(__file__).parents[2] / "workflow/rules"
    told = "".join((rules / f"{name}.smk").read_text() for name in ("sites", "tasks", "vocabulary"))
    assert told.count("--memory {resources.mem_mb}") == 4
