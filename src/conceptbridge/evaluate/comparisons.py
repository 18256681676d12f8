"""What is recommended, by validation rows alone, and paired differences between arms on the same test rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conceptbridge.evaluate.bootstrap import degrees, limits, p_value, widen
from conceptbridge.evaluate.delong import Clusters, variance
from conceptbridge.evaluate.measure import DELONG, NO_LIMITS, PERCENTILE, Arm, ArmResult
from conceptbridge.evaluate.metrics import METRICS

LOCAL = "local"
"""The strategy that others are compared with. Any arm whose source is the target was trained there."""
CHANCE, RECOMMENDATION, HOME, ABROAD, CONTROL = "chance", "recommendation", "home", "abroad", "control"
MEANING, BORROWING = "meaning", "borrowing"
"""Questions: each is a family of comparisons; see :func:`pairs`."""

_AUROC = METRICS.index("auroc")
_COMPARED = tuple(METRICS.index(name) for name in ("auroc", "auprc", "brier"))
_BLOCK = 512


class Reference(NamedTuple):
    """What arms are compared with: arms of this strategy, embedding and learner; None is any."""

    strategy: str
    embedding: str | None
    learner: str | None


class Choice(NamedTuple):
    """The arms that validation rows choose; None where none of them is estimable there."""

    recommended: Arm | None
    reference: Arm | None
    best_local: Arm | None
    best_borrowed: Arm | None


class Pair(NamedTuple):
    """One comparison to make; ``reference`` None is chance, or nothing where there is a ``reason``."""

    question: str
    arm: Arm
    reference: Arm | None
    reason: str | None


class Difference(NamedTuple):
    """A difference on test rows, first arm minus reference; all numbers None where there is a ``reason`` for that."""

    metric: str
    estimate: float | None
    lower: float | None
    upper: float | None
    error: float | None
    p: float | None
    method: str | None
    reason: str | None


def choose(results: Mapping[Arm, ArmResult], target: str, controls: Sequence[str], reference: Reference) -> Choice:
    """Choose by the highest mean AUROC over seeds on validation rows; the first of equals.

    Recommended is the best of all arms but those on a control embedding (the reference's own embedding is no
    control here), and the best borrowed one is of these; the reference is the best of those that it describes, in any
    embedding where the study lacks its.
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
    borrowed = [arm for arm in candidates if arm.source != target]
    return Choice(*(_best(results, among) for among in (candidates, of_reference, local, borrowed)))


def pairs(results: Mapping[Arm, ArmResult], target: str, controls: Sequence[str], choice: Choice) -> Iterator[Pair]:
    """Yield the comparisons in the order of the table.

    - *chance*: the recommended arm against an AUROC of 0.5 (of AUROC alone);
    - *recommendation*: the recommended arm against the reference;
    - *home*: the recommended arm, where it is borrowed, against the best local arm;
    - *abroad*: the recommended arm, where it is local, against the best borrowed arm;
    - *control*: the recommended arm against each control in its embedding's place;
    - *meaning*: each embedding against each control, all else equal;
    - *borrowing*: each borrowed strategy against local, same embedding and learner.
    """
    recommended, reference, best_local, best_borrowed = choice
    if recommended is not None:
        yield Pair(CHANCE, recommended, None, None)
        why = "no arm of the reference is estimable on validation rows" if reference is None else None
        why = "the recommended arm is the reference" if recommended == reference else why
        yield Pair(RECOMMENDATION, recommended, reference, why)
        question, other = (ABROAD, best_borrowed) if recommended.source == target else (HOME, best_local)
        if other is not None:
            yield Pair(question, recommended, other, None)
        for control in controls:
            if control != recommended.embedding:
                yield Pair(CONTROL, recommended, recommended._replace(embedding=control), None)
    for arm in results:
        if arm.embedding not in controls:
            for control in controls:
                yield Pair(MEANING, arm, arm._replace(embedding=control), None)
    for arm in results:
        local = arm._replace(strategy=LOCAL, source=target)
        if arm.source != target and local in results:
            yield Pair(BORROWING, arm, local, None)


def compare(
    results: Mapping[Arm, ArmResult], asked: Sequence[Pair], of: Clusters
) -> Iterator[tuple[Pair, list[Difference]]]:
    """Make the comparisons ``asked`` for, of AUROC, AUPRC and Brier score.

    Limits are bootstrap percentiles of the difference on the same resamples of persons, widened by the draw of seeds
    (``bootstrap.widen``). The standard error has two parts: from person to person (DeLong's, clustered, for AUROC; the
    bootstrap's for the others) of the difference of the means over seeds, and from seed to seed: the variance over
    seeds of the difference, divided by their number. p is that of a t test with Welch and Satterthwaite's degrees of
    freedom, two-sided, and not corrected for the number of comparisons.
    """
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK]
        made = [pair for pair in block if _why_not(pair, results) is None]
        numbers = iter(_differences(results, made, of)) if made else iter(())
        for pair in block:
            reason = _why_not(pair, results)
            names = [METRICS[place] for place in (_COMPARED[:1] if pair.question == CHANCE else _COMPARED)]
            if reason:
                yield pair, [Difference(name, None, None, None, None, None, None, reason) for name in names]
            else:
                yield pair, next(numbers)[: len(names)]


def _why_not(pair: Pair, results: Mapping[Arm, ArmResult]) -> str | None:
    reason = pair.reason or results[pair.arm].reason["test"]
    return reason or (results[pair.reference].reason["test"] if pair.reference is not None else None)


def _differences(results: Mapping[Arm, ArmResult], made: Sequence[Pair], of: Clusters) -> Iterator[list[Difference]]:
    ours = [results[pair.arm] for pair in made]
    theirs = [None if pair.reference is None else results[pair.reference] for pair in made]
    places = list(_COMPARED)
    chance = np.array([0.5, 0, 0])

    estimate = np.stack([_estimates(one) for one in ours]) - np.stack(
        [chance if one is None else _estimates(one) for one in theirs]
    )
    seeds, freedom = (np.stack(column) for column in zip(*map(_seed_variance, ours, theirs), strict=True))
    replicates = np.stack([one.replicates[places] for one in ours]).astype(np.float64)
    for place, one in enumerate(theirs):
        replicates[place] -= chance[:, None] if one is None else one.replicates[places]
    with np.errstate(invalid="ignore"):
        person = np.nanvar(replicates, axis=2)
    person[:, 0] = [_auroc_variance(first, second, of) for first, second in zip(ours, theirs, strict=True)]
    total = person + seeds
    doubt = degrees(
        np.stack([person.ravel(), seeds.ravel()]), np.stack([np.full(person.size, of.freedom), freedom.ravel()])
    )
    lower, upper = limits(replicates.reshape(person.size, -1))
    bounds = widen(lower, estimate.ravel(), upper, np.nanvar(replicates, axis=2).ravel(), seeds.ravel(), doubt)
    lower, upper = (bound.reshape(person.shape) for bound in bounds)
    p = p_value(estimate.ravel(), total.ravel(), doubt).reshape(person.shape)
    for row in range(len(made)):
        yield [
            Difference(
                METRICS[place],
                _number(estimate[row, column]),
                _number(lower[row, column]),
                _number(upper[row, column]),
                _number(np.sqrt(total[row, column])),
                _number(p[row, column]),
                DELONG if place == _AUROC else PERCENTILE,
                NO_LIMITS if np.isnan(lower[row, column]) else None,
            )
            for column, place in enumerate(places)
        ]


def _estimates(one: ArmResult) -> NDArray[np.float64]:
    found: NDArray[np.float64] = one.mean("test")[list(_COMPARED)]
    return found


def _seed_variance(first: ArmResult, second: ArmResult | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variance of a difference from seed to seed, and its degrees of freedom: (metrics,) each.

    Of the seeds' own differences where both arms have the same seeds, as these share their draws; else the sum.
    """
    places = list(_COMPARED)
    arms = [first] if second is None else [first, second]
    if second is not None and first.seeds == second.seeds:
        values = first.by_seed["test"][:, places] - second.by_seed["test"][:, places]
        found = values.var(axis=0, ddof=1) / len(values) if len(values) > 1 else np.zeros(len(places))
        return found, np.full(len(places), max(len(values) - 1.0, 1.0))
    parts = np.stack([one.seed_variance()[places] for one in arms])
    each = np.array([[max(len(one.seeds) - 1.0, 1.0)] for one in arms])
    return parts.sum(axis=0), degrees(parts, each)


def _auroc_variance(first: ArmResult, second: ArmResult | None, of: Clusters) -> float:
    assert first.components is not None
    events, non_events = first.components.events, first.components.non_events
    if second is not None:
        assert second.components is not None
        events, non_events = events - second.components.events, non_events - second.components.non_events
    return float(variance(events, non_events, of))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _best(results: Mapping[Arm, ArmResult], among: Sequence[Arm]) -> Arm | None:
    estimable = [arm for arm in among if results[arm].reason["validation"] is None]
    return max(estimable, key=lambda arm: float(results[arm].mean("validation")[_AUROC]), default=None)
