"""The scale on which a number has its limits and its p, so that both agree and limits never leave the number's range.

On the scale g, limits are g(x) ± t SE |g'(x)|, read back; p is that of (g(x) - g(null)) / (SE |g'(x)|). So p is below
0.05 exactly where the 95 % limits leave out the null value. SE |g'(x)| is the delta method.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri, stdtr, stdtrit

COVERAGE = 0.95
"""Of all limits, two-sided."""
TAIL = (1 - COVERAGE) / 2

Floats = NDArray[np.float64]


class Scale(NamedTuple):
    """A function that opens a bounded range, its inverse and its derivative; ``name`` is for the column ``method``."""

    name: str
    forward: Callable[[Floats], Floats]
    inverse: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]


PLAIN = Scale("", lambda x: x, lambda y: y, lambda x: np.ones_like(x))
LOGIT = Scale("logit", logit, expit, lambda x: 1 / (x * (1 - x)))
"""From 0 to 1 (of AUROC: Qin and Hotilovac, Stat Methods Med Res 2008;17:207)."""
FISHER_Z = Scale("Fisher's z", np.arctanh, np.tanh, lambda x: 1 / (1 - x**2))
"""From -1 to 1, the range of a difference of two numbers from 0 to 1 (Newson, Stata Journal 2006;6:309). It is the
logit of AUROC too: logit(A) = 2 artanh(2A - 1)."""
BELOW_ONE = Scale("log of 1 - x", lambda x: -np.log1p(-x), lambda y: -np.expm1(-y), lambda x: 1 / (1 - x))
"""Up to 1, without a least value."""


def limits_on(scale: Scale, estimate: Floats, variance: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """Return the 95 % limits of ``estimate``, lower and upper; all are (quantities,).

    ``variance`` is that of the estimate on its own range, ``freedom`` its degrees of freedom (infinite: normal).
    Without any variance both limits are the estimate. They are NaN where the variance is, and where an estimate with
    variance stands at the end of its range.
    """
    with np.errstate(all="ignore"):
        at, reach = scale.forward(estimate), quantile(freedom) * np.sqrt(variance) * scale.slope(estimate)
        bounds = scale.inverse(at - reach), scale.inverse(at + reach)
    lower, upper = (np.where(variance == 0, estimate, bound) for bound in bounds)
    usable = np.isfinite(at) & np.isfinite(lower) & np.isfinite(upper) & np.isfinite(variance)
    return np.where(usable, lower, np.nan), np.where(usable, upper, np.nan)


def p_on(scale: Scale, estimate: Floats, null: Floats | float, variance: Floats, freedom: Floats) -> Floats:
    """Return the two-sided p of ``estimate`` against ``null`` by the t distribution; arguments as in ``limits_on``.

    It is 1 where nothing differs, and NaN where something differs without any variance: no test is possible.
    """
    null = np.broadcast_to(np.asarray(null, dtype=np.float64), estimate.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = scale.forward(estimate) - scale.forward(null)
        t = -np.abs(distance) / (np.sqrt(variance) * scale.slope(estimate))
        endless = np.isinf(freedom)
        tested = 2 * np.where(endless, ndtr(t), stdtr(np.where(endless, 1.0, freedom), t))
    p: Floats = np.where(variance > 0, tested, np.where((variance == 0) & (estimate == null), 1.0, np.nan))
    return p


def exact_limits(persons: int) -> tuple[float, float]:
    """Return the limits of an AUROC of 1 in ``persons`` of the rarer class, where DeLong's variance is 0.

    They are Clopper and Pearson's of as many trials without a failure: by Birnbaum and Klose (Ann Math Statist
    1957;28:933) the variance of an AUROC is at most that of a share of the rarer class. Those of 0 mirror them.
    """
    return float(TAIL ** (1 / persons)), 1.0


def exact_p(persons: int) -> float:
    """Return the two-sided p of an AUROC of 1, or of 0, against 0.5 that belongs to ``exact_limits``."""
    return float(min(2 * 0.5**persons, 1.0))


def degrees(parts: Floats, freedom: Floats) -> Floats:
    """Return Welch and Satterthwaite's degrees of freedom of a sum of variances; both are (parts, quantities).

    Satterthwaite, Biometrics Bulletin 1946;2:110. A part without variance, or with infinite degrees of freedom, takes
    none away.
    """
    doubt = np.where(parts > 0, parts**2 / np.maximum(freedom, 1e-300), 0.0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total: Floats = np.where(doubt > 0, parts.sum(axis=0) ** 2 / doubt, np.inf)
    return total


def quantile(freedom: Floats) -> Floats:
    """Return the t quantile of two-sided 95 % limits; the normal one for infinite freedom."""
    share = 1 - TAIL
    endless = np.isinf(freedom)
    reach: Floats = np.where(endless, ndtri(share), stdtrit(np.where(endless, 1.0, freedom), share))
    return reach
