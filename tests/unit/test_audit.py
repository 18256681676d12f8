"""The auditor finds what was once shown, and nothing in what is shown now of sites of any size."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from conceptbridge.cli import app
from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.cohort_counts import count_parts, shown_steps
from conceptbridge.disclosure.suppress import hide_small, suppress_steps
from conceptbridge.evaluate.cohort_summary import ALL_SPLITS, describe_site
from conceptbridge.evaluate.metrics import measure
from conceptbridge.evaluate.predictions import Rows
from conceptbridge.evaluate.schemas import SCHEMAS, to_table
from conceptbridge.evaluate.shared_tables import shared_table
from conceptbridge.evaluate.subgroup_metrics import groups_of
from conceptbridge.evaluate.subgroups import Dimension
from conceptbridge.evaluate.table_rows import counts_of
from conceptbridge.exchange.egress.audit import audit, audit_shown, audit_together, check_audit, possible_events
from conceptbridge.exchange.egress.shown_counts import Shown, nested_tasks
from conceptbridge.tasks.prevalence import split_table
from conceptbridge.tasks.splits import SPLITS

MINIMUM = 10
RANKED = ("auroc", "auprc", "brier", "scaled_brier")
SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 20, 40]
ARM = {"embedding": "e", "learner": "l", "strategy": "local", "source": "here", "target": "here"}


class Cohort:
    """A random cohort: who, with or without the event, in which split, lost at which step."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        persons = int(rng.integers(10, 300))
        several = rng.choice([0.0, 0.02, 0.5])
        of_person = 1 + rng.binomial(3, several, persons)
        self.person = np.repeat(np.arange(persons), of_person)
        risk = rng.beta(1, rng.choice([1, 5, 30]), persons)
        self.label = (rng.random(len(self.person)) < risk[self.person]).astype(np.int8)
        shares = rng.dirichlet([6, rng.choice([0.3, 2]), 2])
        drawn = persons if rng.random() < 0.5 else len(self.person)  # a person in one split, or in several
        split = rng.choice(3, drawn, p=shares)
        self.split = split[self.person] if drawn == persons else split
        self.left = rng.choice(5, len(self.person), p=[0.02, 0.03, 0.01, 0.04, 0.9])  # after which step a row goes
        self.sex = rng.choice(3, len(self.person), p=[0.48, 0.48, 0.04])
        self.without_rows = int(rng.choice([0, 3, 50]))  # further persons of the site

    @property
    def persons(self) -> int:
        return len(np.unique(self.person)) + self.without_rows

    @property
    def last(self) -> np.ndarray:
        return self.left == 4

    def rows(self) -> Rows:
        at = self.last
        names = np.array(ALL_SPLITS, dtype=object)[self.split[at]]
        return Rows(np.arange(at.sum()), self.person[at], self.label[at], names)


def shown_of(cohort: Cohort, task: str = "t") -> Shown:
    """What is shown of a cohort, by the code that shows it."""
    zero = np.zeros(len(cohort.person), np.intp)
    steps = []
    for number in range(5):
        kept = cohort.left >= number
        steps.append(count_parts(cohort.person[kept], cohort.label[kept], zero[kept], 1))
    at = cohort.last
    parts = count_parts(cohort.person[at], cohort.label[at], cohort.split[at], 3)
    told = shown_steps(steps, parts, cohort.persons, MINIMUM)
    attrition = [dict(zip(("persons", "rows", "events"), step, strict=True)) for step in told]
    kept = cohort.left >= 3
    names = pd.Series(np.array(SPLITS, dtype=object)[cohort.split[kept]]).where(at[kept], None)
    before = pd.DataFrame({"person_id": cohort.person[kept], "label": cohort.label[kept], "split": names})
    splits = split_table(pa.Table.from_pandas(before), told[-2], told[-1], False, MINIMUM)
    rows = cohort.rows()
    table = pa.table({"split": pa.array(rows.split, pa.string())})
    site = to_table(list(describe_site(table, rows, "t", "here", None, MINIMUM)), SCHEMAS["site"])
    counts = counts_of(rows, MINIMUM)
    metrics, seeds = measured(cohort, rows, counts)
    test = rows.of("test")
    sex = Dimension("sex", ["a", "b", "c"], cohort.sex[at][rows.split == "test"])
    groups = [
        ARM | {"dimension": "sex", "group": group.name, "rows": group.rows, "events": group.events}
        for group in groups_of(sex, test.label, test.person_id, MINIMUM, MINIMUM)
    ]
    budget = [ARM | dict(zip(("train_rows", "train_events"), counts["train"], strict=True))]
    held = int(rows.label[rows.split == "train"].sum())
    shown = counts["train"][1] is not None and counts["test"][1] is not None
    curves = [ARM | {"size": size, "depth": None} for size in SIZES if size <= held and shown]
    tables = (site.to_pylist(), splits.to_pylist(), attrition, metrics, seeds, groups, budget, curves)
    return Shown(task, "here", *tables, hide_small(cohort.persons, MINIMUM), SIZES)


def measured(cohort: Cohort, rows: Rows, counts: dict[str, Any]) -> tuple[list[dict], list[dict]]:
    """Metrics of three seeds where they are shown, rounded as they are."""
    metrics, seeds = [], []
    for split in ("validation", "test"):
        part = rows.of(split)
        key = ARM | {"split": split, "threshold": None, "alert_rate": None}
        if counts[split][1] is None:
            continue
        values = np.array(
            [measure(part.label, cohort.rng.random(len(part.label)), np.ones((len(part.label), 1)))[:, 0]] * 3
        )
        of_split = {"rows": counts[split][0], "events": counts[split][1], "seeds": 3}
        for name, value in zip(RANKED, values.T, strict=True):
            metrics.append(key | of_split | {"metric": name, "estimate": value.mean()})
            seeds += [key | {"metric": name, "seed": n, "estimate": one} for n, one in enumerate(value)]
    rows_of = {split: of[0] for split, of in counts.items()}

    def shared(name: str, long: list[dict]) -> list[dict]:
        columns = SCHEMAS[name]
        lines = [
            tuple({"task": "t"} | row).__len__() and tuple(({"task": "t"} | row).get(c) for c in columns.names)
            for row in long
        ]
        return shared_table(name, to_table(lines, columns), rows_of, MINIMUM).to_pylist()

    return shared("metrics", metrics), shared("seeds", seeds)


def tasks_of(seed: int) -> tuple[list[Shown], dict[str, Any]]:
    """One to three tasks of a site: the second looks a little further ahead than the first, the third has its own rows.

    With the definitions of those that may be sent together: of two that are nested and differ by few, only one may.
    """
    first = Cohort(seed)
    shown, definitions = [shown_of(first, "narrow")], {"narrow": outcome(1, 7)}
    if seed % 3:
        wide = Cohort(seed)  # the same rows
        more = np.random.default_rng(seed).random(len(wide.label)) < (0.01 if seed % 2 else 0.3)
        wide.label = np.maximum(wide.label, more).astype(np.int8)
        shown.append(shown_of(wide, "wide"))
        definitions["wide"] = outcome(1, 30)
    if seed % 3 == 2:
        other = Cohort(1000 + seed)
        other.without_rows = max(first.persons - len(np.unique(other.person)), 0)
        shown.append(shown_of(other, "other"))
        definitions["other"] = outcome(1, 7) | {"index": {"domain": "condition"}}
    return shown, definitions


def outcome(first: int, last: int) -> dict[str, Any]:
    return {"index": {"domain": "visit"}, "outcome": {"domain": "condition", "concepts": [1], "days": [first, last]}}


@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.dear) for first in range(20, 200, 20))])
def test_nothing_that_is_small_is_determined_by_what_is_shown_of_a_random_site(first: int) -> None:
    shown, refused = 0, 0
    for seed in range(first, first + 20):
        tasks, definitions = tasks_of(seed)
        found = audit_together(tasks, MINIMUM, definitions)
        assert {one.where for one in found} <= {"narrow and wide at here"}, (seed, found)
        refused += bool(found)  # nothing hides that, so that the gate does not let both tasks leave
        shown += sum(row["events"] is not None for row in tasks[0].site)
    assert shown > 10  # of 60 splits
    assert refused < 10


def as_it_was(cohort: Cohort) -> Shown:
    """What was shown of the same cohort: each column hidden by itself, rows and not persons, both Brier scores."""
    shown = shown_of(cohort)
    kept = [cohort.left >= number for number in range(5)]
    persons = suppress_steps([len(np.unique(cohort.person[at])) for at in kept], MINIMUM, cohort.persons)
    rows, events = (
        suppress_steps([int(of[at].sum()) for at in kept], MINIMUM) for of in (cohort.label * 0 + 1, cohort.label)
    )
    shown.attrition = [
        dict(zip(("persons", "rows", "events"), step, strict=True)) for step in zip(persons, rows, events, strict=True)
    ]
    test = cohort.rows().of("test")
    if 0 < test.label.sum() < MINIMUM <= len(test.label):
        probability = np.full((len(test.label), 1), 0.1)
        values = dict(zip(RANKED, measure(test.label, probability[:, 0], np.ones_like(probability))[:, 0], strict=True))
        shown.metrics = estimates("test", len(test.label), **values)
        shown.site = [row if row["split"] != "test" else row | {"rows": len(test.label)} for row in shown.site]
    return shown


def test_the_auditor_finds_what_was_shown_of_the_same_sites_before() -> None:
    found = [{one.what for one in audit_shown(as_it_was(Cohort(seed)), MINIMUM)} for seed in range(10)]
    assert sum(any(what.startswith("step") for what in of_site) for of_site in found) >= 2
    assert sum("split test: rows of the rarer class" in of_site for of_site in found) >= 1


def blank(**tables: Any) -> Shown:
    names = ("site", "splits", "attrition", "metrics", "seeds", "subgroups", "training_budget", "curves")
    return Shown(
        "t",
        "here",
        **{name: tables.get(name, []) for name in names}
        | {"persons": tables.get("persons"), "sizes": tables.get("sizes")},
    )


def estimates(split: str, rows: int, **values: float) -> list[dict[str, Any]]:
    key = ARM | {"split": split, "rows": rows, "events": None, "threshold": None, "alert_rate": None, "seeds": 3}
    return [key | {"metric": metric, "estimate": value} for metric, value in values.items()]


def test_the_auditor_reads_few_events_off_both_brier_scores() -> None:
    """Of 200 rows; what was shown of the validation rows of a small site."""
    brier, prevalence = 0.0213, 4 / 200
    scaled = 1 - brier / (prevalence * (1 - prevalence))
    found = audit_shown(blank(metrics=estimates("test", 200, brier=brier, scaled_brier=scaled)), MINIMUM)
    assert ("split test: rows of the rarer class", 4) in {one[1:] for one in found}


def test_the_auditor_reads_few_events_off_aurocs_in_full() -> None:
    rng = np.random.default_rng(1)
    label = np.r_[np.ones(7, int), np.zeros(150, int)]
    aurocs = [measure(label, rng.random(157), np.ones((157, 1)))[0, 0] for _ in range(3)]
    key = ARM | {"split": "test", "metric": "auroc"}
    seeds = [key | {"seed": n, "estimate": auroc} for n, auroc in enumerate(aurocs)]
    site = [{"split": "test", "persons": None, "rows": 157, "events": None, "persons_with_event": None}]
    found = audit_shown(blank(site=site, seeds=seeds, metrics=[]), MINIMUM)
    assert ("split test: rows of the rarer class", 7) in {one[1:] for one in found}
    assert set(possible_events(157, [], seeds, "test").tolist()) == {7, 150}


def test_the_auditor_subtracts_rows_that_stand_beside_blank_persons() -> None:
    steps = [(None, 322, 80), (315, 315, 80), (250, 250, 70)]
    attrition = [dict(zip(("persons", "rows", "events"), step, strict=True)) for step in steps]
    found = audit_shown(blank(attrition=attrition), MINIMUM)
    assert ("steps 0 to 1: rows", 7) in {one[1:] for one in found}


def test_the_auditor_finds_the_remainder_of_a_total_and_of_a_group() -> None:
    def split(name: str, rows: int | None, events: int | None) -> dict[str, Any]:
        return {"split": name, "persons": rows, "rows": rows, "events": events, "persons_with_event": None}

    site = [split("train", 200, 40), split("validation", None, None), split("test", 100, 20)]
    attrition = [{"persons": 304, "rows": 304, "events": 62}]
    found = {one[1:] for one in audit_shown(blank(site=site, attrition=attrition), MINIMUM)}
    assert {("split validation: rows", 4), ("split validation: events", 2)} <= found
    groups = [
        ARM | {"dimension": "sex", "group": name, "rows": n, "events": k}
        for name, n, k in [("a", 60, 12), ("b", None, None)]
    ]
    found = {one[1:] for one in audit_shown(blank(site=[split("test", 65, 15)], subgroups=groups), MINIMUM)}
    assert {("group sex b: rows", 5)} <= found


def test_the_auditor_reads_few_events_off_the_sizes_of_a_learning_curve() -> None:
    curves = [ARM | {"size": size, "depth": None} for size in (4, 8)]
    [found] = audit_shown(blank(curves=curves, sizes=[4, 8, 9]), MINIMUM)
    assert found[1:] == ("split train: events", 8)
    assert audit_shown(blank(curves=curves, sizes=[4, 8, 16]), MINIMUM) == []


def test_the_auditor_subtracts_the_first_step_from_all_persons() -> None:
    attrition = [{"persons": 315, "rows": 315, "events": 80}]
    [found] = audit_shown(blank(attrition=attrition, persons=322), MINIMUM)
    assert found[1:] == ("persons before step 0", 7)
    assert audit_shown(blank(attrition=attrition, persons=330), MINIMUM) == []


def test_the_auditor_subtracts_nested_tasks() -> None:
    """Three have the event after the seventh day alone."""
    definitions = {"week": outcome(1, 7), "month": outcome(1, 30), "other": outcome(8, 40)}
    assert nested_tasks(definitions) == [("week", "month")]

    def shown(task: str, events: int) -> Shown:
        one = blank(attrition=[{"persons": 300, "rows": 300, "events": events}])
        one.task = task
        return one

    three = [shown("week", 40), shown("month", 43), shown("other", 42)]
    found = audit_together(three, MINIMUM, definitions)
    assert {one.where for one in found} == {"week and month at here"}
    assert ("step 0: events of month, not of week", 3) in {one[1:] for one in found}
    assert audit_together([shown("week", 40), shown("month", 50)], MINIMUM, definitions) == []


def test_a_count_of_one_step_alone_says_nothing() -> None:
    assert audit_shown(blank(attrition=[{"persons": 300, "rows": 300, "events": 40}]), MINIMUM) == []


def test_a_whole_folder_is_read(tmp_path: Path) -> None:
    at = tmp_path / "tasks/t/here"
    at.mkdir(parents=True)
    (at / "attrition.csv").write_text("step,persons,rows,events\na,,322,80\nb,315,315,80\n")
    [found] = {one.where for one in audit(tmp_path, MINIMUM)}
    assert found == "t at here"
    told = CliRunner().invoke(app, ["audit-release", str(tmp_path)])
    assert "t at here: steps 0 to 1: rows" in str(told.exception)
    assert "7" not in str(told.exception).partition("\n")[2]
    (at / "attrition.csv").write_text("step,persons,rows,events\na,,,\nb,315,315,80\n")
    told = CliRunner().invoke(app, ["audit-release", str(tmp_path)])
    assert (told.exit_code, "no count under 10" in told.output) == (0, True)


def test_two_nested_tasks_that_differ_by_few_do_not_leave_together(tmp_path: Path) -> None:
    for task, events in (("week", 40), ("month", 43)):
        at = tmp_path / "tasks" / task / "here"
        at.mkdir(parents=True)
        (at / "attrition.csv").write_text(f"step,persons,rows,events\nindex,300,300,{events}\n")
    study = {"tasks": {"week": outcome(1, 7), "month": outcome(1, 30)}}
    with pytest.raises(StudyError, match=r"week and month at here: .*leave this task .* out of the study"):
        check_audit(tmp_path, MINIMUM, study)
    check_audit(tmp_path, MINIMUM, {"tasks": {"week": outcome(1, 7), "month": outcome(8, 30)}})
