"""What others see of a site gives no small count away: each attack here once found one."""

from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.disclosure.cohort_counts import Counts, count_parts, shown_parts, shown_steps
from conceptbridge.disclosure.rounding import MOST, safe_decimals
from conceptbridge.disclosure.token_counts import of_enough_persons, shared_tokens
from conceptbridge.evaluate.break_even import Curve
from conceptbridge.evaluate.schemas import SCHEMAS, Arm
from conceptbridge.evaluate.shared_tables import read_shared
from conceptbridge.evaluate.table_rows import Measured, curves
from test_evaluate import one_arm, rows

MINIMUM = 10


@pytest.mark.parametrize("events", [4, 9, 12])
def test_both_brier_scores_of_few_events_are_in_no_table(tmp_path: Path, events: int) -> None:
    """Prevalence x (1 - prevalence) is Brier / (1 - scaled Brier): 4 of 200 rows were read off as 4.0000."""
    label = np.tile(np.r_[np.ones(events, int), np.zeros(200 - events, int)], 2)
    split = np.repeat(["validation", "test"], 200)
    made = one_arm(tmp_path, label, np.random.default_rng(0).random((2, 400)), split=split, settings={"min_persons": 2})
    for where in ("validation", "test"):
        found = {row["metric"]: row["estimate"] for row in rows(made["metrics"], split=where)}
        if events < MINIMUM:
            assert set(found.values()) == {None}
            assert rows(made["seeds"], split=where) == []
        else:  # their number is told
            assert {row["events"] for row in rows(made["metrics"], split=where)} == {events}
            assert found["brier"] is not None
    if events < MINIMUM:
        assert {row["difference"] for row in rows(made["comparisons"])} == {None}
        assert {row["estimate"] for row in rows(made["subgroups"])} <= {None}
        assert not rows(made["curves"])
        assert not rows(made["binned_curves"])


def test_events_of_few_persons_have_no_metric_however_many_they_are(tmp_path: Path) -> None:
    label = np.r_[np.ones(60, int), np.zeros(140, int)]
    person = np.r_[np.arange(60) % 6, 100 + np.arange(140)]
    where = {"person": np.tile(person, 2), "split": np.repeat(["validation", "test"], 200)}
    made = one_arm(tmp_path, np.tile(label, 2), np.random.default_rng(0).random((2, 400)), **where)
    assert {row["estimate"] for row in rows(made["metrics"])} == {None}
    assert {row["events"] for split in ("validation", "test") for row in rows(made["site"], split=split)} == {None}


def grid(pairs: int, decimals: int) -> set[int]:
    """Every AUROC of so many pairs of rows, rounded, in units of the last decimal."""
    return {int(value) for value in np.unique((np.arange(pairs + 1) / pairs).round(decimals) * 10**decimals + 0.5)}


@pytest.mark.parametrize("n", [20, 21, 25, 40, 60, 110, 119, 200, 300, 1010])
def test_an_auroc_as_shown_is_possible_with_any_number_of_events(n: int) -> None:
    """In full it is k / (events x others), so three seeds told the events of four sites of four."""
    decimals = safe_decimals(n, MINIMUM)
    assert 1 <= decimals <= MOST
    whole = set(range(10**decimals + 1))
    for events in range(MINIMUM, n - MINIMUM + 1):
        assert grid(events * (n - events), decimals) == whole
        if events * (n - events) > 10**5:
            break
    if decimals < MOST:  # one more would rule some numbers out
        assert grid(MINIMUM * (n - MINIMUM), decimals + 1) != set(range(10 ** (decimals + 1) + 1))


def test_what_is_shown_is_rounded_and_full_precision_stays_at_home(tmp_path: Path) -> None:
    label = np.tile(np.r_[np.ones(40, int), np.zeros(60, int)], 2)
    split = np.repeat(["validation", "test"], 100)
    made = one_arm(tmp_path / "x", label, np.random.default_rng(0).random((2, 200)), split=split)
    for name in SCHEMAS:
        write_parquet(made[name], tmp_path / f"{name}.parquet")
    at_home = {row["metric"]: row for row in rows(pq.read_table(tmp_path / "metrics.parquet"), split="test")}
    shown = {row["metric"]: row for row in rows(read_shared(tmp_path, "metrics", MINIMUM), split="test")}
    for name in ("auroc", "auprc", "brier", "scaled_brier"):
        assert shown[name]["estimate"] == round(at_home[name]["estimate"], 2) != at_home[name]["estimate"]
        assert shown[name]["lower"] == round(at_home[name]["lower"], 2)
    seeds = rows(read_shared(tmp_path, "seeds", MINIMUM), metric="auroc")
    assert all(row["estimate"] == round(row["estimate"], 2) for row in seeds)
    for name in SCHEMAS:  # what was shared once can be shared again
        once = read_shared(tmp_path, name, MINIMUM)
        write_parquet(once, tmp_path / f"{name}.parquet")
    for name in SCHEMAS:
        assert read_shared(tmp_path, name, MINIMUM).equals(pq.read_table(tmp_path / f"{name}.parquet"))


def test_tokens_that_leave_are_those_of_enough_persons() -> None:
    """12 rows of 6 persons hold it: six tokens of prairie left so."""
    tokens = pa.table({"key": ["1|present", "2|present"], "rows": [12, 12], "persons": [6, 11]})
    assert of_enough_persons(tokens, MINIMUM)["key"].to_pylist() == ["2|present"]
    assert shared_tokens(tokens, 100, MINIMUM).column_names == ["key", "rows"]


def test_persons_and_rows_that_are_equal_are_hidden_together() -> None:
    """The step's persons were blank and its rows were not: 322 - 315 = 7."""
    steps = [
        Counts(*(np.array([count]) for count in (n, n, k, k, n - k))) for n, k in [(322, 80), (315, 80), (250, 70)]
    ]
    person, label = np.arange(250), np.r_[np.ones(70, int), np.zeros(180, int)]
    parts = count_parts(person, label, np.arange(250) % 3, 3)
    shown = shown_steps(steps, parts, 400, MINIMUM)
    assert shown == [(None, None, None), (315, 315, 80), (250, 250, 70)]


@pytest.mark.parametrize("further", [1, 9])
def test_few_second_rows_are_not_the_difference_of_rows_and_persons(further: int) -> None:
    person = np.r_[np.arange(60), np.arange(further)]
    label = (person % 2).astype(int)
    shown = shown_parts(count_parts(person, label, np.zeros(len(person), int), 1), MINIMUM, total_known=False)
    assert shown.rows.all()
    assert not shown.persons.any()


def test_no_split_is_the_remainder_of_the_last_step() -> None:
    for few, (a, b) in product(range(1, MINIMUM), [(60, 40), (30, 200)]):
        counts = [a, few, b]
        part = np.repeat(range(3), counts)
        label = np.concatenate([np.arange(n) % 2 for n in counts])
        parts = count_parts(np.arange(sum(counts)), label, part, 3)
        last = Counts(*(np.array([np.sum(column)]) for column in parts))
        assert shown_steps([last], parts, 10_000, MINIMUM) == [(None, None, None)]


@pytest.mark.parametrize(("events", "shown"), [((60, 40), True), ((9, 40), False), ((60, 9), False)])
def test_the_sizes_of_a_learning_curve_do_not_tell_few_training_events(events: tuple[int, int], shown: bool) -> None:
    """8 is a size and 16 is none: with sizes closer together, that is the number of events."""
    train, test = ((200, n if n >= MINIMUM else None) for n in events)
    curve = Curve(np.array([4.0, 8.0]), np.full((2, 1), 0.7), np.zeros((2, 1, 5), np.float32))
    arm = Arm("minilm", "cnn", "local", "here")
    at = Measured(
        "t",
        "here",
        {arm: SimpleNamespace(sizes=curve, depths=[])},
        SimpleNamespace(settings=SimpleNamespace(min_cell_count=MINIMUM)),
        controls=None,
        choice=None,
        counts={"train": train, "validation": (100, 20), "test": test},
        labelled_events=None,
        seed=0,
    )
    assert [row[6] for row in curves(at)] == ([4, 8] if shown else [])
