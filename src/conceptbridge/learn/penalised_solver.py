"""The minimum of a logistic loss with L1 and L2 penalties: Newton's steps over the columns that matter.

With an L1 penalty most coefficients are zero. Only columns whose slope at zero is steeper than the penalty are worked
on, and more are added until there are no others (Tibshirani et al. 2012, Strong rules for discarding predictors in
lasso-type problems, section 7). Over these the loss is replaced by its second-order expansion, whose penalised minimum
is the next step (Lee, Sun and Saunders 2014, Proximal Newton-type methods).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit

from conceptbridge.learn.penalised_columns import Columns, Values, Vector

#: iterations at most, and the relative change of the objective at which L-BFGS stops
ITERATIONS, TOLERANCE = 500, 1e-9
#: Newton's steps at most, the relative change of the objective after which the next would be too small to see, and the
#: share of the penalty by which a slope may miss its condition
NEWTON, SETTLED, SLACK = 30, 1e-6, 1e-3
#: signs that change on the way of one Newton step, at most
CHANGES = 100
#: coordinates that join at once
JOINING = 20
#: columns that are added at once at least
ADDED = 20
#: of a penalty without L1 there is no largest useful one: that of this share of L1 is taken (as glmnet does)
LEAST_L1 = 0.001


@dataclass(frozen=True)
class Solution:
    """Coefficients of the used columns, as the penalty sees them, the intercept, and what it took."""

    coefficients: Vector
    shift: float
    iterations: int

    def on_features(self, given: Columns) -> tuple[Vector, float]:
        """The coefficients on the features' own scale, (features,), and the intercept."""
        made = np.zeros(len(given.used))
        made[given.used] = self.coefficients / given.scale[given.used]
        return made, float(self.shift - given.center @ made)


def no_coefficients(given: Columns, labels: NDArray[np.int8], offset: Vector) -> Solution:
    """Only the intercept; both classes have to be there."""
    observed = labels.mean()
    low, high = -50 - offset.max(), 50 - offset.min()
    shift = brentq(lambda a: expit(offset + a).mean() - observed, low, high)
    return Solution(np.zeros(given.values.width), float(shift), 0)


def largest_penalty(
    given: Columns, labels: NDArray[np.int8], offset: Vector, start: Solution, l1_share: float
) -> float:
    """The smallest penalty at which all coefficients are zero (Friedman et al. 2010, section 2.5); ``start`` is
    ``no_coefficients``. Less than ``LEAST_L1`` of L1 counts as so much."""
    slope = (expit(offset + start.shift) - labels) / len(labels)
    steepest = np.abs(given.values.summed(slope, roughly=True)).max(initial=0.0)
    return max(float(steepest), np.finfo(float).tiny) / max(l1_share, LEAST_L1)


def solve(given: Columns, labels: NDArray[np.int8], offset: Vector, l1: float, l2: float, start: Solution) -> Solution:
    """Minimise mean cross-entropy + ``l1`` * sum|c| + ``l2`` / 2 * sum c^2 over c, and an intercept that is not
    penalised, from ``start`` on; ``offset`` (rows,) is added to the logits."""
    sign = np.where(labels == 1, 1.0, -1.0)
    if l1 == 0:
        return _descend(given.values, sign, offset, start, l2)
    values = given.values
    c, shift, iterations = start.coefficients.copy(), start.shift, 0
    working = np.flatnonzero(c)
    logits = offset + values.times(c) + shift
    for attempt in range(ITERATIONS):
        slope = -sign * expit(-sign * logits) / len(sign)
        steep = np.abs(values.summed(slope, roughly=True))
        steep[working] = 0
        missed = np.flatnonzero(steep > l1 * (1 + SLACK))
        if attempt and not len(missed):
            break
        steepest = missed[np.argsort(-steep[missed], kind="stable")]
        working = np.sort(np.concatenate([working, steepest[: max(ADDED, len(working) // 2)]]))
        worked_on = values.chosen(working)
        c[working], shift, more = _newton(worked_on, sign, offset, c[working], shift, l1, l2)
        iterations += more
        logits = offset + worked_on.times(c[working]) + shift
    return Solution(c, shift, iterations)


def _newton(
    features: Values, sign: Vector, offset: Vector, c: Vector, shift: float, l1: float, l2: float
) -> tuple[Vector, float, int]:
    """Minimise over all of the ``features`` by Newton's steps, each as long as it makes the objective lower."""

    def objective(logits: Vector, c: Vector) -> float:
        return float(np.logaddexp(0, -sign * logits).mean() + l1 * np.abs(c).sum() + l2 / 2 * (c @ c))

    logits = offset + features.times(c) + shift
    value = objective(logits, c)
    for step in range(1, NEWTON + 1):
        probability = expit(logits)
        slope = (probability - (sign > 0)) / len(sign)
        weight = np.maximum(probability * (1 - probability), 1e-6) / len(sign)
        by_c, by_shift, total = features.summed(slope) + l2 * c, float(slope.sum()), float(weight.sum())
        missing = np.where(c == 0, np.maximum(np.abs(by_c) - l1, 0), np.abs(by_c + l1 * np.sign(c)))
        if max(missing.max(initial=0.0), abs(by_shift)) < SLACK * l1:
            return c, shift, step - 1
        curvature, cross = features.curvature(weight)
        curvature += l2 * np.eye(len(c)) - np.outer(cross, cross) / total  # with the best shift for each c
        goal = lasso_step(curvature, by_c - by_shift / total * cross, c, l1)
        towards = goal - c
        also = -(by_shift + float(cross @ towards)) / total
        along = features.times(towards) + also
        length = 1.0
        while (lower := objective(logits + length * along, c + length * towards)) > value and length > 1e-4:
            length /= 2
        if lower >= value:
            return c, shift, step
        c = goal if length == 1 else c + length * towards  # which keeps zeros
        shift, logits = shift + length * also, logits + length * along
        gained, value = value - lower, lower
        if gained < SETTLED * value:
            break
    return c, shift, step


def lasso_step(curvature: Vector, slope: Vector, c: Vector, l1: float, slack: float = SLACK / 10) -> Vector:
    """The x that minimises slope * (x - c) + (x - c) * curvature * (x - c) / 2 + l1 * sum|x|.

    Of the coordinates that are not zero, whose signs are taken as known, the minimum is that of a system of equations;
    one that would change its sign stops at zero, and zeros whose slopes are steeper than ``l1``, by more than the share
    ``slack``, join (Lee et al. 2007,
    Efficient sparse coding algorithms, section 3). Each change of a sign lowers the objective, so it may end before the
    minimum: nearly collinear columns can take each other's place thousands of times.
    """
    x = c.copy()
    signs, joining = np.sign(x), JOINING
    for _ in range(CHANGES):
        active = signs != 0
        if active.any():
            at = np.flatnonzero(active)
            # of all active: curvature (x - c) = - slope - l1 sign
            wanted = -slope[at] - l1 * signs[at] + curvature[np.ix_(at, at)] @ c[at]
            wanted += curvature[np.ix_(at, ~active)] @ c[~active]
            block = curvature[np.ix_(at, at)] + 1e-10 * np.trace(curvature) / len(c) * np.eye(len(at))
            goal = np.linalg.solve(block, wanted)
            moved = goal - x[at]
            crossing = (np.sign(goal) != signs[at]) & (moved != 0)
            if crossing.any():
                reach = np.where(crossing, -x[at] / np.where(moved == 0, 1, moved), np.inf)
                first = float(reach.min())
                x[at] += min(first, 1.0) * moved
                gone = at[reach <= first * (1 + 1e-12)]
                x[gone], signs[gone] = 0.0, 0.0
                if first == 0:  # what has joined together can stand in each other's way; one alone cannot
                    joining = 1
                continue
            x[at] = goal
        by_x = slope + curvature @ (x - c)
        by_x[signs != 0] = 0
        steepest = np.argsort(-np.abs(by_x), kind="stable")[:joining]
        steepest = steepest[np.abs(by_x[steepest]) > l1 * (1 + slack)]
        if not len(steepest):
            break
        signs[steepest] = -np.sign(by_x[steepest])
    return x


def _descend(features: Values, sign: Vector, offset: Vector, start: Solution, l2: float) -> Solution:
    """Minimise without L1, by L-BFGS."""

    def objective(x: Vector) -> tuple[float, Vector]:
        c = x[:-1]
        margin = sign * (offset + features.times(c) + x[-1])
        slope = -sign * expit(-margin) / len(sign)
        value = float(np.logaddexp(0, -margin).mean() + l2 / 2 * (c @ c))
        return value, np.append(features.summed(slope) + l2 * c, slope.sum())

    found = minimize(
        objective,
        np.append(start.coefficients, start.shift),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": ITERATIONS, "ftol": TOLERANCE},
    )
    return Solution(found.x[:-1], float(found.x[-1]), int(found.nit))
