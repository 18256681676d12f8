"""Evaluate every arm of one task at one target, on the same rows and the same resamples."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conceptbridge.errors import StudyError
from conceptbridge.evaluate.bootstrap import Resamples, draw, limits
from conceptbridge.evaluate.metrics import METRICS, measure
from conceptbridge.evaluate.predictions import SPLITS, Predictions, Rows, read_arm, read_cohort

logger = logging.getLogger(__name__)

LOCAL = "local"
NO_LIMITS = "no limits: more than 5 % of the resamples hold a single class"

_ARM = [
    ("embedding", pa.string()),
    ("learner", pa.string()),
    ("strategy", pa.string()),
    ("source", pa.string()),
]
_CELL = [
    ("task", pa.string()),
    *_ARM,
    ("target", pa.string()),
    ("split", pa.string()),
    ("metric", pa.string()),
]
_LIMITS = [("lower", pa.float64()), ("upper", pa.float64())]
_COUNTS = [("rows", pa.int64()), ("events", pa.int64())]

METRICS_SCHEMA = pa.schema(
    [
        *_CELL,
        ("estimate", pa.float64()),
        *_LIMITS,
        ("seed_sd", pa.float64()),
        ("seeds", pa.int32()),
        *_COUNTS,
        ("reason", pa.string()),
    ]
)
SEEDS_SCHEMA = pa.schema([*_CELL, ("seed", pa.int32()), ("estimate", pa.float64())])
COMPARISONS_SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("target", pa.string()),
        ("question", pa.string()),
        ("metric", pa.string()),
        *_ARM,
        *((f"ref_{name}", kind) for name, kind in _ARM),
        ("difference", pa.float64()),
        *_LIMITS,
        *_COUNTS,
        ("reason", pa.string()),
    ]
)
SITE_SCHEMA = pa.schema(
    [("task", pa.string()), ("site", pa.string()), ("split", pa.string()), ("persons", pa.int64()), *_COUNTS]
)


class Arm(NamedTuple):
    """What is compared: one way of making a model (at a task and target that the context gives)."""

    embedding: str
    learner: str
    strategy: str
    source: str


class Evaluation(NamedTuple):
    """The tables of one task at one target; :func:`evaluate` says what is in them."""

    metrics: pa.Table
    seeds: pa.Table
    comparisons: pa.Table
    site: pa.Table


class _Result(NamedTuple):
    """One arm's metrics at the target; all NaN in a split that has a ``reason``."""

    seeds: list[int]
    by_seed: dict[str, NDArray[np.float64]]  # split -> (seeds, metrics)
    replicates: NDArray[np.float64]  # (metrics, replicates): the mean over seeds on resampled test rows
    reason: dict[str, str | None]  # split -> why nothing is estimated

    def mean(self, split: str) -> NDArray[np.float64]:
        """Return the estimates (metrics,): all seeds count, never the best one."""
        means: NDArray[np.float64] = self.by_seed[split].mean(axis=0)
        return means


def evaluate(
    arms: Path,
    task: str,
    target: str,
    embeddings: Mapping[str, str],
    learners: Sequence[str],
    strategies: Sequence[str],
    cohort: Path,
    controls: Sequence[str],
    replicates: int,
    seed: int,
    min_cell_count: int,
) -> Evaluation:
    """Evaluate all arms of ``task`` at ``target``: estimates, their limits and paired differences.

    ``arms`` is the task's folder of arms (``{embedding_id}/{learner}/{strategy}/{target}/``), ``embeddings``
    maps names to ids, ``controls`` are the names among them that carry no meaning, ``cohort`` is the target's
    cohort file. Arms come in the order of the arguments, sources in alphabetical order.

    - ``metrics``: one row for every (arm, split, metric). The estimate is the mean over all seeds,
      ``seed_sd`` their standard deviation (null with one seed). Test rows have 95 % limits: percentiles of
      the mean over seeds in ``replicates`` resamples of persons, the same resamples for every arm.
      Validation rows have none: they are what a choice is made on.
    - ``seeds``: the estimate of every seed.
    - ``comparisons``: differences on the same test rows and resamples, first arm minus ``ref_`` arm. For
      AUROC and AUPRC a positive difference is better, **for Brier a negative one**. ``question`` is
      *recommendation* (the arm of the highest validation AUROC among those without a control embedding,
      minus the local arm of the highest validation AUROC among all), *meaning* (each embedding minus each
      control, all else equal) or *borrowing* (each borrowed strategy minus local, same embedding and
      learner).
    - ``site``: persons, rows and events of the target's cohort by split.

    ``reason`` says why there is no estimate, or no limits. Counts below ``min_cell_count``, of persons, rows,
    events or rows without the event, are null.

    Raises StudyError when an arm's folder is missing or incomplete, or its predictions are not exactly
    those of the cohort's validation and test rows.
    """
    if unknown := sorted(set(controls) - set(embeddings)):
        raise StudyError(f"controls {unknown} are not among the embeddings {list(embeddings)}; name only those")
    rows = read_cohort(cohort)
    predicted = rows.of(*SPLITS)
    test = rows.of("test")
    resamples = draw(test.person_id, replicates, seed, task, target)

    results: dict[Arm, _Result] = {}
    folders = list(product(embeddings, learners, strategies))
    for number, (embedding, learner, strategy) in enumerate(folders, 1):
        for predictions in read_arm(arms / embeddings[embedding] / learner / strategy / target, predicted):
            arm = Arm(embedding, learner, strategy, predictions.source)
            results[arm] = _evaluate_arm(predictions, predicted, resamples)
        if number % 50 == 0 or number == len(folders):
            logger.info("%s at %s: %d of %d arms evaluated", task, target, number, len(folders))
    _check_sources(results, arms)

    counts = {split: _counts(rows.of(split).label, min_cell_count) for split in SPLITS}
    return Evaluation(
        metrics=_metrics_table(results, task, target, counts),
        seeds=_seeds_table(results, task, target),
        comparisons=_comparisons_table(results, task, target, controls, counts["test"]),
        site=_site_table(rows, task, target, min_cell_count),
    )


def _evaluate_arm(predictions: Predictions, predicted: Rows, resamples: Resamples) -> _Result:
    by_seed, reason = {}, {}
    replicates = np.full((len(METRICS), resamples.weight.shape[1]), np.nan)
    for split in SPLITS:
        inside = predicted.split == split
        label, probability = predicted.label[inside], predictions.probability[:, inside]
        reason[split] = predictions.reason or _flaw(label, split)
        by_seed[split] = np.full((len(predictions.seeds), len(METRICS)), np.nan)
        if reason[split] is None:
            ones = np.ones((len(label), 1))
            by_seed[split] = np.stack([measure(label, of_seed, ones)[:, 0] for of_seed in probability])
            if split == "test":
                replicates = np.mean([measure(label, of_seed, *resamples) for of_seed in probability], axis=0)
    return _Result(predictions.seeds, by_seed, replicates, reason)


def _flaw(label: NDArray[np.int8], split: str) -> str | None:
    """Say why no model can be estimated on these labels."""
    if not len(label):
        return f"no {split} rows"
    if not label.any():
        return f"no events among the {split} rows"
    return f"only events among the {split} rows" if label.all() else None


def _check_sources(results: Mapping[Arm, _Result], arms: Path) -> None:
    """Refuse arms of one strategy that were made for different sites: a folder is left from another study."""
    sources: dict[tuple[str, str, str], list[str]] = {}
    for arm in results:
        sources.setdefault((arm.embedding, arm.learner, arm.strategy), []).append(arm.source)
    expected: dict[str, list[str]] = {}
    for (embedding, learner, strategy), found in sources.items():
        if found != expected.setdefault(strategy, found):
            raise StudyError(
                f"{arms}: {embedding}, {learner}, {strategy} has the sources {found}, other arms of this "
                f"strategy have {expected[strategy]}; run the older ones again"
            )


def _counts(label: NDArray[np.int8], min_cell_count: int) -> tuple[int | None, int | None]:
    """Return rows and events, null where they, or the rows without the event, are fewer than allowed."""
    rows, events = len(label), int(label.sum())
    return (
        rows if rows >= min_cell_count else None,
        events if min(events, rows - events) >= min_cell_count else None,
    )


def _metrics_table(
    results: Mapping[Arm, _Result],
    task: str,
    target: str,
    counts: Mapping[str, tuple[int | None, int | None]],
) -> pa.Table:
    rows: list[tuple[Any, ...]] = []
    for arm, result in results.items():
        seeds = len(result.seeds)
        for split in SPLITS:
            key, reason = (task, *arm, target, split), result.reason[split]
            if reason:
                rows += [(*key, metric, None, None, None, None, seeds, *counts[split], reason) for metric in METRICS]
                continue
            spread = result.by_seed[split].std(axis=0, ddof=1) if seeds > 1 else [None] * len(METRICS)
            bounds = zip(*limits(result.replicates), strict=True) if split == "test" else [(None, None)] * len(METRICS)
            for metric, mean, sd, bound in zip(METRICS, result.mean(split), spread, bounds, strict=True):
                rows.append((*key, metric, mean, *bound, sd, seeds, *counts[split], _no_limits(bound)))
    return _table(rows, METRICS_SCHEMA)


def _seeds_table(results: Mapping[Arm, _Result], task: str, target: str) -> pa.Table:
    rows = [
        (task, *arm, target, split, metric, seed, estimate)
        for arm, result in results.items()
        for split in SPLITS
        if result.reason[split] is None
        for metric, estimates in zip(METRICS, result.by_seed[split].T, strict=True)
        for seed, estimate in zip(result.seeds, estimates, strict=True)
    ]
    return _table(rows, SEEDS_SCHEMA)


def _comparisons_table(
    results: Mapping[Arm, _Result],
    task: str,
    target: str,
    controls: Sequence[str],
    counts: tuple[int | None, int | None],
) -> pa.Table:
    rows: list[tuple[Any, ...]] = []
    for question, arm, reference, flaw in _pairs(results, target, controls):
        key, pair = (task, target, question), (*arm, *(reference or [None] * len(arm)))
        ours, theirs = results[arm], results[reference or arm]
        reason = flaw or ours.reason["test"] or theirs.reason["test"]
        if reason:
            rows += [(*key, metric, *pair, None, None, None, *counts, reason) for metric in METRICS]
            continue
        differences = ours.mean("test") - theirs.mean("test")
        bounds = zip(*limits(ours.replicates - theirs.replicates), strict=True)
        for metric, difference, bound in zip(METRICS, differences, bounds, strict=True):
            rows.append((*key, metric, *pair, difference, *bound, *counts, _no_limits(bound)))
    return _table(rows, COMPARISONS_SCHEMA)


def _pairs(
    results: Mapping[Arm, _Result], target: str, controls: Sequence[str]
) -> Iterator[tuple[str, Arm, Arm | None, str | None]]:
    """Yield (question, arm, reference arm, why they cannot be compared) in the order of the table."""
    recommended = _best(results, [arm for arm in results if arm.embedding not in controls])
    local = _best(results, [arm for arm in results if arm.strategy == LOCAL])
    if recommended is not None:
        flaw = "no local arm is estimable on validation rows" if local is None else None
        flaw = "the recommended arm is the best local arm" if recommended == local else flaw
        yield "recommendation", recommended, local, flaw
    for arm in results:
        if arm.embedding not in controls:
            for control in controls:
                yield "meaning", arm, arm._replace(embedding=control), None
    for arm in results:
        reference = arm._replace(strategy=LOCAL, source=target)
        if arm.strategy != LOCAL and reference in results:
            yield "borrowing", arm, reference, None


def _best(results: Mapping[Arm, _Result], among: Sequence[Arm]) -> Arm | None:
    """Return the arm of the highest validation AUROC; the first of equals, none where none is estimable."""
    place = METRICS.index("auroc")
    estimable = [arm for arm in among if results[arm].reason["validation"] is None]
    return max(estimable, key=lambda arm: float(results[arm].mean("validation")[place]), default=None)


def _site_table(rows: Rows, task: str, target: str, min_cell_count: int) -> pa.Table:
    table = []
    for split in ("train", *SPLITS):
        of_split = rows.of(split)
        persons = len(np.unique(of_split.person_id))
        counts = _counts(of_split.label, min_cell_count)
        table.append((task, target, split, persons if persons >= min_cell_count else None, *counts))
    return _table(table, SITE_SCHEMA)


def _no_limits(bound: tuple[float | None, float | None]) -> str | None:
    return NO_LIMITS if bound[0] is not None and np.isnan(bound[0]) else None


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [
        pa.array(column, type=field.type, from_pandas=True)  # NaN is null
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
