"""Logistic regression with L1 and L2 penalties: on which tokens a row has (one-hot: the OHDSI baseline), or on the mean
and maximum of their vectors (a linear probe).

At a target, coefficients are corrections to the source's: sparse ones (tune-head), or small ones, which is a prior
whose mean is the source's coefficients (tune-all).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize
from scipy.special import expit

from conceptbridge.learn.pooled_features import Features, pool, presence
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import Run, cross_entropy

logger = logging.getLogger(__name__)

Vector = NDArray[np.float64]

#: iterations of the solver at most, and the relative change of the objective at which it stops
ITERATIONS, TOLERANCE = 500, 1e-9
#: columns that are added at once at least, and how much steeper than the penalty a slope at zero may be left
ADDED, SLACK = 100, 1e-3
#: the least standard deviation of a dense column that is used, and the columns that are standardised at once
VARIES, SIDE_BY_SIDE = 1e-9, 256


@dataclass(frozen=True)
class Regression:
    """Coefficients (members, features) and intercepts (members,), the seed and the solver's iterations of each member
    and its loss on the rows that checked it. Nothing in it is drawn, so that seeds do not differ."""

    coefficients: Vector
    intercepts: Vector
    seeds: list[int]
    kept: list[int]
    losses: list[float]
    steps: int

    def take(self, members: Sequence[int]) -> "Regression":
        """The regression of these members, in this order."""
        at = list(members)
        return Regression(
            self.coefficients[at],
            self.intercepts[at],
            [self.seeds[i] for i in at],
            [self.kept[i] for i in at],
            [self.losses[i] for i in at],
            self.steps,
        )

    def join(self, others: Sequence["Regression"]) -> "Regression":
        """The regression of these members and those of ``others``."""
        each = [self, *others]
        return Regression(
            np.concatenate([one.coefficients for one in each]),
            np.concatenate([one.intercepts for one in each]),
            [seed for one in each for seed in one.seeds],
            [kept for one in each for kept in one.kept],
            [loss for one in each for loss in one.losses],
            sum(one.steps for one in each),
        )

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``coefficients.safetensors`` to ``folder`` and return what model.json has to hold."""
        arrays = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "coefficients.safetensors"
        )
        return {"seeds": self.seeds, "kept": self.kept}


def fit(examples: Examples, runs: Sequence[Run]) -> Regression:
    """One regression a run, from ``penalty`` (of the mean cross-entropy) and ``l1_share`` (the rest of it is L2)."""
    features = _features(examples)
    start = Regression(
        np.zeros((len(runs), features.shape[1])), np.zeros(len(runs)), [run.seed for run in runs], [], [], 0
    )
    return _correct(start, features, examples.labels, runs)


def tune(
    source: Regression, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
) -> tuple[Regression, list[Regression]]:
    """Correct the source's members, one a run, by the ``penalty`` on corrections: its settings make them sparse or
    small, whether ``head_only`` or not. Where that makes the loss on the checked rows no lower, the source's
    coefficients are kept.

    The solver goes straight to its optimum, so there is no path along ``depths``.
    """
    made = _correct(source, _features(examples), examples.labels, runs)
    return made, []


def predict(regression: Regression, examples: Examples) -> NDArray[np.float64]:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    return np.ascontiguousarray(expit(_scores(regression, _features(examples))))


def load(folder: Path, description: Mapping[str, Any]) -> Regression:
    """The regression that ``Regression.save`` wrote."""
    arrays = load_file(folder / "coefficients.safetensors")
    losses = [float("nan")] * len(description["seeds"])
    return Regression(
        arrays["coefficients"], arrays["intercepts"], description["seeds"], description["kept"], losses, 0
    )


def _scores(regression: Regression, features: Features) -> Vector:
    """Logits: shape (members, rows)."""
    found: Vector = (features @ regression.coefficients.T + regression.intercepts).T
    return found


def _features(examples: Examples) -> Features:
    if isinstance(examples.vectors, OneHot):
        return presence(examples)
    return pool(examples, counts=False)


def _correct(
    start: Regression,
    features: Features,
    labels: NDArray[np.int8],
    runs: Sequence[Run],
) -> Regression:
    coefficients, intercepts = start.coefficients.copy(), start.intercepts.copy()
    kept: list[int] = []
    losses: list[float] = []
    steps = 0
    done: dict[Any, int] = {}
    before = _scores(start, features) if start.kept else np.zeros((len(runs), len(labels)))
    latest: tuple[Any, Columns, Features] | None = None  # of the runs of one part, which follow each other
    for i, run in enumerate(runs):
        strength, share = run.settings["penalty"], run.settings["l1_share"]
        # a run that differs in its seed alone has the same solution
        same = (id(run.part), strength, share, start.coefficients[i].tobytes())
        if same in done:
            first = done[same]
            coefficients[i], intercepts[i] = coefficients[first], intercepts[first]
            kept.append(kept[first])
            losses.append(losses[first])
            continue
        done[same] = i
        train, check = run.part.train, run.part.check
        if latest is None or latest[0] is not run.part:
            latest = run.part, columns(features[train]), features[check]
        _, given, checked = latest
        change, shift, iterations = solve(
            given, labels[train], before[i, train], strength * share, strength * (1 - share)
        )
        tuned = [(coefficients[i] + change, intercepts[i] + shift, iterations)]
        if start.kept:
            tuned.append((start.coefficients[i], start.intercepts[i], 0))
        loss = [cross_entropy(labels[check], expit(checked @ c + b)) for c, b, _ in tuned]
        best = int(np.argmin(loss))
        coefficients[i], intercepts[i], n = tuned[best]
        kept.append(n)
        losses.append(loss[best])
        steps += iterations
    logger.info("%d runs, lowest validation losses %s", len(runs), np.round(losses, 4))
    return Regression(coefficients, intercepts, [run.seed for run in runs], kept, losses, steps)


@dataclass(frozen=True)
class Columns:
    """Features as the penalty sees them, shape (rows, used): dense ones less their mean over these rows and divided by
    their standard deviation, sparse ones as they are; none that never varies. ``used``, ``center`` and ``scale`` are of
    all features."""

    values: Any
    used: NDArray[np.bool_]
    center: Vector
    scale: Vector


def columns(features: Features) -> Columns:
    """The columns of ``features``, dense or sparse, of shape (rows, features)."""
    width = features.shape[1]
    if not isinstance(features, np.ndarray):
        used = np.asarray(features.sum(axis=0)).ravel() > 0
        return Columns(features[:, used].astype(np.float64), used, np.zeros(width), np.ones(width))
    center, scale = np.empty(width), np.empty(width)
    # by columns, as they are chosen and summed by columns
    values = np.empty(features.shape, np.float32, order="F")
    for first in range(0, width, SIDE_BY_SIDE):
        some = slice(first, first + SIDE_BY_SIDE)
        wide = features[:, some].astype(np.float64)
        center[some], scale[some] = wide.mean(axis=0), wide.std(axis=0)
        values[:, some] = (wide - center[some]) / np.maximum(scale[some], VARIES)
    used = scale > VARIES
    return Columns(values if used.all() else values[:, used], used, center, scale)


def solve(given: Columns, labels: NDArray[np.int8], offset: Vector, l1: float, l2: float) -> tuple[Vector, float, int]:
    """Minimise mean cross-entropy + ``l1`` * sum|c| + ``l2`` / 2 * sum c^2 over c, and an intercept that is not
    penalised.

    Returns the coefficients on the features' own scale, the intercept and the iterations. With ``l1`` most coefficients
    are zero: only columns whose slope at zero is steeper than ``l1`` are worked on, and more are added until there are
    no others (Tibshirani et al. 2012, Strong rules, section 7).
    """
    sign = np.where(labels == 1, 1.0, -1.0)
    values, width = given.values, given.values.shape[1]
    c, shift, working = np.zeros(width), 0.0, np.arange(0 if l1 > 0 else width)
    iterations = 0
    while True:
        worked_on = values[:, working].astype(np.float64)
        c[working], shift, more = _descend(worked_on, sign, offset, c[working], shift, l1, l2)
        iterations += more
        if l1 == 0 or iterations >= ITERATIONS:
            break
        slope = sign * expit(-sign * (offset + worked_on @ c[working] + shift)) / len(sign)
        steep = np.abs(values.T @ slope.astype(values.dtype))
        steep[working] = 0
        missed = np.flatnonzero(steep > l1 * (1 + SLACK))
        if not len(missed):
            break
        steepest = missed[np.argsort(-steep[missed], kind="stable")]
        working = np.sort(np.concatenate([working, steepest[: max(ADDED, len(working))]]))
    made = np.zeros(len(given.used))
    made[given.used] = c / given.scale[given.used]
    return made, float(shift - given.center @ made), iterations


def _descend(
    features: Any, sign: Vector, offset: Vector, c: Vector, shift: float, l1: float, l2: float
) -> tuple[Vector, float, int]:
    """Minimise by L-BFGS-B, from ``c`` and ``shift`` on; the absolute values are smooth where a coefficient is the
    difference of two numbers that are not negative, which the bounds keep so."""
    width, twice = len(c), l1 > 0

    def objective(x: Vector) -> tuple[float, Vector]:
        c = x[:width] - x[width:-1] if twice else x[:-1]
        margin = sign * (offset + features @ c + x[-1])
        slope = -sign * expit(-margin) / len(sign)
        by_c = features.T @ slope + l2 * c
        value = float(np.logaddexp(0, -margin).mean() + l2 / 2 * (c @ c) + l1 * x[:-1].sum() * twice)
        return value, np.concatenate([by_c + l1, l1 - by_c, [slope.sum()]] if twice else [by_c, [slope.sum()]])

    start = np.concatenate([np.maximum(c, 0), np.maximum(-c, 0), [shift]] if twice else [c, [shift]])
    bounds = [(0, None)] * (2 * width) + [(None, None)] if twice else None
    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS, "ftol": TOLERANCE}
    )
    made = found.x[:width] - found.x[width:-1] if twice else found.x[:-1]
    return made, float(found.x[-1]), int(found.nit)
