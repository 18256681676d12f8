"""Limits for a method: the draw of training persons counts, and not that of test persons and seeds alone.

A model is trained on each half of its training persons, for several splits into halves. The two halves share nobody, so
the difference of their AUROCs on the same test rows tells how much the draw of training persons matters.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from conceptbridge.evaluate.bootstrap import degrees, quantile
from conceptbridge.evaluate.delong import Clusters, Components, components, mean_of, variance
from conceptbridge.evaluate.intervals import seed_variance
from conceptbridge.evaluate.schemas import ARM, RECOMMENDATION, VS_BEST_LOCAL, VS_BEST_TRANSFERRED, Arm

HEADLINES = (RECOMMENDATION, VS_BEST_LOCAL, VS_BEST_TRANSFERRED)
"""The questions whose arms are headline arms: ``comparisons.pairs`` says what each compares."""

AUROC, DIFFERENCE = "auroc", "difference"
"""What a row of ``method_limits`` is about."""

NO_ANALYTIC_LIMITS = "no limits: an AUROC of 0 or 1, or a class that one person alone has"


class Scored(NamedTuple):
    """An AUROC on the test rows, or a difference of two: of every seed (seeds,), and the mean with its components."""

    by_seed: NDArray[np.float64]
    mean: Components

    def minus(self, other: "Scored") -> "Scored":
        """This one less another on the same test rows; seeds are paired where there are as many."""
        same = len(self.by_seed) == len(other.by_seed)
        # as far from their mean as two independent means of seeds would be
        by_seed = self.by_seed - other.by_seed if same else _apart(self, other)
        mine, theirs = self.mean, other.mean
        mean = Components(mine.auroc - theirs.auroc, mine.events - theirs.events, mine.non_events - theirs.non_events)
        return Scored(by_seed, mean)

    def noise(self, clusters: Clusters) -> tuple[float, float]:
        """The variance of the mean over seeds between test persons, and between seeds."""
        person = float(variance(self.mean.events, self.mean.non_events, clusters))
        return person, float(seed_variance(self.by_seed[:, None])[0])


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
    split k); ``reason`` says why a half-sample has none."""

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


def method_rows(
    task: str,
    target: str,
    pairs: Sequence[tuple[str, Arm, Arm | None]],
    tested: Mapping[Arm, Tested],
    clusters: Clusters,
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of ``method_limits``: one per arm of the ``pairs``, then one per difference."""
    nobody = (None,) * len(ARM)
    for arm in dict.fromkeys(one for _, *both in pairs for one in both if one is not None):
        if arm in tested:
            yield task, target, AUROC, None, *arm, *nobody, *_numbers(tested[arm], clusters, difference=False)
    for question, arm, other in pairs:
        if other is not None and arm in tested and other in tested:
            first, second = tested[arm], tested[other]
            apart = Tested(
                first.whole.minus(second.whole),
                [one.minus(two) for one, two in zip(first.halves, second.halves, strict=False)],
                first.reason or second.reason,
            )
            yield task, target, DIFFERENCE, question, *arm, *other, *_numbers(apart, clusters, difference=True)


def _numbers(tested: Tested, clusters: Clusters, difference: bool) -> tuple[Any, ...]:
    halves = [] if tested.reason else list(zip(tested.halves[::2], tested.halves[1::2], strict=True))
    found = method_limits(tested.whole, halves, clusters, difference)
    reason = tested.reason or (NO_ANALYTIC_LIMITS if found.lower is None else None)
    return *found, 2 * len(halves), reason


def score(label: ArrayLike, probability: NDArray[np.float64], clusters: Clusters) -> Scored:
    """Measure the AUROC of ``probability`` (seeds, test rows) on rows with these labels; both classes must be there."""
    of_seeds = [components(label, of_seed, clusters) for of_seed in probability]
    return Scored(np.array([one.auroc for one in of_seeds]), mean_of(of_seeds))


def training_variance(halves: Sequence[tuple[Scored, Scored]], clusters: Clusters) -> tuple[float, float]:
    """Return the variance that the draw of training persons gives, and the same before noise is taken off.

    ``halves`` are the two models of each split of the training persons. With D the difference of their AUROCs, D²/2 is
    an unbiased estimate of the variance between samples of half as many persons, for the two samples share nobody;
    with all persons it is half of that or less (balanced half-samples: McCarthy, Review of the International
    Statistical Institute 1969;37:239). What test persons and seeds alone give D is taken off: it is in the limits
    already.

    A bootstrap of training persons is no way to the same number: at the optimum of a model the AUROC is level, so that
    the resample's distance from the sample counts beside the sample's from the truth, and its variance is up to three
    times too large (``benchmarks/method_limits.py``).
    """
    apart = [first.minus(second) for first, second in halves]
    gross = float(np.mean([one.mean.auroc**2 for one in apart])) / 4
    noise = float(np.mean([sum(one.noise(clusters)) for one in apart])) / 4
    return max(gross - noise, 0.0), gross


def method_limits(
    whole: Scored, halves: Sequence[tuple[Scored, Scored]], clusters: Clusters, difference: bool
) -> MethodLimits:
    """Return the limits of an AUROC, or a ``difference`` of two, of models of all training persons (``whole``).

    The variance for these trained models is that between test persons (DeLong's, by person) and that between seeds; for
    the method, that between training samples as well. Limits are those of the t distribution with Welch and
    Satterthwaite's degrees of freedom, of an AUROC on the scale of its logit.
    """
    person, seed = whole.noise(clusters)
    estimate, freedom = whole.mean.auroc, [clusters.freedom, max(len(whole.by_seed) - 1.0, 1.0)]
    reach = _reach(person + seed, [person, seed], freedom)
    models = _around(estimate, reach, difference)
    if not halves:
        return MethodLimits(estimate, *models, None, None, None)
    training, gross = training_variance(halves, clusters)
    # what was taken off as noise makes the rest no surer
    parts = [person, seed, gross if training > 0 else 0.0]
    wider = _reach(person + seed + training, parts, [*freedom, float(len(halves))])
    # the seeds alone have few degrees of freedom, and a part more gives the sum more of them
    method = _around(estimate, max(reach, wider), difference)
    return MethodLimits(estimate, *models, *method, float(np.sqrt(training)))


def _reach(total: float, parts: Sequence[float], freedom: Sequence[float]) -> float:
    """How far limits are from an estimate of variance ``total``; ``parts``, each with its degrees of ``freedom``, are
    what it was worked out from."""
    share = total / sum(parts) if total > 0 else 1.0
    of_total = degrees(np.array(parts)[:, None], np.array(freedom)[:, None]) * share**2
    return float(quantile(of_total)[0] * np.sqrt(total))


def _around(estimate: float, reach: float, difference: bool) -> tuple[float | None, float | None]:
    """Limits at this distance from an estimate, of an AUROC on the scale of its logit; None where there are none."""
    if not np.isfinite(reach) or (not difference and not 0 < estimate < 1):
        return None, None
    if difference:
        return estimate - reach, estimate + reach
    at, reach = logit(estimate), reach / (estimate * (1 - estimate))
    return float(expit(at - reach)), float(expit(at + reach))


def _apart(first: Scored, second: Scored) -> NDArray[np.float64]:
    """Two values whose mean is the difference of the means, with the variance of two independent means of seeds."""
    spread = np.sqrt(sum(float(seed_variance(one.by_seed[:, None])[0]) for one in (first, second)))
    both: NDArray[np.float64] = first.mean.auroc - second.mean.auroc + spread * np.array([-1.0, 1.0])
    return both
