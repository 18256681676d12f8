"""Random-effects meta-analysis: one number from several sites, and what to expect at a new site."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

FEWEST_SITES = 3
_TAIL = 0.975


class Summary(NamedTuple):
    """A mean over sites with 95 % limits, the variance between sites, and the 95 % prediction interval."""

    estimate: float
    lower: float
    upper: float
    p: float
    between: float
    new_lower: float
    new_upper: float


def summarise(effects: ArrayLike, variances: ArrayLike) -> Summary | None:
    """Summarise effects (sites,) with their variances within sites; None where fewer than three sites have both.

    REML estimates the variance between sites. Limits are Hartung and Knapp's, never narrower than the classical ones
    (Röver et al., BMC Medical Research Methodology 2015;15:99). The prediction interval for a new site is that of
    Higgins et al. with the same degrees of freedom (IntHout et al., BMJ Open 2016;6:e010247).
    """
    effect: NDArray[np.float64] = np.asarray(effects, dtype=np.float64)
    variance: NDArray[np.float64] = np.asarray(variances, dtype=np.float64)
    known = np.isfinite(effect) & np.isfinite(variance) & (variance > 0)
    effect, variance = effect[known], variance[known]
    sites = len(effect)
    if sites < FEWEST_SITES:
        return None
    between = reml(effect, variance)
    weight = 1 / (variance + between)
    mean = float((weight * effect).sum() / weight.sum())
    spread = float((weight * (effect - mean) ** 2).sum() / (sites - 1))
    error = float(np.sqrt(max(spread, 1.0) / weight.sum()))
    reach = float(stdtrit(sites - 1, _TAIL))
    margin, new = reach * error, reach * float(np.sqrt(between + error**2))
    p = float(2 * stdtr(sites - 1, -abs(mean) / error))
    return Summary(mean, mean - margin, mean + margin, p, between, mean - new, mean + new)


def reml(effect: NDArray[np.float64], variance: NDArray[np.float64]) -> float:
    """Return the REML estimate of the variance between sites: the root of the restricted likelihood's derivative."""
    from scipy.optimize import brentq  # slow to import, and few studies have three targets

    def grad(between: float) -> float:
        weight = 1 / (variance + between)
        mean = (weight * effect).sum() / weight.sum()
        return float(
            (weight**2 * (effect - mean) ** 2).sum() - weight.sum() + (weight**2).sum() / weight.sum()
        )  # twice the derivative of the restricted log likelihood

    if grad(0.0) <= 0:
        return 0.0
    top = 10 * float(effect.var()) + float(variance.max())
    while grad(top) > 0:
        top *= 2
    return float(brentq(grad, 0.0, top, xtol=1e-14, rtol=1e-12))
