"""Aggregate results files: what may be left over between their tables, and which ones a coordinator takes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.atomic_files import write_json, write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.evaluate.schemas import METHOD_LIMITS, SCHEMAS, schema, to_table
from conceptbridge.exchange.egress.check import check_egress
from conceptbridge.exchange.egress.residual_counts import check_residual_counts
from conceptbridge.exchange.egress.site_secrets import SiteSecrets
from conceptbridge.exchange.package import read_package, write_package
from conceptbridge.exchange.receive.aggregates import receive_aggregates
from conceptbridge.exchange.receive.find_aggregates import find_aggregates
from conceptbridge.exchange.send.aggregates import shared_vocabulary, write_aggregates
from conceptbridge.tasks.leaks import SCHEMA as LEAKS
from conceptbridge.tasks.prevalence import SCHEMA as PREVALENCE
from conceptbridge.tasks.sequences import TOKENS
from conceptbridge.vocabulary.build import SCHEMA as VOCABULARY

MINIMUM = 10
TASK, SITE = "influenza", "north"
ARM = ("onehot", "logistic", "local", SITE)
STUDY = {"tasks": {TASK: {}}, "min_cell_count": MINIMUM, "seeds": 2}
ABOUT = {"site": SITE, "role": "both", "simulated": False, "study": STUDY}
NAMES = {"embedding": ["onehot"], "learner": ["logistic"], "strategy": ["local"], "source": [SITE]}
SECRETS = SiteSecrets(np.array([10**9]), frozenset({"rare"}), frozenset(), frozenset(), (), frozenset(), 10**6, MINIMUM)

Splits = dict[str, tuple[int | None, int | None, int | None]]
WHOLE: Splits = {"train": (500, 600, 60), "validation": (100, 120, 20), "test": (200, 220, 30)}


def split_rows(splits: Splits, with_event: int | None = None) -> list[tuple[Any, ...]]:
    more = (2019, 2021, 3.5, None, None, None)
    return [(TASK, SITE, split, *counts, with_event, *more) for split, counts in splits.items()]


def metric(split: str, rows: int | None, events: int | None, name: str = "auroc") -> tuple[Any, ...]:
    return (TASK, *ARM, SITE, split, name, None, None, 0.8, 0.7, 0.9, "t", 0.01, 2, rows, events, None)


def cut(name: str, threshold: float, estimate: float, seed: int = 1) -> tuple[Any, ...]:
    return (TASK, *ARM, SITE, "test", name, threshold, None, seed, estimate)


def group(dimension: str, name: str, rows: int | None, events: int | None) -> tuple[Any, ...]:
    return (TASK, *ARM, SITE, dimension, name, "auroc", None, None, None, None, rows, events, None)


def bin_of(place: int, share: float, observed: float) -> tuple[Any, ...]:
    return (TASK, *ARM, SITE, "recommended", place, 0, 0.1, share, 0.1, observed, *[0.5] * 5)


def measured(folder: Path, splits: Splits = WHOLE, last: str = "800,940,110", **rows: list[tuple[Any, ...]]) -> Path:
    """The files of a site's results; ``rows`` replace those of a table."""
    made: dict[str, list[tuple[Any, ...]]] = {
        "site": split_rows(splits),
        "metrics": [metric(split, rows, events) for split, (_, rows, events) in splits.items() if split != "train"],
        "training_budget": [(TASK, *ARM, SITE, *splits["train"][1:], 1, 7, "7", "{}", "", "", None)],
    } | rows
    for name, columns in SCHEMAS.items():
        write_parquet(to_table(made.get(name, []), columns), folder / f"metrics/{TASK}/{SITE}/{name}.parquet")
    at = folder / "tasks" / TASK / SITE
    tokens = [
        {"token": n, "key": f"{n}|present", "text": f"concept {n}", "concept_id": n, "rows": 40 - 20 * n}
        | {"state": "present", "domain": "condition"}
        for n in range(3)
    ]
    write_parquet(pa.Table.from_pylist(tokens, TOKENS), at / "tokens.parquet")
    write_parquet(LEAKS.empty_table(), at / "leaks.parquet")
    shares = [(split, *counts, None, None, None, False) for split, counts in splits.items()]
    write_parquet(to_table(shares, PREVALENCE), at / "splits.parquet")
    (at / "attrition.csv").write_text(f"step,persons,rows,events\nin a split,{last}\n")
    known = [
        {"key": f"{n}|present", "concept_id": n, "concept_code": "c", "domain": "condition", "name": name}
        | {"named_by": "concept", "state": "present", "text": name, "records": 50, "persons": persons, "private": few}
        for n, name, persons, few in [(1, "Cough", 40, False), (2, "Fever", 9, False), (2_000_000_001, "rare", 3, True)]
    ]
    write_parquet(pa.Table.from_pylist(known, VOCABULARY), folder / f"sites/{SITE}/vocabulary.parquet")
    write_json(
        {"tables": {"person": {"file": "p.csv", "read": 900, "kept": 895, "dropped": {"x": 5}}}, "persons": 895},
        folder / f"sites/{SITE}/quality.json",
    )
    return folder


LEFT_OVER: dict[str, tuple[dict[str, Any], str]] = {
    "the rows of a small split": (
        {"splits": WHOLE | {"validation": (None, None, None)}, "last": "805,825,95"},
        r"attrition and splits: (persons|rows)",
    ),
    "the events of a small split": (
        {"splits": WHOLE | {"validation": (100, 120, None)}, "last": "800,940,95"},
        r"attrition and splits: events",
    ),
    "rows without the event of a split": (
        {"splits": WHOLE | {"validation": (100, None, None)}, "last": "800,860,125"},
        r"attrition and splits: (rows|events)",
    ),
    "persons in two splits": ({"last": "795,940,110"}, r"attrition and splits: persons in more than one split"),
    "events beside those of one per person": (
        {"site": split_rows(WHOLE, with_event=25)},
        r"site\.parquet: persons_with_event",
    ),
    "a small subgroup": (
        {
            "subgroups": [
                group("sex", "female", 120, 20),
                group("sex", "male", 95, 9 + 1),
                group("sex", "x", None, None),
            ]
        },
        r"subgroups\.parquet: rows",
    ),
    "the events of a small subgroup": (
        {"subgroups": [group("sex", "female", 120, 22), group("sex", "male", 100, None)]},
        r"subgroups\.parquet: events",
    ),
    "a cell at a cut": (
        {"seeds": [cut("sensitivity", 0.1, 25 / 30), cut("specificity", 0.1, 0.5)]},
        r"seeds\.parquet: metrics at a cut",
    ),
    "events between two cuts": (
        {
            "seeds": [
                *(cut("sensitivity", 0.1, 18 / 30), cut("specificity", 0.1, 0.5)),
                *(cut("sensitivity", 0.2, 15 / 30), cut("specificity", 0.2, 0.7)),
            ]
        },
        r"seeds\.parquet: metrics at a cut",
    ),
    "the events of a bin": (
        {"binned_curves": [bin_of(0, 0.5, 0.05), bin_of(1, 0.5, 0.2)]},
        r"binned_curves\.parquet: rows of a bin",
    ),
}


@pytest.mark.parametrize("case", LEFT_OVER)
def test_a_count_that_is_left_over_is_refused(tmp_path: Path, case: str) -> None:
    given, message = LEFT_OVER[case]
    with pytest.raises(StudyError, match=message):
        check_residual_counts(measured(tmp_path, **given), MINIMUM)


def test_few_persons_of_the_site_who_are_in_no_step_are_found_by_the_audit(tmp_path: Path) -> None:
    splits: Splits = {split: (None, *counts[1:]) for split, counts in WHOLE.items()}
    results = measured(tmp_path, splits, last="888,940,110")  # of 895 persons
    check_residual_counts(results, MINIMUM)
    with pytest.raises(StudyError, match="influenza at north: persons before step 0: a count under min_cell_count"):
        write_aggregates(results, ABOUT, SECRETS, tmp_path / "x.zip", tmp_path / "x.md")
    assert not (tmp_path / "x.zip").exists()


def test_what_leaves_nothing_over_is_no_finding(tmp_path: Path) -> None:
    check_residual_counts(measured(tmp_path / "a"), MINIMUM)
    # the total is not told, and so may the others be
    check_residual_counts(measured(tmp_path / "b", WHOLE | {"validation": (None, None, None)}, ",,"), MINIMUM)
    fine = [cut("sensitivity", 0.1, 20 / 30), cut("specificity", 0.1, 0.5)]
    # few have the event: no sensitivity is told at all
    blank = [(*cut("sensitivity", 0.1, 0.0)[:-1], None), cut("specificity", 0.1, 0.5)]
    check_residual_counts(measured(tmp_path / "d", seeds=blank), MINIMUM)
    bins = [bin_of(0, 0.5, 10 / 110), bin_of(1, 0.5, 20 / 110)]
    sexes = [group("sex", "female", 120, 12), group("sex", "male", 100, 18)]
    check_residual_counts(measured(tmp_path / "c", seeds=fine, binned_curves=bins, subgroups=sexes), MINIMUM)
    # a source alone is not tested: it has splits and attrition, and no metrics
    source = measured(tmp_path / "e")
    shutil.rmtree(source / "metrics")
    check_residual_counts(source, MINIMUM)


def sent(folder: Path, **about: Any) -> Path:
    """The results file of the site, and its release report."""
    out = folder / "out" / f"{SITE}.zip"
    write_aggregates(measured(folder / "results"), ABOUT | about, SECRETS, out, out.with_suffix(".md"))
    return out


def test_what_is_sent_can_be_received(tmp_path: Path) -> None:
    file = sent(tmp_path)
    into = tmp_path / "coordinator"
    into.mkdir()
    receive_aggregates(file, SITE, [TASK], NAMES, into)
    for name in SCHEMAS:
        path = f"metrics/{TASK}/{SITE}/{name}.parquet"
        assert (into / path).read_bytes() == (tmp_path / "results" / path).read_bytes()
    tokens = pq.read_table(into / f"tasks/{TASK}/{SITE}/tokens.parquet")
    assert tokens["rows"].to_pylist() == [40, 20]
    assert pq.read_table(into / f"sites/{SITE}/vocabulary.parquet")["text"].to_pylist() == ["Cough"]
    quality = json.loads((into / f"sites/{SITE}/quality.json").read_text())
    assert quality["tables"]["person"] == {"read": None, "kept": 895, "dropped": {"x": "under 10"}}


def test_limits_for_methods_go_along_where_the_study_has_them_and_only_there(tmp_path: Path) -> None:
    into = tmp_path / "coordinator"
    into.mkdir()
    of_method = f"metrics/{TASK}/{SITE}/method_limits.parquet"
    row = (TASK, SITE, "auroc", None, *ARM, *[None] * 4, 0.8, 0.7, 0.9, 0.6, 0.95, 0.03, 20, None)
    write_parquet(to_table([row], schema(METHOD_LIMITS)), tmp_path / "results" / of_method)
    receive_aggregates(sent(tmp_path), SITE, [TASK], NAMES, into)
    assert not (into / of_method).exists()
    study = STUDY | {"evaluation": {"training": "resampled"}}
    receive_aggregates(sent(tmp_path, study=study), SITE, [TASK], NAMES, into)
    assert pq.read_table(into / of_method).to_pylist()[0]["training_sd"] == 0.03


def test_the_release_report_says_what_leaves(tmp_path: Path) -> None:
    report = sent(tmp_path).with_suffix(".md").read_text()
    assert "| metrics/influenza/north/site.parquet | the cohort by split | 3 |" in report
    assert "| 20 |" in report  # the smallest count of its events
    assert "ids of 1 persons and visits" in report


def test_nothing_is_written_where_something_must_not_leave(tmp_path: Path) -> None:
    results = measured(tmp_path / "results", site=split_rows(WHOLE | {"test": (200, 220, 3)}))
    with pytest.raises(StudyError, match=r"site\.parquet: the column events has counts under min_cell_count"):
        write_aggregates(results, ABOUT, SECRETS, tmp_path / "x.zip", tmp_path / "x.md")
    with pytest.raises(StudyError, match=r"the manifest: about\.study\.seen holds a date"):
        about = ABOUT | {"study": STUDY | {"seen": "2015-03-14"}}
        write_aggregates(measured(tmp_path / "more"), about, SECRETS, tmp_path / "x.zip", tmp_path / "x.md")
    assert not list(tmp_path.glob("x.*"))


def test_a_shared_vocabulary_has_no_counts_and_no_local_codes() -> None:
    tokens = [
        {"key": f"{n}|present", "concept_id": n, "concept_code": "c", "name": "n", "text": "n", "persons": 20}
        | {"private": False, "records": 30, "state": "present"}
        for n in (5, 2_000_000_001)
    ]
    shared = shared_vocabulary(pa.Table.from_pylist(tokens, VOCABULARY), MINIMUM)
    assert shared["concept_code"].to_pylist() == ["c", None]
    assert shared["persons"].null_count == shared["records"].null_count == 2


def repacked(file: Path, spoil: Callable[[Path], Any], **about: Any) -> Path:
    """The package with its content spoiled and its hashes right."""
    folder = file.parent / "spoiled"
    said = read_package(file, "results", folder)
    spoil(folder)
    write_package(folder, "results", said | about, file)
    return file


def table(folder: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    path = folder / f"metrics/{TASK}/{SITE}/{name}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another site's cells": (
        lambda f: table(f, "site", lambda t: t.set_column(1, "site", pa.array(["south"] * len(t)))),
        r"site\.parquet: site: has a name that this study does not have",
    ),
    "an unknown embedding": (
        lambda f: table(f, "metrics", lambda t: t.set_column(1, "embedding", pa.array(["<b>"] * len(t)))),
        r"metrics\.parquet: embedding: has a name that this study",
    ),
    "a column more": (
        lambda f: table(f, "site", lambda t: t.append_column("x", pa.array([1] * len(t)))),
        r"site\.parquet: does not have the columns",
    ),
    "a file less": (
        lambda f: (f / f"sites/{SITE}/quality.json").unlink(),
        r"quality\.json: is missing",
    ),
    "a file more": (lambda f: (f / "notes.md").write_text("x"), r"notes\.md: does not belong"),
    "no Parquet": (
        lambda f: (f / f"metrics/{TASK}/{SITE}/site.parquet").write_text("x"),
        r"site\.parquet: cannot be read as Parquet",
    ),
    "a key twice": (
        lambda f: (f / f"sites/{SITE}/quality.json").write_text('{"a": 1, "a": 2}'),
        r"quality\.json: has the key 'a' twice",
    ),
    "other columns of steps": (
        lambda f: (f / f"tasks/{TASK}/{SITE}/attrition.csv").write_text("a,b\n"),
        r"attrition\.csv: does not have the columns step, persons, rows, events",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_is_not_as_declared_is_refused_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    spoil, message = HOSTILE[case]
    file = repacked(sent(tmp_path), spoil)
    into = tmp_path / "coordinator"
    into.mkdir()
    with pytest.raises(StudyError, match=message):
        receive_aggregates(file, SITE, [TASK], NAMES, into)
    assert not list(into.iterdir())


def test_before_anything_runs_the_file_has_to_be_of_the_site_and_the_study(tmp_path: Path) -> None:
    file = sent(tmp_path)
    assert find_aggregates(file, SITE, "both", STUDY)["simulated"] is False
    with pytest.raises(StudyError, match=r"sites\.south\.results_file.* is the results file of north"):
        find_aggregates(file, "south", "both", STUDY)
    with pytest.raises(StudyError, match=r"differ from this study's: seeds is 2 there and 3 here"):
        find_aggregates(file, SITE, "both", STUDY | {"seeds": 3})
    with pytest.raises(StudyError, match=r"tasks\.influenza\.split is not given there and time here"):
        find_aggregates(file, SITE, "both", STUDY | {"tasks": {TASK: {"split": "time"}}})
    with pytest.raises(StudyError, match=r"took part with the role `both`"):
        find_aggregates(file, SITE, "source", STUDY)
    with pytest.raises(StudyError, match=r"the file does not exist"):
        find_aggregates(tmp_path / "none.zip", SITE, "both", STUDY)


def test_a_checked_folder_is_checked_across_its_tables(tmp_path: Path) -> None:
    given, message = LEFT_OVER["a small subgroup"]
    folder = measured(tmp_path, **given)
    (folder / f"sites/{SITE}/quality.json").unlink()
    for path in [*folder.glob("tasks/*/*/tokens.parquet"), *folder.glob("sites/*/*")]:
        path.unlink()
    with pytest.raises(StudyError, match=message):
        check_egress(folder, SECRETS)
