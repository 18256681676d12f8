"""Whether models do better than a coin: one arm, and all arms at a target together."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from conceptbridge.evaluate.arm_result import ArmResult
from conceptbridge.evaluate.delong import Clusters, Components, mean_of, variance
from conceptbridge.evaluate.intervals import auroc_at_the_end, freedom_of
from conceptbridge.evaluate.scales import LOGIT, exact_p, limits_on, p_on

COIN = 0.5


class AboveChance(NamedTuple):
    """An AUROC less 0.5, with 95 % limits, its standard error, and the two-sided p; NaN where there is none."""

    estimate: float
    lower: float
    upper: float
    error: float
    p: float


def against_chance(result: ArmResult, clusters: Clusters) -> AboveChance:
    """Compare the mean AUROC over seeds of one arm with 0.5, on the scale of logits."""
    assert result.components is not None
    return _compare(result.components, float(result.seed_variance()[0]), len(result.seeds), clusters)


def any_above_chance(results: Sequence[ArmResult], clusters: Clusters) -> float | None:
    """Return the p of a global test: that no arm has an AUROC above 0.5. None where no arm is estimable.

    Two tests share the level, so that neither one arm nor many have to carry it: the mean AUROC over all arms, and the
    best single arm after Bonferroni's correction for their number. Both are one-sided: only what is above 0.5 counts.
    Seeds are taken to move all arms alike in the mean, which is the largest variance that they can give it; and no arm
    has a smaller variance between seeds than the arms have on average, as the smallest of many is small by luck.
    """
    estimable = [result for result in results if result.components is not None]
    if not estimable:
        return None
    mean = mean_of([result.components for result in estimable if result.components is not None])
    seed = float(np.mean([result.seed_variance()[0] for result in estimable]))
    together = _compare(mean, seed, min(len(result.seeds) for result in estimable), clusters)
    alone = min(
        _upwards(_compare(result.components, max(float(result.seed_variance()[0]), seed), len(result.seeds), clusters))
        for result in estimable
        if result.components is not None
    )
    return min(2 * min(_upwards(together), len(estimable) * alone), 1.0)


def _upwards(one: AboveChance) -> float:
    """Return the one-sided p of an AUROC above 0.5."""
    if not np.isfinite(one.p):
        return 1.0
    return one.p / 2 if one.estimate > 0 else 1 - one.p / 2


def _compare(auroc: Components, seed: float, seeds: int, clusters: Clusters) -> AboveChance:
    person = float(variance(auroc.events, auroc.non_events, clusters))
    estimate, total = np.array([auroc.auroc]), np.array([person + seed])
    if not np.isnan(person) and auroc.auroc in (0, 1):
        bounds = auroc_at_the_end(auroc.auroc, clusters)
        p = exact_p(int(min(clusters.with_event, clusters.with_non_event)))
    else:
        freedom = freedom_of(np.array([person]), np.array([seed]), clusters, seeds)
        lower, upper = limits_on(LOGIT, estimate, total, freedom)
        bounds, p = (float(lower[0]), float(upper[0])), float(p_on(LOGIT, estimate, COIN, total, freedom)[0])
    return AboveChance(auroc.auroc - COIN, bounds[0] - COIN, bounds[1] - COIN, float(np.sqrt(total[0])), p)
