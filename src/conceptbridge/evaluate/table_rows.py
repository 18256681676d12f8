"""The rows of the tables, from what was measured of every arm at one target."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from conceptbridge.disclosure.cohort_counts import shown_parts
from conceptbridge.disclosure.suppress import both_classes_at_least, hide_small
from conceptbridge.evaluate.arm_result import ArmResult
from conceptbridge.evaluate.bootstrap import random
from conceptbridge.evaluate.break_even import Curve, break_even
from conceptbridge.evaluate.cohort_summary import ALL_SPLITS, split_counts
from conceptbridge.evaluate.comparisons import Choice, Controls, compare, pairs
from conceptbridge.evaluate.delong import mean_of, variance
from conceptbridge.evaluate.intervals import seed_sd
from conceptbridge.evaluate.measure import ArmEvaluator
from conceptbridge.evaluate.predictions import SPLITS, Rows
from conceptbridge.evaluate.schemas import Arm

Row = tuple[Any, ...]


class Measured(NamedTuple):
    """All arms of one task at one target: what was measured, and what validation rows chose.

    ``counts`` are rows and events by split, "train" included, None where they may not be shown; then no performance on
    that split is shown either. ``labelled_events`` counts the target's training and validation rows with the event,
    None where it may not be shown.
    """

    task: str
    target: str
    results: Mapping[Arm, ArmResult]
    evaluator: ArmEvaluator
    controls: Controls
    choice: Choice
    counts: Mapping[str, tuple[int | None, int | None]]
    labelled_events: int | None
    seed: int

    def why_not(self, split: str) -> str | None:
        """Say why no performance on a split is shown: a metric would tell how many have the event."""
        if self.counts[split][1] is not None:
            return None
        return f"not shown: fewer than {self.evaluator.settings.min_cell_count} persons with or without the event"

    def sizes_of(self, result: ArmResult) -> Curve | None:
        """Return an arm's learning curve where it may be shown: a size says how many training events there are."""
        return None if self.counts["train"][1] is None or self.why_not("test") else result.sizes


def counts_of(rows: Rows, min_cell_count: int) -> dict[str, tuple[int | None, int | None]]:
    """Return rows and events by split, None where they may not be shown."""
    counts = split_counts(rows)
    shown = shown_parts(counts, min_cell_count, total_known=False)
    return {
        name: (
            int(counts.rows[n]) if shown.rows[n] else None,
            int(counts.events[n]) if shown.events[n] else None,
        )
        for n, name in enumerate(ALL_SPLITS)
    }


def sum_of_events(counts: Mapping[str, tuple[int | None, int | None]]) -> int | None:
    """Return the events of training and validation rows, None where those of either may not be shown."""
    events = [counts[split][1] for split in ("train", "validation")]
    return None if None in events else sum(count for count in events if count is not None)


def metrics(at: Measured) -> Iterator[Row]:
    settings = at.evaluator.settings
    for arm, result in at.results.items():
        seeds = len(result.seeds)
        for split in SPLITS:
            key, columns, counts = (at.task, *arm, at.target, split), settings.columns_of(split), at.counts[split]
            if why := result.reason[split] or at.why_not(split):
                for column in columns:
                    yield *key, *column, None, None, None, None, None, seeds, *counts, why
                continue
            sd = result.by_seed[split].std(axis=0, ddof=1) if seeds > 1 else [None] * len(settings.columns)
            means, methods = result.mean(split), settings.methods
            for index, column in enumerate(columns):
                bounds: Row = (None, None, None)
                if split == "test":
                    method = methods[index] if np.isfinite(result.lower[index]) else None
                    bounds = (result.lower[index], result.upper[index], method)
                reason = result.column_reason[index] if split == "test" else None
                yield *key, *column, means[index], *bounds, sd[index], seeds, *counts, reason


def seeds(at: Measured) -> Iterator[Row]:
    for arm, result in at.results.items():
        for split in SPLITS:
            if result.reason[split] is None and at.why_not(split) is None:
                values = result.by_seed[split]
                for index, column in enumerate(at.evaluator.settings.columns_of(split)):
                    for seed, value in zip(result.seeds, values[:, index], strict=True):
                        yield at.task, *arm, at.target, split, *column, seed, value


def comparisons(at: Measured) -> Iterator[Row]:
    asked = list(pairs(at.results, at.target, at.controls, at.choice))
    none = [None] * len(Arm._fields)
    for pair, differences in compare(at.results, asked, at.controls, at.evaluator.clusters["test"]):
        arms = (*(pair.arm or none), *(pair.reference or none))
        for one in differences:
            yield (at.task, at.target, pair.question, one.metric, *arms, *one[1:-1], *at.counts["test"], one.reason)


def effects(at: Measured) -> Iterator[Row]:
    """Average each (embedding, learner, strategy) over its estimable sources, and compare with the reference."""
    clusters = at.evaluator.clusters["test"]
    grouped: dict[tuple[str, str, str], list[ArmResult]] = {}
    for arm, result in at.results.items():
        grouped.setdefault((arm.embedding, arm.learner, arm.strategy), []).append(result)
    reference = None if at.choice.reference is None else at.results[at.choice.reference]
    for key, results in grouped.items():
        estimable = [result for result in results if result.components is not None]
        if not estimable:
            yield at.task, *key, at.target, 0, None, None, None, None
            continue
        mean = mean_of([result.components for result in estimable if result.components is not None])
        seed = sum(float(result.seed_variance()[0]) for result in estimable) / len(estimable) ** 2
        total = float(variance(mean.events, mean.non_events, clusters)) + seed
        difference: tuple[float | None, float | None] = (None, None)
        if reference is not None and reference.components is not None and estimable != [reference]:
            other = reference.components
            paired = variance(mean.events - other.events, mean.non_events - other.non_events, clusters)
            shared = 0.0 if reference in estimable else float(reference.seed_variance()[0])
            difference = mean.auroc - other.auroc, float(paired) + seed + shared
        yield at.task, *key, at.target, len(estimable), mean.auroc, total, *difference


def subgroups(at: Measured) -> Iterator[Row]:
    for arm, result in at.results.items():
        for cell in result.groups:
            yield at.task, *arm, at.target, *cell


def curves(at: Measured) -> Iterator[Row]:
    for arm, result in at.results.items():
        key = (at.task, *arm, at.target)
        if (curve := at.sizes_of(result)) is not None:
            lower, upper = curve.limits(random(at.seed, at.task, at.target, *arm, "sizes"))
            for index, size in enumerate(curve.size):
                aurocs = curve.by_replicate[index][~np.isnan(curve.by_replicate[index])]
                bounds = (lower[index], upper[index])
                yield *key, int(size), None, "test", curve.estimate[index], *bounds, seed_sd(aurocs), len(aurocs)
        for point in result.depths:
            if at.why_not(point.split) is None:
                yield *key, None, point.depth, *point[1:]


def break_evens(at: Measured) -> Iterator[Row]:
    """Compare every transferred arm with the local arm of its embedding and learner, and with the reference."""
    curves = {
        arm: _with_all_rows(result, at.labelled_events, at.evaluator)
        for arm, result in at.results.items()
        if at.sizes_of(result) is not None
    }
    for arm, result in at.results.items():
        if arm.source == at.target or result.components is None:
            continue
        auroc = result.components.auroc
        constant = (auroc, auroc + at.evaluator.shifts(result.components).astype(np.float64))
        for local in dict.fromkeys([at.controls.local_of(arm, at.target), at.choice.reference]):
            if local is None or local.source != at.target or local not in curves:
                continue
            curve, transferred = curves[local], curves.get(arm)
            if transferred is not None and not np.isin(curve.size, transferred.size).any():
                continue
            crossing = break_even(curve, transferred, constant, random(at.seed, at.task, at.target, *arm, *local))
            size = curve.size if transferred is None else np.intersect1d(curve.size, transferred.size)
            local_key = (local.embedding, local.learner)
            yield at.task, *arm, at.target, *local_key, *crossing[:3], int(size[0]), int(size[-1]), crossing.status


def _with_all_rows(result: ArmResult, events: int | None, evaluator: ArmEvaluator) -> Curve:
    """Return a learning curve with all labelled rows as its last size.

    The arm itself has all training rows, and all validation rows to choose by. The other sizes pay for the rows that
    they choose by, so its events are those of both splits.
    """
    curve = result.sizes
    assert curve is not None
    if result.components is None or events is None or events <= curve.size[-1]:
        return curve
    replicates = curve.by_replicate.shape[1]
    last = np.full((1, replicates), np.nan)
    shifts = np.full((1, replicates, curve.shifts.shape[2]), np.nan, np.float32)
    last[0, 0], shifts[0, 0] = result.components.auroc, evaluator.shifts(result.components)
    return Curve(
        np.r_[curve.size, events],
        np.concatenate([curve.by_replicate, last]),
        np.concatenate([curve.shifts, shifts]),
    )


def training_budget(at: Measured) -> Iterator[Row]:
    """Say of each arm what it was given and what it used, from its arm.json."""
    min_cell_count = at.evaluator.settings.min_cell_count
    for arm, result in at.results.items():
        rows, events = (result.about.get(name) for name in ("train_rows", "train_events"))
        if rows is not None and events is not None and not both_classes_at_least(events, rows, min_cell_count):
            events = None
        if arm.source == at.target:  # what persons decide of the training split holds here too
            here = at.counts["train"]
            rows, events = (None if told is None else count for told, count in zip(here, (rows, events), strict=True))
        used = result.about.get("spent") or {}
        yield (
            *(at.task, *arm, at.target),
            *(hide_small(count, min_cell_count) for count in (rows, events)),
            used.get("trials"),
            used.get("steps"),
            ", ".join(map(str, used["kept"])) if "kept" in used else None,
            json.dumps(used["chosen"], sort_keys=True) if "chosen" in used else None,
            *(", ".join(used[name]) if name in used else None for name in ("extended", "at_edge")),
            result.about["reason"],
        )
