"""Limits for a method: the draw of training persons counts, and not that of test persons and seeds alone.

A model is trained on each half of its training persons, for several splits into halves. The two halves share nobody, so
the difference of their AUROCs on the same test rows tells how much the draw of training persons matters.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from conceptbridge.evaluate.delong import Clusters, Components, components, mean_of, variance
from conceptbridge.evaluate.intervals import AT_THE_END, NO_LIMITS, auroc_at_the_end, seed_variance
from conceptbridge.evaluate.scales import FISHER_Z, LOGIT, Scale, degrees, limits_on
from conceptbridge.evaluate.schemas import ARM, PRIMARY, VS_BEST_TRANSFERRED, Arm

HEADLINES = (*PRIMARY, VS_BEST_TRANSFERRED)
"""The questions whose arms are headline arms: ``comparisons.pairs`` says what each compares."""

AUROC, DIFFERENCE = "auroc", "difference"
"""What a row of ``method_limits`` is about."""


class Scored(NamedTuple):
    """An AUROC on the test rows, or a difference of two: of every seed of each arm in it (seeds,), and the mean over
    seeds with its components."""

    by_seed: tuple[NDArray[np.float64], ...]
    mean: Components

    def minus(self, other: "Scored") -> "Scored":
        """One arm less another: both have seeds of their own."""
        return Scored((*self.by_seed, *other.by_seed), _less(self.mean, other.mean))

    def apart_from(self, other: "Scored") -> "Scored":
        """The same arm trained on other persons: seed k of one is seed k of the other (of a control, the same draw)."""
        by_seed = tuple(mine - theirs for mine, theirs in zip(self.by_seed, other.by_seed, strict=True))
        return Scored(by_seed, _less(self.mean, other.mean))

    def variances(self, clusters: Clusters) -> tuple[list[float], list[float]]:
        """The variance of the mean between test persons and between the seeds of each arm; the degrees of freedom."""
        person = float(variance(self.mean.events, self.mean.non_events, clusters))
        seeds = [float(seed_variance(values[:, None])[0]) for values in self.by_seed]
        return [person, *seeds], [clusters.freedom, *(max(len(values) - 1.0, 1.0) for values in self.by_seed)]


class MethodLimits(NamedTuple):
    """95 % limits of an AUROC or a difference: for these trained models, and for the method.

    ``training_sd`` is the standard deviation that the draw of training persons gives; None, like limits, where it
    cannot be told.
    """

    estimate: float
    lower: float | None
    upper: float | None
    method_lower: float | None
    method_upper: float | None
    training_sd: float | None


class Tested(NamedTuple):
    """A headline arm on the test rows: trained on all persons, and on each half-sample (2k and 2k + 1 are the halves of
    split k); ``reason`` says why there is one or more of them without a model."""

    whole: Scored
    halves: Sequence[Scored]
    reason: str | None


def headline_pairs(comparisons: Sequence[Mapping[str, Any]]) -> list[tuple[str, Arm, Arm | None]]:
    """The headline arms of a target, from its table of comparisons: (question, arm, the arm it is compared with).

    The second is None where there is nothing to compare with, or the recommended arm is the reference.
    """
    pairs = []
    for row in comparisons:
        if row["metric"] == "auroc" and row["question"] in HEADLINES:
            arm, other = (Arm(*(row[f"{prefix}{name}"] for name in ARM)) for prefix in ("", "ref_"))
            pairs.append((row["question"], arm, None if None in other or other == arm else other))
    return pairs


def headline_arms(pairs: Sequence[tuple[str, Arm, Arm | None]]) -> list[Arm]:
    """The arms of ``headline_pairs``, each once."""
    return list(dict.fromkeys(arm for _, *both in pairs for arm in both if arm is not None))


def method_rows(
    task: str,
    target: str,
    pairs: Sequence[tuple[str, Arm, Arm | None]],
    tested: Mapping[Arm, Tested | str],
    clusters: Clusters,
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``method_limits``: one per arm of the ``pairs``, then one per difference.

    In the place of what was ``tested`` of an arm may stand the reason why nothing was, or may be shown.
    """
    for arm in headline_arms(pairs):
        yield task, target, AUROC, None, *arm, *[None] * len(ARM), *_numbers(tested[arm], clusters, LOGIT)
    for question, arm, other in pairs:
        if other is not None:
            apart = _minus(tested[arm], tested[other])
            yield task, target, DIFFERENCE, question, *arm, *other, *_numbers(apart, clusters, FISHER_Z)


def _minus(first: Tested | str, second: Tested | str) -> Tested | str:
    if isinstance(first, str) or isinstance(second, str):
        return first if isinstance(first, str) else str(second)
    # where an arm lacks a half-sample there is a reason, and they are not looked at
    halves = [one.minus(other) for one, other in zip(first.halves, second.halves, strict=False)]
    return Tested(first.whole.minus(second.whole), halves, first.reason or second.reason)


def _numbers(tested: Tested | str, clusters: Clusters, scale: Scale) -> tuple[Any, ...]:
    if isinstance(tested, str):
        return *[None] * len(MethodLimits._fields), 0, tested
    halves = [] if tested.reason else list(zip(tested.halves[::2], tested.halves[1::2], strict=True))
    found = method_limits(tested.whole, halves, clusters, scale)
    one_person = NO_LIMITS if min(clusters.with_event, clusters.with_non_event) < 2 else None
    at_the_end = AT_THE_END if halves and found.method_lower is None else None
    return *found, 2 * len(halves), tested.reason or one_person or at_the_end


def score(label: ArrayLike, probability: NDArray[np.float64], clusters: Clusters) -> Scored:
    """Measure the AUROC of ``probability`` (seeds, test rows) on rows with these labels; both classes must be there."""
    of_seeds = [components(label, of_seed, clusters) for of_seed in probability]
    return Scored((np.array([one.auroc for one in of_seeds]),), mean_of(of_seeds))


def training_variance(halves: Sequence[tuple[Scored, Scored]], clusters: Clusters) -> tuple[float, float]:
    """Return the variance that the draw of training persons gives, and the same before noise is taken off.

    ``halves`` are the two models of each split of the training persons. With D the difference of their AUROCs, D²/2 is
    an unbiased estimate of the variance between samples of half as many persons, for the two samples share nobody;
    with all persons it is half of that or less (balanced half-samples: McCarthy, Review of the International
    Statistical Institute 1969;37:239). What test persons and seeds alone give D is taken off: it is in the limits
    already.

    A bootstrap of training persons is no way to the same number: at the optimum of a model the AUROC is level, so that
    the resample's distance from the sample counts beside the sample's from the truth, and its variance is about three
    times too large (``benchmarks/method_limits.py``).
    """
    apart = [first.apart_from(second) for first, second in halves]
    gross = float(np.mean([one.mean.auroc**2 for one in apart])) / 4
    noise = float(np.mean([sum(one.variances(clusters)[0]) for one in apart])) / 4
    return max(gross - noise, 0.0), gross


def method_limits(
    whole: Scored, halves: Sequence[tuple[Scored, Scored]], clusters: Clusters, scale: Scale
) -> MethodLimits:
    """Return the limits of an AUROC, or a difference of two, of models of all training persons (``whole``).

    The variance for these trained models is that between test persons (DeLong's, by person) and that between the seeds
    of each arm; for the method, that between training samples as well. Limits are those of the t distribution on
    ``scale``, with Welch and Satterthwaite's degrees of freedom: those for these models are the same as in the tables
    ``metrics`` and ``comparisons``. Limits for the method hold the others.
    """
    estimate, (parts, freedom) = whole.mean.auroc, whole.variances(clusters)
    models = _limits(scale, estimate, sum(parts), parts, freedom)
    if scale is LOGIT and estimate in (0, 1) and np.isfinite(parts[0]):
        models = auroc_at_the_end(estimate, clusters)
    if not halves:
        return MethodLimits(estimate, *models, None, None, None)
    training, gross = training_variance(halves, clusters)
    # what was taken off as noise makes the rest no surer
    more = [*parts, gross if training > 0 else 0.0]
    lower, upper = _limits(scale, estimate, sum(parts) + training, more, [*freedom, float(len(halves))])
    if models[0] is not None and models[1] is not None and lower is not None and upper is not None:
        # seeds alone have few degrees of freedom, and a part more gives the sum more of them
        lower, upper = min(lower, models[0]), max(upper, models[1])
    return MethodLimits(estimate, *models, lower, upper, float(np.sqrt(training)))


def _limits(
    scale: Scale, estimate: float, total: float, parts: Sequence[float], freedom: Sequence[float]
) -> tuple[float | None, float | None]:
    """Limits from a variance, and the ``parts`` that it was worked out from, each with its degrees of ``freedom``."""
    if not np.isfinite(total):
        return None, None
    share = total / sum(parts) if total > 0 else 1.0
    of_total = degrees(np.array(parts)[:, None], np.array(freedom)[:, None]) * share**2
    bounds = limits_on(scale, np.array([estimate]), np.array([total]), of_total)
    lower, upper = (None if np.isnan(bound[0]) else float(bound[0]) for bound in bounds)
    return lower, upper


def _less(first: Components, second: Components) -> Components:
    return Components(first.auroc - second.auroc, first.events - second.events, first.non_events - second.non_events)
