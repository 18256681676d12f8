"""The minimum of a logistic loss with L1 and L2 penalties: Newton's steps over the columns that matter.

With an L1 penalty most coefficients are zero. Only columns whose slope at zero is steeper than the penalty are worked
on, and more are added until there are no others (Tibshirani et al. 2012, Strong rules for discarding predictors in
lasso-type problems, section 7). Over these the loss is replaced by its second-order expansion, whose penalised minimum
is the next step (Lee, Sun and Saunders 2014, Proximal Newton-type methods). The second derivatives are dear and change
little from one penalty of a path to the next: they are those of an earlier step as long as steps with them do well.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv
from scipy.optimize import brentq, minimize
from scipy.special import expit

from conceptbridge.learn.penalised_columns import Columns, Values, Vector

#: iterations at most, and the relative change of the objective at which L-BFGS stops
ITERATIONS, TOLERANCE = 500, 1e-9
#: steps of L-BFGS that tell how the loss curves
REMEMBERED = 40
#: Newton's steps at most, the relative change of the objective after which the next would be too small to see, and the
#: share of the penalty by which a slope may miss its condition
NEWTON, SETTLED, SLACK = 60, 1e-6, 1e-4
#: a step with an older curvature has to bring the slopes so much closer to their conditions
CLOSER = 0.5
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
    return Descent(given, labels, offset, start).to(l1, l2)


class Descent:
    """Solutions of one penalty after another, each beginning at the one before. What was computed for one serves the
    next: the columns that matter, and how the loss curves over them."""

    def __init__(self, given: Columns, labels: NDArray[np.int8], offset: Vector, start: Solution) -> None:
        self.values, self.offset, self.start = given.values, offset, start
        self.before: Solution | None = None
        self.sign = np.where(labels == 1, 1.0, -1.0)
        self.working, self.chosen = np.zeros(0, np.int64), given.values.none()
        self.c, self.shift = np.zeros(0), start.shift
        self.curved: _Curvature | None = None
        self.logits = offset + given.values.times(start.coefficients) + start.shift
        self.slopes = self._slopes()

    def to(self, l1: float, l2: float) -> Solution:
        """The minimum of these penalties, from the last one on (``solve``)."""
        if l1 == 0:
            now = _descend(self.values, self.sign, self.offset, self.start, self.before, l2)
            self.before, self.start = self.start, now
            return now
        iterations = 0
        if not len(self.working):
            self._join(np.flatnonzero(self.start.coefficients))
            self.c = self.start.coefficients[self.working]
        self._part(np.flatnonzero((self.c == 0) & (np.abs(self.slopes[self.working]) <= l1 * (1 + SLACK))))
        for attempt in range(ITERATIONS):
            steep = np.abs(self.slopes)
            steep[self.working] = 0
            missed = np.flatnonzero(steep > l1 * (1 + SLACK))
            if attempt and not len(missed):
                break
            steepest = missed[np.argsort(-steep[missed], kind="stable")]
            self._join(np.sort(steepest[: max(ADDED, len(self.working) // 2)]))
            iterations += self._newton(l1, l2)
            self.slopes = self._slopes()
        c = np.zeros(self.values.width)
        c[self.working] = self.c
        self.start = Solution(c, self.shift, iterations)
        return self.start

    def _join(self, columns: NDArray[np.int64]) -> None:
        if len(columns):
            self.chosen.join(columns)
            self.working = np.concatenate([self.working, columns])
            self.c = np.append(self.c, np.zeros(len(columns)))

    def _part(self, places: NDArray[np.int64]) -> None:
        """Work no longer on the columns at these places among the working ones."""
        if not len(places):
            return
        kept = np.setdiff1d(np.arange(len(self.c)), places)
        self.chosen.keep(kept)
        self.working, self.c = self.working[kept], self.c[kept]
        if self.curved is not None:
            kept = kept[kept < len(self.curved.cross)]
            products, cross = self.curved.products[np.ix_(kept, kept)], self.curved.cross[kept]
            self.curved = replace(self.curved, products=products, cross=cross)

    def _slopes(self) -> Vector:
        """Those of the mean loss, of all columns."""
        return self.values.summed(-self.sign * expit(-self.sign * self.logits) / len(self.sign), roughly=True)

    def _newton(self, l1: float, l2: float) -> int:
        """Minimise over the working columns by Newton's steps, each as long as it makes the objective lower; return how
        many it took. The curvature is that of an earlier step as long as steps bring the slopes closer to theirs."""
        value, before = self._objective(self.logits, self.c, l1, l2), np.inf
        for step in range(NEWTON):
            slope = -self.sign * expit(-self.sign * self.logits) / len(self.sign)
            by_c, by_shift = self.chosen.summed(slope) + l2 * self.c, float(slope.sum())
            missing = np.where(self.c == 0, np.abs(by_c) - l1, np.abs(by_c + l1 * np.sign(self.c)))
            missed = max(missing.max(initial=0.0), abs(by_shift))
            if missed < SLACK * l1:
                return step
            now = self._curvature(anew=missed > CLOSER * before)
            before = missed
            products = now.products + l2 * np.eye(len(self.c)) - np.outer(now.cross, now.cross) / now.total
            # with the best shift for each c
            goal = lasso_step(products, by_c - by_shift / now.total * now.cross, self.c, l1)
            towards = goal - self.c
            also = -(by_shift + float(now.cross @ towards)) / now.total
            along = self.chosen.times(towards) + also
            length = 1.0
            while (lower := self._ahead(length, along, towards, l1, l2)) > value and length > 1e-4:
                length /= 2
            if lower >= value:
                if now.fresh:
                    return step
                before = 0.0  # the curvature was too old
                continue
            self.c = goal if length == 1 else self.c + length * towards  # which keeps zeros
            self.shift, self.logits = self.shift + length * also, self.logits + length * along
            gained, value = value - lower, lower
            if gained < SETTLED * value and now.fresh:
                break
        return step + 1

    def _ahead(self, length: float, along: Vector, towards: Vector, l1: float, l2: float) -> float:
        return self._objective(self.logits + length * along, self.c + length * towards, l1, l2)

    def _objective(self, logits: Vector, c: Vector, l1: float, l2: float) -> float:
        return float(np.logaddexp(0, -self.sign * logits).mean() + l1 * np.abs(c).sum() + l2 / 2 * (c @ c))

    def _curvature(self, anew: bool) -> "_Curvature":
        """How the loss curves over the working columns: here if ``anew``; else that of before, with what has joined."""
        width, now = len(self.working), self.curved
        if now is None or anew:
            probability = expit(self.logits)
            weight = np.maximum(probability * (1 - probability), 1e-6) / len(self.sign)
            now = _Curvature(
                weight, float(weight.sum()), self.chosen.curvature(weight), self.chosen.summed(weight), True
            )
        elif len(now.cross) < width:
            first = len(now.cross)
            more = self.chosen.curvature(now.weight, first)
            products = np.block([[now.products, more[:first]], [more[:first].T, more[first:]]])
            now = replace(now, products=products, cross=self.chosen.summed(now.weight))
        self.curved = replace(now, fresh=False)
        return now


@dataclass(frozen=True)
class _Curvature:
    """The ``products`` (columns, columns) of the working columns with each ``weight`` (rows,), their weighted sums
    ``cross``, and the ``total`` weight; ``fresh``: the weights are those of the logits now."""

    weight: Vector
    total: float
    products: Vector
    cross: Vector
    fresh: bool


def lasso_step(curvature: Vector, slope: Vector, c: Vector, l1: float, slack: float = SLACK / 10) -> Vector:
    """The x that minimises slope * (x - c) + (x - c) * curvature * (x - c) / 2 + l1 * sum|x|.

    Of the coordinates that are not zero, whose signs are taken as known, the minimum is that of a system of equations;
    one that would change its sign stops at zero, and zeros whose slopes are steeper than ``l1``, by more than the share
    ``slack``, join (Lee et al. 2007,
    Efficient sparse coding algorithms, section 3). Each change of a sign lowers the objective, so it may end before the
    minimum: nearly collinear columns can take each other's place thousands of times.
    """
    x, wanted = c.copy(), curvature @ c - slope  # at the minimum curvature @ x is that, less the penalty's slope
    ridge, signs, joining = 1e-10 * np.trace(curvature) / max(len(c), 1) + 1e-300, np.sign(x), JOINING

    def objective(x: Vector) -> float:
        return float(x @ (curvature @ x / 2 - wanted) + l1 * np.abs(x).sum())

    for _ in range(CHANGES):
        at = np.flatnonzero(signs)
        if len(at):
            goal = _solved(curvature[np.ix_(at, at)], wanted[at] - l1 * signs[at], ridge)
            moved = goal - x[at]
            crossing = (np.sign(goal) != signs[at]) & (moved != 0)
            if crossing.any():
                trial = x.copy()
                trial[at] = np.where(crossing, 0.0, goal)
                if objective(trial) < objective(x):  # all at once
                    x, signs = trial, np.sign(trial)
                    continue
                reach = np.where(crossing, -x[at] / np.where(moved == 0, 1, moved), np.inf)
                first = float(reach.min())
                x[at] += min(first, 1.0) * moved
                gone = at[reach <= first * (1 + 1e-12)]
                x[gone], signs[gone] = 0.0, 0.0
                if first == 0:  # what has joined together can stand in each other's way; one alone cannot
                    joining = 1
                continue
            x[at] = goal
        by_x = curvature @ x - wanted
        by_x[at] = 0
        steepest = np.argsort(-np.abs(by_x), kind="stable")[:joining]
        steepest = steepest[np.abs(by_x[steepest]) > l1 * (1 + slack)]
        if not len(steepest):
            break
        signs[steepest] = -np.sign(by_x[steepest])
    return x


def _solved(matrix: Vector, wanted: Vector, ridge: float) -> Vector:
    """The solution of equations whose matrix is symmetric and, but for rounding, positive definite: what is missing to
    that is added to its diagonal."""
    while True:
        given = matrix.copy()
        given[np.diag_indices(len(given))] += ridge
        _, solution, failed = dposv(given.T, wanted, overwrite_a=True)
        if not failed:
            return np.asarray(solution)
        ridge *= 100


def _descend(
    features: Values, sign: Vector, offset: Vector, start: Solution, before: Solution | None, l2: float
) -> Solution:
    """Minimise without L1, by L-BFGS, from ``start``, the solution of the penalty before; or from where the way there
    from the one ``before`` leads on to, if that is better."""

    def objective(x: Vector) -> tuple[float, Vector]:
        c = x[:-1]
        margin = sign * (offset + features.times(c, roughly=True) + x[-1])
        slope = -sign * expit(-margin) / len(sign)
        value = float(np.logaddexp(0, -margin).mean() + l2 / 2 * (c @ c))
        return value, np.append(features.summed(slope, roughly=True) + l2 * c, slope.sum())

    first = np.append(start.coefficients, start.shift)
    if before is not None:
        further = 2 * first - np.append(before.coefficients, before.shift)
        first = further if objective(further)[0] < objective(first)[0] else first
    options = {"maxiter": ITERATIONS, "ftol": TOLERANCE, "maxcor": REMEMBERED}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    return Solution(found.x[:-1], float(found.x[-1]), int(found.nit))
