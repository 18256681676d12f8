"""Whether predicted probabilities are right: calibration in the large, slope, ICI and ECE of one set of predictions."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

CALIBRATION = ("calibration_in_the_large", "calibration_slope", "ici", "ece")
"""The metrics that :func:`calibrate` returns, in order."""

BINS = 10
KNOTS = (0.05, 0.35, 0.65, 0.95)
"""Quantiles at which the curve behind the ICI bends (Harrell, Regression Modeling Strategies, table 2.3)."""

EXTREME = "a predicted probability is 0 or 1: its log odds are infinite"
NO_FIT = "the recalibration has no finite estimate: constant or perfectly separating predictions"
FEW_VALUES = "too few distinct probabilities for a calibration curve"

_QUICK, _STEPS, _CLOSE = 12, 60, 1e-11


class Calibration(NamedTuple):
    """``estimate`` (metrics,) is NaN where nothing is estimable: ``reason`` says why. ``influence`` is (2, units).

    The influences on calibration in the large and on the slope sum to 0 over units. Their squares sum to the sandwich
    variance (without a correction for few units).
    """

    estimate: NDArray[np.float64]
    reason: tuple[str | None, ...]
    influence: NDArray[np.float64]


def calibrate(
    label: ArrayLike, probability: ArrayLike, unit: ArrayLike, units: int, order: NDArray[np.intp] | None = None
) -> Calibration:
    """Measure the calibration of ``probability`` (rows,); ``unit`` (rows,) is the person of each row.

    ``order`` is the rows from the lowest probability up, if known.

    - calibration in the large: the intercept of a logistic regression of ``label`` with the log odds as offset. 0 at
      best, above 0 where risks are underestimated;
    - calibration slope: the coefficient of the log odds in a logistic regression. 1 at best, below 1 where predictions
      are too extreme (Cox, Biometrika 1958;45:562);
    - ICI: the mean distance of the probability from a smooth calibration curve. Here the curve is a logistic regression
      on a restricted cubic spline of the log odds with four knots (Austin and Steyerberg, Statistics in Medicine
      2019;38:4051, use loess);
    - ECE: the mean distance between observed and predicted share over ten bins of equally many rows, weighted by rows.
      Rows of equal probability are in one bin.
    """
    y, p = np.asarray(label, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    unit = np.asarray(unit)
    estimate = np.full(len(CALIBRATION), np.nan)
    influence = np.full((2, units), np.nan)
    reason: list[str | None] = [None] * len(CALIBRATION)
    estimate[3] = _ece(y, p, np.argsort(p, kind="stable") if order is None else order)
    if not ((p > 0) & (p < 1)).all():
        return Calibration(estimate, (EXTREME,) * 3 + (None,), influence)
    log_odds = np.log(p) - np.log1p(-p)
    ones = np.ones((len(y), 1))
    line = np.column_stack([ones, log_odds])
    for metric, (design, offset, start) in enumerate(
        [(ones, log_odds, [0.0]), (line, np.zeros_like(log_odds), [0.0, 1.0])]
    ):
        fit = _logistic(design, y, offset, np.array(start)) if metric == 0 or np.ptp(log_odds) else None
        if fit is None:
            reason[metric] = NO_FIT
            continue
        coefficients, inverse, fitted = fit
        estimate[metric] = coefficients[-1]
        score = ((y - fitted)[:, None] * design) @ inverse[-1]
        influence[metric] = np.bincount(unit, weights=score, minlength=units)
    knots = np.quantile(log_odds, KNOTS)
    if (np.diff(knots) <= 1e-9 * max(1.0, np.ptp(log_odds))).any():
        reason[2] = FEW_VALUES
    else:
        curve = _logistic(np.column_stack([ones, spline(log_odds, knots)]), y, np.zeros_like(y), None)
        if curve is None:
            reason[2] = NO_FIT
        else:
            estimate[2] = np.abs(p - curve[2]).mean()
    return Calibration(estimate, tuple(reason), influence)


def spline(x: NDArray[np.float64], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the restricted cubic spline basis of ``x`` (rows, knots - 1): linear below the first and above the last.

    Scaled by the squared span of the knots, as in Harrell, Regression Modeling Strategies, section 2.4.5.
    """
    last, before = knots[-1], knots[-2]
    span = (last - knots[0]) ** 2

    def cube(at: np.float64) -> NDArray[np.float64]:
        above: NDArray[np.float64] = np.maximum(x - at, 0)
        return above * above * above

    bends = [
        (cube(knot) - cube(before) * (last - knot) / (last - before) + cube(last) * (before - knot) / (last - before))
        / span
        for knot in knots[:-2]
    ]
    return np.column_stack([x, *bends])


def _ece(y: NDArray[np.float64], p: NDArray[np.float64], order: NDArray[np.intp]) -> float:
    y, p = y[order], p[order]
    edges = p[(np.arange(1, BINS) * len(p)) // BINS]  # a bin begins with the first row of its probability
    starts = np.unique(np.r_[0, np.searchsorted(p, edges, "left")])
    return float(np.abs(np.add.reduceat(y - p, starts)).sum() / len(p))


_Floats = NDArray[np.float64]
_Fit = tuple[_Floats, _Floats, _Floats]


def _logistic(design: _Floats, y: _Floats, offset: _Floats, start: _Floats | None) -> _Fit | None:
    """Return coefficients, inverse information and fitted probabilities, by Newton's method; None without a fit."""
    coefficients = np.zeros(design.shape[1]) if start is None else start
    # the likelihood costs more than the rest: compute it only where the plain steps do not settle
    fits = (_newton(design, y, offset, coefficients, guarded) for guarded in (False, True))
    return next((fit for fit in fits if fit is not None), None)


def _newton(design: _Floats, y: _Floats, offset: _Floats, coefficients: _Floats, guarded: bool) -> _Fit | None:
    likelihood = -np.inf
    step = np.zeros_like(coefficients)
    for _ in range(_STEPS if guarded else _QUICK):
        linear = design @ coefficients + offset
        if guarded:
            now = float((y * linear - np.logaddexp(0, linear)).sum())
            if now < likelihood - 1e-9 * abs(likelihood):  # overshot: half the way back
                step = step / 2
                coefficients = coefficients - step
                continue
            likelihood = now
        fitted = expit(linear)
        information = (design * (fitted * (1 - fitted))[:, None]).T @ design
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e15:
            return None
        inverse = np.asarray(np.linalg.inv(information), dtype=np.float64)
        step = inverse @ (design.T @ (y - fitted))
        coefficients = coefficients + step
        if np.abs(step).max() <= _CLOSE * max(1.0, np.abs(coefficients).max()):
            # a huge coefficient is one that runs to infinity; the fit only looks finished
            return None if np.abs(design @ coefficients + offset).max() > 300 else (coefficients, inverse, fitted)
    return None
