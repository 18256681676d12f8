"""Which arm is recommended, by validation rows alone, and paired differences between arms on the same test rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate.arm_result import ArmResult
from conceptbridge.evaluate.bootstrap import degrees, limits, p_value, widen
from conceptbridge.evaluate.delong import Clusters, variance
from conceptbridge.evaluate.intervals import NO_LIMITS
from conceptbridge.evaluate.metric_columns import DELONG, PERCENTILE
from conceptbridge.evaluate.metrics import METRICS
from conceptbridge.evaluate.schemas import (
    CHANCE,
    CONTROL,
    RECOMMENDATION,
    TRANSFER_GAIN,
    VS_BEST_LOCAL,
    VS_BEST_TRANSFERRED,
    VS_CONTROL,
    Arm,
)

LOCAL = "local"
"""The strategy that others are compared with. Any arm whose source is the target was trained there."""

_AUROC = METRICS.index("auroc")
_COMPARED = [METRICS.index(name) for name in ("auroc", "auprc", "brier")]
_BLOCK = 512


class Reference(NamedTuple):
    """The arms that others are compared with: those of this strategy, embedding and learner; None is any."""

    strategy: str
    embedding: str | None
    learner: str | None


class Choice(NamedTuple):
    """The arms that validation rows choose; None where no candidate is estimable there."""

    recommended: Arm | None
    reference: Arm | None
    best_local: Arm | None
    best_transferred: Arm | None


class Pair(NamedTuple):
    """One comparison to make; ``reference`` None is chance, or nothing where there is a ``reason``."""

    question: str
    arm: Arm
    reference: Arm | None
    reason: str | None


class Difference(NamedTuple):
    """A difference on test rows, first arm minus reference; where there is none, ``reason`` says why."""

    metric: str
    estimate: float | None
    lower: float | None
    upper: float | None
    error: float | None
    p: float | None
    method: str | None
    reason: str | None


def choose(results: Mapping[Arm, ArmResult], target: str, controls: Sequence[str], reference: Reference) -> Choice:
    """Choose the arms with the highest mean AUROC over seeds on validation rows; the first of equals.

    The recommended arm is the best of all arms except those on a control embedding (the reference's own embedding
    counts as no control here). The best transferred arm comes from the same candidates. The reference is the best of
    the arms that it describes, in any embedding where the study lacks the one it names.
    """
    candidates = [arm for arm in results if arm.embedding not in controls or arm.embedding == reference.embedding]
    of_reference = [
        arm
        for arm in results
        if arm.strategy == reference.strategy
        and reference.embedding in (None, arm.embedding)
        and reference.learner in (None, arm.learner)
    ]
    local = [arm for arm in results if arm.source == target]
    transferred = [arm for arm in candidates if arm.source != target]
    return Choice(*(_best(results, among) for among in (candidates, of_reference, local, transferred)))


def pairs(results: Mapping[Arm, ArmResult], target: str, controls: Sequence[str], choice: Choice) -> Iterator[Pair]:
    """Yield the comparisons in the order of the table.

    - *chance*: the recommended arm against an AUROC of 0.5 (AUROC alone);
    - *recommendation*: the recommended arm against the reference;
    - *vs_best_local*: the recommended arm, where it is transferred, against the best local arm;
    - *vs_best_transferred*: the recommended arm, where it is local, against the best transferred arm;
    - *control*: the recommended arm against each control in its embedding's place;
    - *vs_control*: each embedding against each control, all else equal;
    - *transfer_gain*: each transferred arm against the local arm of its embedding and learner.
    """
    recommended, reference, best_local, best_transferred = choice
    if recommended is not None:
        yield Pair(CHANCE, recommended, None, None)
        why = "no arm of the reference is estimable on validation rows" if reference is None else None
        why = "the recommended arm is the reference" if recommended == reference else why
        yield Pair(RECOMMENDATION, recommended, reference, why)
        own = recommended.source == target
        question, other = (VS_BEST_TRANSFERRED, best_transferred) if own else (VS_BEST_LOCAL, best_local)
        if other is not None:
            yield Pair(question, recommended, other, None)
        for control in controls:
            if control != recommended.embedding:
                yield Pair(CONTROL, recommended, recommended._replace(embedding=control), None)
    for arm in results:
        if arm.embedding not in controls:
            for control in controls:
                yield Pair(VS_CONTROL, arm, arm._replace(embedding=control), None)
    for arm in results:
        local = arm._replace(strategy=LOCAL, source=target)
        if arm.source != target and local in results:
            yield Pair(TRANSFER_GAIN, arm, local, None)


def compare(
    results: Mapping[Arm, ArmResult], asked: Sequence[Pair], clusters: Clusters
) -> Iterator[tuple[Pair, list[Difference]]]:
    """Make the comparisons ``asked`` for, in AUROC, AUPRC and Brier score.

    Limits are bootstrap percentiles of the difference on the same resamples of persons, widened for the draw of seeds
    (``bootstrap.widen``). The standard error has two parts. The first is the variance between persons of the difference
    of the means over seeds: DeLong's, clustered, for AUROC; the bootstrap's for the others. The second is the variance
    of the difference between seeds, divided by their number. p is that of a two-sided t test with Welch and
    Satterthwaite's degrees of freedom, not corrected for the number of comparisons.
    """
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK]
        possible = [pair for pair in block if _why_not(pair, results) is None]
        numbers = iter(_differences(results, possible, clusters)) if possible else iter(())
        for pair in block:
            reason = _why_not(pair, results)
            names = [METRICS[column] for column in (_COMPARED[:1] if pair.question == CHANCE else _COMPARED)]
            if reason:
                yield pair, [Difference(name, None, None, None, None, None, None, reason) for name in names]
            else:
                yield pair, next(numbers)[: len(names)]


def _why_not(pair: Pair, results: Mapping[Arm, ArmResult]) -> str | None:
    reason = pair.reason or results[pair.arm].reason["test"]
    return reason or (results[pair.reference].reason["test"] if pair.reference is not None else None)


def _differences(
    results: Mapping[Arm, ArmResult], asked: Sequence[Pair], clusters: Clusters
) -> Iterator[list[Difference]]:
    arms = [results[pair.arm] for pair in asked]
    references = [None if pair.reference is None else results[pair.reference] for pair in asked]
    chance = np.array([0.5, 0, 0])

    estimate = np.stack([_estimates(arm) for arm in arms]) - np.stack(
        [chance if reference is None else _estimates(reference) for reference in references]
    )
    seeds, freedom = (np.stack(column) for column in zip(*map(_seed_variance, arms, references), strict=True))
    replicates = np.stack([arm.replicates[_COMPARED] for arm in arms]).astype(np.float64)
    for index, reference in enumerate(references):
        replicates[index] -= chance[:, None] if reference is None else reference.replicates[_COMPARED]
    with np.errstate(invalid="ignore"):
        person = np.nanvar(replicates, axis=2)
    person[:, 0] = [_auroc_variance(*pair, clusters) for pair in zip(arms, references, strict=True)]
    total = person + seeds
    total_freedom = degrees(
        np.stack([person.ravel(), seeds.ravel()]), np.stack([np.full(person.size, clusters.freedom), freedom.ravel()])
    )
    lower, upper = limits(replicates.reshape(person.size, -1))
    bounds = widen(lower, estimate.ravel(), upper, np.nanvar(replicates, axis=2).ravel(), seeds.ravel(), total_freedom)
    lower, upper = (bound.reshape(person.shape) for bound in bounds)
    p = p_value(estimate.ravel(), total.ravel(), total_freedom).reshape(person.shape)
    numbers = np.stack([estimate, lower, upper, np.sqrt(total), p], axis=-1)
    for of_pair in numbers:
        yield [_difference(column, of_metric) for column, of_metric in zip(_COMPARED, of_pair, strict=True)]


def _difference(column: int, numbers: NDArray[np.float64]) -> Difference:
    estimate, lower, upper, error, p = (None if np.isnan(number) else float(number) for number in numbers)
    method, reason = DELONG if column == _AUROC else PERCENTILE, NO_LIMITS if lower is None else None
    return Difference(METRICS[column], estimate, lower, upper, error, p, method, reason)


def _estimates(arm: ArmResult) -> NDArray[np.float64]:
    estimates: NDArray[np.float64] = arm.mean("test")[_COMPARED]
    return estimates


def _seed_variance(first: ArmResult, second: ArmResult | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variance of a difference between seeds, and its degrees of freedom: (metrics,) each.

    Two arms with the same seeds share their draws: then it is the variance of the seeds' own differences, else the sum.
    """
    if second is not None and first.seeds == second.seeds:
        values = first.by_seed["test"][:, _COMPARED] - second.by_seed["test"][:, _COMPARED]
        variance = values.var(axis=0, ddof=1) / len(values) if len(values) > 1 else np.zeros(len(_COMPARED))
        return variance, np.full(len(_COMPARED), max(len(values) - 1.0, 1.0))
    arms = [first] if second is None else [first, second]
    parts = np.stack([arm.seed_variance()[_COMPARED] for arm in arms])
    freedom = np.array([[max(len(arm.seeds) - 1.0, 1.0)] for arm in arms])
    return parts.sum(axis=0), degrees(parts, freedom)


def _auroc_variance(first: ArmResult, second: ArmResult | None, clusters: Clusters) -> float:
    assert first.components is not None
    events, non_events = first.components.events, first.components.non_events
    if second is not None:
        assert second.components is not None
        events, non_events = events - second.components.events, non_events - second.components.non_events
    return float(variance(events, non_events, clusters))


def _best(results: Mapping[Arm, ArmResult], among: Sequence[Arm]) -> Arm | None:
    estimable = [arm for arm in among if results[arm].reason["validation"] is None]
    return max(estimable, key=lambda arm: float(results[arm].mean("validation")[_AUROC]), default=None)
