"""Audit what a site has shown: is a count that is hidden determined by those that are shown?

For each site and task the counts of the cohort (by inclusion step, split and subgroup) are unknown whole numbers. What
the tables show fixes some; that splits and groups add up to the cohort, that steps fall, and that persons are at most
rows, binds the others. Estimates add to that: both Brier scores give the prevalence, and an AUROC is a fraction of the
pairs of rows. An integer program then asks for each hidden count and each difference of two whether it can have more
than one value. Those that cannot, and are small, are findings. No finding is no proof: only these tables are read.
"""

import csv
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import is_small
from conceptbridge.exchange.egress.integer_program import Key, System
from conceptbridge.exchange.package import read_package

SPLITS = ("train", "validation", "test")
_COUNTS = ("persons", "rows", "events", "with_event", "without_event")
#: the name of a count in a table, where it is another one
_TOLD_AS = {"with_event": "persons_with_event"}

Rows = list[dict[str, Any]]


class Finding(NamedTuple):
    """A small count that is determined: where, and which; its ``value`` is for tests and belongs in no message."""

    where: str
    what: str
    value: int


@dataclass
class Shown:
    """What is shown of one task at one site, as rows of the tables (empty where a table is not there)."""

    where: str
    site: Rows
    splits: Rows
    attrition: Rows
    metrics: Rows
    seeds: Rows
    subgroups: Rows
    training_budget: Rows


def audit(folder: Path, min_cell_count: int) -> list[Finding]:
    """Return the small counts that what lies in ``folder`` determines, site by site and task by task.

    ``folder`` is a results file, packed or unpacked, or the results of a study, whose ``tables`` are looked at. Raises
    StudyError if it is neither.
    """
    if folder.is_file():
        with tempfile.TemporaryDirectory() as temporary:
            read_package(folder, "results", Path(temporary) / "files")
            return audit(Path(temporary) / "files", min_cell_count)
    return [found for shown in read_shown(folder) for found in audit_shown(shown, min_cell_count)]


def read_shown(folder: Path) -> Iterator[Shown]:
    """Yield what a folder shows of each task and site. Raises StudyError if it shows nothing."""
    if (folder / "tables").is_dir():
        yield from _joint(folder / "tables")
        return
    cohorts = sorted({path.parent for path in folder.glob("tasks/*/*/attrition.csv")})
    if not cohorts:
        raise StudyError(
            f"{folder}: has neither `tables` nor `tasks/TASK/SITE/attrition.csv`; give the folder of a study's "
            "results, or that of an unpacked results file"
        )
    for at in cohorts:
        measured = folder / "metrics" / at.parent.name / at.name
        with (at / "attrition.csv").open(encoding="utf-8", newline="") as file:
            steps: Rows = [
                {name: int(value) if value.isdigit() else None for name, value in step.items()}
                for step in csv.DictReader(file)
            ]
        names = ("site", "metrics", "seeds", "subgroups", "training_budget")
        tables = {name: _rows(measured / f"{name}.parquet") for name in names}
        yield Shown(f"{at.parent.name} at {at.name}", splits=_rows(at / "splits.parquet"), attrition=steps, **tables)


def _joint(tables: Path) -> Iterator[Shown]:
    """Yield the same from the joint tables of a study."""
    read = {name: _rows(tables / f"{name}.parquet") for name in ("sites", "splits", "attrition", "arms", "subgroups")}
    read["training_budget"] = _rows(tables / "training_budget.parquet")
    for task, site in sorted({(row["task"], row["site"]) for row in read["attrition"]}):

        def of(name: str, task: str = task, site: str = site) -> Rows:
            return [row for row in read[name] if row["task"] == task and row.get("site", row.get("target")) == site]

        long = [
            {**arm, "split": "test", "metric": metric, "estimate": arm[metric], "threshold": None, "alert_rate": None}
            for arm in of("arms")
            for metric in ("auroc", "brier", "scaled_brier")
        ]
        where = f"{task} at {site}"
        yield Shown(where, of("sites"), of("splits"), of("attrition"), long, [], of("subgroups"), of("training_budget"))


def _rows(path: Path) -> Rows:
    rows: Rows = pq.read_table(path).to_pylist() if path.is_file() else []
    return rows


def audit_shown(shown: Shown, min_cell_count: int) -> list[Finding]:
    """Return the small counts that are determined by what is shown of one task at one site."""
    system, told = _system(shown)
    findings = []
    for what, value in system.determined(_targets(shown, system)):
        if is_small(value, min_cell_count):
            findings.append(Finding(shown.where, what, value))
    for key, value in told.items():
        if is_small(value, min_cell_count):
            findings.append(Finding(shown.where, " ".join(map(str, key)), value))
    for split in SPLITS:
        possible = _possible(shown, told, split)
        # estimates do not say which of the two classes is the rarer one, which is no secret
        if possible is not None and len({min(k, told["split", split, "rows"] - k) for k in possible.tolist()}) == 1:
            rarer = int(possible.min())
            if is_small(rarer, min_cell_count):
                findings.append(Finding(shown.where, f"split {split}: rows of the rarer class", rarer))
    return findings


def _possible(shown: Shown, told: Mapping[Key, int], split: str) -> NDArray[np.int64] | None:
    """Return the numbers of events that a split can have by its estimates; None where they are shown or say nothing."""
    rows = told.get(("split", split, "rows"))
    if not rows or ("split", split, "events") in told:
        return None
    return possible_events(rows, shown.metrics, shown.seeds, split)


def _system(shown: Shown) -> tuple[System, dict[Key, int]]:
    """Return the unknown counts with what binds them, and those that are shown."""
    told = dict(_told(shown))
    system = System(most=10 * max([100, *told.values()]))
    parts = [("split", name) for name in SPLITS]
    steps = [("step", number) for number in range(len(shown.attrition))]
    groups = {_group(row)[1:] for row in shown.subgroups}
    of_dimension: dict[str, list[tuple[str, str, str]]] = {}
    for dimension, group in sorted(groups, key=str):
        of_dimension.setdefault(dimension, []).append(("group", dimension, group))
    for part in [*parts, *steps, *(part for parts_of in of_dimension.values() for part in parts_of)]:
        _bind_part(system, part)
    for earlier, later in pairwise(steps):
        for count in _COUNTS:
            system.add({(*earlier, count): 1, (*later, count): -1}, low=0)
        _falls(system, earlier, later)
    if steps:
        _adds_up(system, steps[-1], parts)
    for of_test in of_dimension.values():
        _adds_up(system, ("split", "test"), of_test)
    for key, value in told.items():
        system.fix(key, value)
    for split in SPLITS:
        possible = _possible(shown, told, split)
        if possible is not None and len(possible):
            system.bound(("split", split, "events"), int(possible.min()), int(possible.max()))
    return system, told


def _bind_part(system: System, part: tuple[Any, ...]) -> None:
    """Bind the counts of one part: every row is an event or not, and somebody's."""
    persons, rows, events, with_event, without = ((*part, count) for count in _COUNTS)
    system.add({rows: 1, persons: -1}, low=0)
    system.add({rows: 1, events: -1, without: -1}, low=0)
    for of_class in (with_event, without):
        system.add({persons: 1, of_class: -1}, low=0)
    system.add({events: 1, with_event: -1}, low=0)
    system.add({with_event: 1, without: 1, persons: -1}, low=0)
    # no person is without a row, and no row without a person
    system.add({with_event: system.most, events: -1}, low=0)
    system.add({without: system.most, rows: -1, events: 1}, low=0)


def _falls(system: System, earlier: tuple[Any, ...], later: tuple[Any, ...]) -> None:
    """What a step takes away are rows with and without the event; each person who goes takes a row along."""
    gone = {(*earlier, "rows"): 1, (*later, "rows"): -1}
    system.add({**gone, (*earlier, "events"): -1, (*later, "events"): 1}, low=0)
    system.add({**gone, (*earlier, "persons"): -1, (*later, "persons"): 1}, low=0)


def _adds_up(system: System, whole: tuple[Any, ...], parts: Sequence[tuple[Any, ...]]) -> None:
    for count in ("rows", "events"):
        system.add({(*whole, count): 1} | {(*part, count): -1 for part in parts}, low=0, high=0)
    for count in ("persons", "with_event", "without_event"):
        system.add({(*whole, count): -1} | {(*part, count): 1 for part in parts}, low=0)
        for part in parts:
            system.add({(*whole, count): 1, (*part, count): -1}, low=0)


def _told(shown: Shown) -> Iterator[tuple[Key, int]]:
    for table in (shown.site, shown.splits, shown.metrics):
        for row in table:
            if row["split"] in SPLITS:
                yield from _of_row(row, ("split", row["split"]), _COUNTS)
    for row in shown.training_budget:
        if row["source"] == row["target"]:
            named = {"rows": row["train_rows"], "events": row["train_events"]}
            yield from _of_row(named, ("split", "train"), ("rows", "events"))
    for number, row in enumerate(shown.attrition):
        yield from _of_row(row, ("step", number), ("persons", "rows", "events"))
    for row in shown.subgroups:
        yield from _of_row(row, _group(row), ("rows", "events"))


def _group(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return what a subgroup is known by; groups of events that a source has never seen are another's elsewhere."""
    dimension = row["dimension"]
    return "group", f"{dimension} of {row['source']}" if dimension == "unseen" else dimension, str(row["group"])


def _of_row(row: Mapping[str, Any], part: tuple[Any, ...], counts: Iterable[str]) -> Iterator[tuple[Key, int]]:
    for count in counts:
        value = row.get(_TOLD_AS.get(count, count))
        if value is not None:
            yield (*part, count), int(value)


def _targets(shown: Shown, system: System) -> Iterator[tuple[str, dict[Key, float]]]:
    """Yield what may be hidden: each count, each difference that counts rows or persons, each step's losses."""
    parts = sorted({key[:-1] for key in system.keys}, key=str)
    for part in parts:
        name = " ".join(map(str, part))
        persons, rows, events, with_event, without = ((*part, count) for count in _COUNTS)
        for count in _COUNTS:
            yield f"{name}: {count}", {(*part, count): 1}
        yield f"{name}: rows without the event", {rows: 1, events: -1}
        yield f"{name}: rows beyond one per person", {rows: 1, persons: -1}
        yield f"{name}: events beyond one per person", {events: 1, with_event: -1}
        yield f"{name}: persons without any event", {persons: 1, with_event: -1}
        yield f"{name}: persons with nothing but events", {persons: 1, without: -1}
    for earlier, later in combinations(range(len(shown.attrition)), 2):
        for count in _COUNTS[:3]:
            change: dict[Key, float] = {("step", earlier, count): 1, ("step", later, count): -1}
            yield f"steps {earlier} to {later}: {count}", change
        of_rows = {("step", earlier, "rows"): 1.0, ("step", later, "rows"): -1.0}
        of_events = {("step", earlier, "events"): -1.0, ("step", later, "events"): 1.0}
        yield f"steps {earlier} to {later}: rows without the event", of_rows | of_events


def possible_events(rows: int, metrics: Rows, seeds: Rows, split: str) -> NDArray[np.int64] | None:
    """Return the numbers of events among ``rows`` with which all estimates of a split are possible; None: all are."""
    events = np.arange(1, rows)
    tests: list[Callable[[NDArray[np.int64]], NDArray[np.bool_]]] = []
    by_arm: dict[tuple[Any, ...], dict[str, float]] = {}
    for at, row in [*((1, row) for row in metrics), *((0, row) for row in seeds)]:
        if row["split"] != split or row["estimate"] is None or row.get("threshold") or row.get("alert_rate"):
            continue
        arm = tuple(row[name] for name in ("embedding", "learner", "strategy", "source"))
        by_arm.setdefault((at, row.get("seed"), *arm), {})[row["metric"]] = row["estimate"]
        if row["metric"] == "auroc":
            of = int(row.get("seeds") or 1) if at else 1
            tests.append(partial(_is_fraction, row["estimate"], of, rows))
    for values in by_arm.values():
        if {"brier", "scaled_brier"} <= values.keys():
            tests.append(partial(_is_prevalence, values["brier"], values["scaled_brier"], rows))
    if not tests:
        return None
    return events[np.all([test(events) for test in tests], axis=0)]


def _half_unit(value: float) -> float:
    """Half a unit of the last decimal that is shown; of a number in full, what floating point loses."""
    decimals = len(f"{value!r}".partition(".")[2])
    return 0.5 * 10.0**-decimals if decimals < 9 and "e" not in f"{value!r}" else 1e-11


def _is_fraction(auroc: float, seeds: int, rows: int, events: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say with which numbers of events a mean of so many AUROCs can be what it is; ties count half."""
    whole = 2 * seeds * events * (rows - events)
    return np.asarray(np.abs(np.round(auroc * whole) / whole - auroc) <= _half_unit(auroc) * (1 + 1e-9))


def _is_prevalence(brier: float, scaled: float, rows: int, events: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say with which numbers of events 1 - Brier / (prevalence x (1 - prevalence)) can be the scaled Brier score."""
    variance = events / rows * (1 - events / rows)
    spread = variance * (1 - scaled) - brier
    return np.asarray(np.abs(spread) <= _half_unit(brier) + _half_unit(scaled) * variance + 1e-12)
