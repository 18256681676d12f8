"""The rows of the tables, from what was measured of every arm at one target."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.disclosure.suppress import both_classes_at_least
from conceptbridge.evaluate.bootstrap import limits, random
from conceptbridge.evaluate.break_even import Curve, break_even
from conceptbridge.evaluate.comparisons import LOCAL, Choice, compare, pairs
from conceptbridge.evaluate.delong import variance
from conceptbridge.evaluate.measure import Arm, ArmEvaluator, ArmResult, Settings, mean_of
from conceptbridge.evaluate.metrics import METRICS
from conceptbridge.evaluate.predictions import SPLITS, Rows


def counts_of(label: NDArray[np.int8], least: int) -> tuple[int | None, int | None]:
    """Return rows and events, null where they, or the rows without the event, are fewer than allowed."""
    rows, events = len(label), int(label.sum())
    return rows if rows >= least else None, events if rows >= least and both_classes_at_least(
        events, rows, least
    ) else None


def metrics(
    results: Mapping[Arm, ArmResult],
    task: str,
    target: str,
    settings: Settings,
    counts: Mapping[str, tuple[int | None, int | None]],
) -> Iterator[tuple[Any, ...]]:
    columns = settings.columns
    for arm, result in results.items():
        seeds = len(result.seeds)
        for split in SPLITS:
            key, of_split = (task, *arm, target, split), columns[: None if split == "test" else len(METRICS)]
            if result.reason[split]:
                for column in of_split:
                    yield *key, *column, None, None, None, None, None, seeds, *counts[split], result.reason[split]
                continue
            spread = result.by_seed[split].std(axis=0, ddof=1) if seeds > 1 else [None] * len(columns)
            means = result.mean(split)
            for place, column in enumerate(of_split):
                bounds: tuple[Any, ...] = (None, None, None)
                if split == "test":
                    method = settings.method(place) if np.isfinite(result.lower[place]) else None
                    bounds = (result.lower[place], result.upper[place], method)
                why = result.column_reason[place] if split == "test" else None
                yield *key, *column, means[place], *bounds, spread[place], seeds, *counts[split], why


def seeds(results: Mapping[Arm, ArmResult], task: str, target: str, settings: Settings) -> Iterator[tuple[Any, ...]]:
    columns = settings.columns
    for arm, result in results.items():
        for split in SPLITS:
            if result.reason[split] is None:
                values = result.by_seed[split]
                for place, column in enumerate(columns[: None if split == "test" else len(METRICS)]):
                    for seed, value in zip(result.seeds, values[:, place], strict=True):
                        yield task, *arm, target, split, *column, seed, value


def comparisons(
    results: Mapping[Arm, ArmResult],
    task: str,
    target: str,
    controls: Sequence[str],
    choice: Choice,
    bench: ArmEvaluator,
    counts: tuple[int | None, int | None],
) -> Iterator[tuple[Any, ...]]:
    for pair, differences in compare(results, list(pairs(results, target, controls, choice)), bench.clusters):
        arms = (*pair.arm, *(pair.reference or [None] * len(pair.arm)))
        for found in differences:
            yield (task, target, pair.question, found.metric, *arms, *found[1:-1], *counts, found.reason)


def effects(
    results: Mapping[Arm, ArmResult], task: str, target: str, choice: Choice, bench: ArmEvaluator
) -> Iterator[tuple[Any, ...]]:
    """Average each (embedding, learner, strategy) over its estimable sources, and compare with the reference."""
    grouped: dict[tuple[str, str, str], list[ArmResult]] = {}
    for arm, result in results.items():
        grouped.setdefault((arm.embedding, arm.learner, arm.strategy), []).append(result)
    reference = None if choice.reference is None else results[choice.reference]
    for key, of_key in grouped.items():
        there = [one for one in of_key if one.components is not None]
        if not there:
            yield task, *key, target, 0, None, None, None, None
            continue
        mean = mean_of([one.components for one in there if one.components is not None])
        seed = sum(float(one.seed_variance()[0]) for one in there) / len(there) ** 2
        spread = float(variance(mean.events, mean.non_events, bench.clusters)) + seed
        difference: tuple[float | None, float | None] = (None, None)
        if reference is not None and reference.components is not None and there != [reference]:
            theirs = reference.components
            paired = variance(mean.events - theirs.events, mean.non_events - theirs.non_events, bench.clusters)
            shared = 0.0 if reference in there else float(reference.seed_variance()[0])
            difference = mean.auroc - theirs.auroc, float(paired) + seed + shared
        yield task, *key, target, len(there), mean.auroc, spread, *difference


def curves(results: Mapping[Arm, ArmResult], task: str, target: str, seed: int) -> Iterator[tuple[Any, ...]]:
    for arm, result in results.items():
        if result.sizes is not None:
            curve = result.sizes
            generator = random(seed, task, target, *arm, "sizes")
            lower, upper = limits(curve.redrawn(generator))
            for place, size in enumerate(curve.size):
                found = curve.by_replicate[place][~np.isnan(curve.by_replicate[place])]
                sd = found.std(ddof=1) if len(found) > 1 else None
                number = (curve.estimate[place], lower[place], upper[place], sd, len(found))
                yield task, *arm, target, int(size), None, "test", *number
        for point in result.depths:
            number = (point.estimate, point.lower, point.upper, point.seed_sd, point.seeds)
            yield task, *arm, target, None, point.depth, point.split, *number


def break_evens(
    results: Mapping[Arm, ArmResult],
    task: str,
    target: str,
    choice: Choice,
    bench: ArmEvaluator,
    rows: Rows,
    seed: int,
) -> Iterator[tuple[Any, ...]]:
    """Compare every borrowed arm with the local ones of its embedding and learner, and of the reference."""
    events = int(rows.of("train").label.sum())
    curves = {arm: _whole(result, events, bench) for arm, result in results.items() if result.sizes is not None}
    for arm, result in results.items():
        if arm.source == target or result.components is None:
            continue
        locals_ = dict.fromkeys([arm._replace(strategy=LOCAL, source=target), choice.reference])
        for local in locals_:
            if local is None or local.source != target or local not in curves:
                continue
            auroc = result.components.auroc
            constant = (auroc, auroc + bench.moved(result.components).astype(np.float64))
            curve, borrowed = curves[local], curves.get(arm)
            if borrowed is not None and not np.isin(curve.size, borrowed.size).any():
                continue
            found = break_even(curve, borrowed, constant, random(seed, task, target, *arm, *local))
            size = curve.size if borrowed is None else np.intersect1d(curve.size, borrowed.size)
            yield (
                task,
                *arm,
                target,
                local.embedding,
                local.learner,
                *found[:3],
                int(size[0]),
                int(size[-1]),
                found.reached,
            )


def _whole(result: ArmResult, events: int, bench: ArmEvaluator) -> Curve:
    """Return a learning curve with all training rows as its last size."""
    curve = result.sizes
    assert curve is not None
    if result.components is None or events <= curve.size[-1] or events < bench.settings.min_cell_count:
        return curve
    replicates = curve.by_replicate.shape[1]
    last = np.full((1, replicates), np.nan)
    moved = np.full((1, replicates, curve.resampled.shape[2]), np.nan, np.float32)
    last[0, 0], moved[0, 0] = result.components.auroc, bench.moved(result.components)
    return Curve(
        np.r_[curve.size, events],
        np.concatenate([curve.by_replicate, last]),
        np.concatenate([curve.resampled, moved]),
    )


def spent(result: ArmResult, least: int) -> tuple[Any, ...]:
    about, used = result.about, result.about.get("spent") or {}

    def shown(name: str) -> int | None:
        count = about.get(name)
        return count if count is not None and (count == 0 or count >= least) else None

    rows, events = about.get("train_rows"), about.get("train_events")
    hidden = rows is not None and events is not None and not both_classes_at_least(events, rows, least)
    kept = ", ".join(map(str, used["kept"])) if "kept" in used else None
    chosen = json.dumps(used["chosen"], sort_keys=True) if "chosen" in used else None
    trained = (shown("train_rows"), None if hidden else shown("train_events"))
    return (*trained, used.get("trials"), used.get("steps"), kept, chosen, result.about["reason"])
