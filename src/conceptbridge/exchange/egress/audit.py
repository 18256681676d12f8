"""Audit what a site has shown: is a count that is hidden determined by those that are shown?

For each site and task the counts of the cohort (by inclusion step, split and subgroup) are unknown whole numbers. What
the tables show fixes some; that splits and groups add up to the cohort, that steps fall, and that persons are at most
rows, binds the others. Estimates add to that: both Brier scores give the prevalence, and an AUROC is a fraction of the
pairs of rows. An integer program then asks for each hidden count and each difference of two whether it can have more
than one value. Those that cannot, and are small, are findings. No finding is no proof: only these tables are read.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import is_small
from conceptbridge.exchange.egress.integer_program import Key, System
from conceptbridge.exchange.egress.shown_counts import Rows, Shown, nested_tasks, read_shown
from conceptbridge.exchange.package import read_package

SPLITS = ("train", "validation", "test")
_COUNTS = ("persons", "rows", "events", "with_event", "without_event")
#: the part that all persons of the site are
_ALL = ("site", "all")
#: the name of a count in a table, where it is another one
_TOLD_AS = {"with_event": "persons_with_event"}


class Finding(NamedTuple):
    """A small count that is determined: where, and which; its ``value`` is for tests and belongs in no message."""

    where: str
    what: str
    value: int


def audit(folder: Path, min_cell_count: int, study: Mapping[str, Any] | None = None) -> list[Finding]:
    """Return the small counts that what lies in ``folder`` determines, site by site, all tasks together.

    ``folder`` is a results file, packed or unpacked, or the results of a study, whose ``tables`` are looked at;
    ``study`` is what a packed one says of its study. Raises StudyError if it is neither.
    """
    if folder.is_file():
        with tempfile.TemporaryDirectory() as temporary:
            about = read_package(folder, "results", Path(temporary) / "files")
            return audit(Path(temporary) / "files", min_cell_count, about["study"])
    return audit_together(read_shown(folder, study), min_cell_count, (study or {}).get("tasks", {}))


def check_audit(folder: Path, min_cell_count: int, study: Mapping[str, Any]) -> None:
    """Raise StudyError where the files of a results file that is about to be sent determine a small count."""
    found = audit(folder, min_cell_count, study)
    if found:
        raise StudyError(
            f"{found[0].where}: {found[0].what}: a count under min_cell_count can be worked out from what would be "
            "sent; leave this task (or one of two tasks that are named) out of the study, and run `aggregates` again"
        )


def audit_together(
    shown: Sequence[Shown], min_cell_count: int, definitions: Mapping[str, Mapping[str, Any]]
) -> list[Finding]:
    """Return the findings of each task and site, and of tasks of one site whose events are nested."""
    findings = [found for one in shown for found in audit_shown(one, min_cell_count)]
    by_place = {(one.task, one.at): one for one in shown}
    for narrow, wide in nested_tasks(definitions):
        for site in sorted({one.at for one in shown}):
            if (narrow, site) in by_place and (wide, site) in by_place:
                findings += _audit_nested(by_place[narrow, site], by_place[wide, site], min_cell_count)
    return findings


def _audit_nested(narrow: Shown, wide: Shown, min_cell_count: int) -> list[Finding]:
    """Find small counts of rows or persons that have the event of the wide task and not that of the narrow one.

    Where the tables say nothing else, both tasks have the same rows.
    """
    told = {shown.task: dict(_told(shown)) for shown in (narrow, wide)}
    system = _new_system(told[narrow.task] | told[wide.task])
    for shown in (narrow, wide):
        _bind(system, shown, told[shown.task], (shown.task,))
    parts: list[tuple[Any, ...]] = [("split", name) for name in SPLITS]
    parts += [("step", number) for number in range(min(len(narrow.attrition), len(wide.attrition)))]
    targets = []
    for part in parts:
        rows = [told[shown.task].get((*part, "rows")) for shown in (narrow, wide)]
        if None not in rows and rows[0] != rows[1]:
            continue
        for count in _COUNTS:
            difference = {(wide.task, *part, count): 1.0, (narrow.task, *part, count): -1.0}
            if count in ("persons", "rows"):
                system.add(difference, low=0, high=0)
            else:  # persons without the event: fewer in the wide task
                sign = -1 if count == "without_event" else 1
                more = {key: sign * factor for key, factor in difference.items()}
                system.add(more, low=0)
                targets.append((f"{' '.join(map(str, part))}: {count} of {wide.task}, not of {narrow.task}", more))
    where = f"{narrow.task} and {wide.task} at {narrow.at}"
    return [Finding(where, what, n) for what, n in system.determined(targets) if is_small(n, min_cell_count)]


def audit_shown(shown: Shown, min_cell_count: int) -> list[Finding]:
    """Return the small counts that are determined by what is shown of one task at one site."""
    told = dict(_told(shown))
    system = _new_system(told)
    _bind(system, shown, told)
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


def _new_system(told: Mapping[Key, int]) -> System:
    return System(most=10 * max([100, *told.values()]))


def _bind(system: System, shown: Shown, told: Mapping[Key, int], at: tuple[Any, ...] = ()) -> None:
    """Bind the unknown counts of a task at a site, whose keys begin with ``at``, by what is shown."""
    parts: list[tuple[Any, ...]] = [(*at, "split", name) for name in SPLITS]
    steps: list[tuple[Any, ...]] = [(*at, "step", number) for number in range(len(shown.attrition))]
    groups = {_group(row)[1:] for row in shown.subgroups}
    of_dimension: dict[str, list[tuple[Any, ...]]] = {}
    for dimension, group in sorted(groups, key=str):
        of_dimension.setdefault(dimension, []).append((*at, "group", dimension, group))
    for part in [*parts, *steps, *(part for parts_of in of_dimension.values() for part in parts_of)]:
        _bind_part(system, part)
    for earlier, later in pairwise(steps):
        for count in _COUNTS:
            system.add({(*earlier, count): 1, (*later, count): -1}, low=0)
        _falls(system, earlier, later)
    if steps:
        _adds_up(system, steps[-1], parts)
    for of_test in of_dimension.values():
        _adds_up(system, (*at, "split", "test"), of_test)
    if shown.persons is not None and steps:
        system.add({(*at, *_ALL, "persons"): 1, (*steps[0], "persons"): -1}, low=0)
    for key, value in told.items():
        system.fix((*at, *key), value)
    for split in SPLITS:
        possible = _possible(shown, told, split)
        if possible is not None and len(possible):
            system.bound((*at, "split", split, "events"), int(possible.min()), int(possible.max()))
    reached = sorted({row["size"] for row in shown.curves if row["size"] is not None})
    if reached:  # a point of a learning curve is there where the training rows have as many events
        beyond = [size for size in shown.sizes or [] if size > reached[-1]]
        system.bound((*at, "split", "train", "events"), reached[-1], min(beyond, default=system.most + 1) - 1)


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
    if shown.persons is not None:
        yield (*_ALL, "persons"), shown.persons
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
    parts = sorted({key[:-1] for key in system.keys} - {_ALL}, key=str)
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
    if shown.persons is not None and shown.attrition:
        yield "persons before step 0", {(*_ALL, "persons"): 1, ("step", 0, "persons"): -1}
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
