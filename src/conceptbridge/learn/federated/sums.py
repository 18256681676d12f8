"""Logistic regression with penalties of the rows of several sites, by sums over each site's rows: of the loss, of its
slope by each coefficient, and of its curvature. What is found is the optimum of all rows together, to rounding.

The path of penalties is that of ``penalised_regression``; each optimum is found by Newton's steps on the coefficients
that are not zero or would not stay so (as in ``penalised_solver``), and without L1 by L-BFGS. On one-hot columns such
sums tell how many rows have two tokens at once, which may be few, so there they are not made. On vectors a site leaves
out of its training rows the tokens that fewer persons than ``min_cell_count`` have with the event, or without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from conceptbridge.learn.feature_blocks import Blocks
from conceptbridge.learn.federated.answers import Answer
from conceptbridge.learn.federated.client import LocalRows
from conceptbridge.learn.federated.sites import Sites, summed
from conceptbridge.learn.input_space import Space
from conceptbridge.learn.learner import Learner
from conceptbridge.learn.penalised_columns import Standardised, Vector, scales
from conceptbridge.learn.penalised_regression import Kept, Regression, features_of, go_down_path
from conceptbridge.learn.penalised_solver import ADDED, LEAST_L1, lasso_step
from conceptbridge.learn.pooled_features import scale_groups
from conceptbridge.learn.search import WITHIN, Run

#: whether a token needs enough persons with the event, and enough without it
BY_CLASS = True
#: Newton's steps at most, the share of the penalty by which a slope may miss its condition, on the path and at the
#: penalty that is kept, and the relative change of the objective that is no change
STEPS, ON_THE_WAY, SLACK, NO_CHANGE = 100, 1e-3, 1e-7, 1e-14
#: iterations of L-BFGS at most, and the largest slope at which it ends
ITERATIONS, LEVEL = 2000, 1e-11


def refusal(onehot: bool) -> str | None:
    """Why there is no model on one-hot columns, or on vectors."""
    if not onehot:
        return None
    return "sums over one-hot columns tell how many rows have two tokens at once, which may be few"


@dataclass(frozen=True)
class _At:
    """The mean loss at some coefficients and an intercept, its slopes, and what of its curvature was asked for."""

    coefficients: Vector
    shift: float
    loss: float
    slope: Vector
    shift_slope: float
    curvature: Vector | None = None
    cross: Vector | None = None
    weight: float = 0.0


def train(learner: Learner[Any], sites: Sites, space: Space, runs: Sequence[Run]) -> Regression:
    """One regression a run, at the penalty of its path that the sites' validation rows like best.

    Runs differ by their seeds only where these draw the vectors anew.
    """
    done: dict[Any, tuple[Kept, Vector, float]] = {}
    found = []
    for run in runs:
        draw = run.seed if sites.draws > 1 else 1
        same = (draw, *sorted(run.settings.items()))
        if same not in done:
            done[same] = _Together(sites, draw).path(run)
        found.append(done[same])
    kept = [one for one, _, _ in found]
    return Regression(
        np.stack([coefficients for _, coefficients, _ in found]),
        np.array([intercept for _, _, intercept in found]),
        [run.seed for run in runs],
        [one.at for one in kept],
        [one.loss for one in kept],
        sum(one.steps for one, _, _ in done.values()),
        [one.capped for one in kept],
    )


class _Together:
    """The columns of all sites' training rows in one draw of the vectors, each standardised by all rows."""

    def __init__(self, sites: Sites, draw: int) -> None:
        self.sites, self.draw, self.rows = sites, draw, float(sites.rows.sum())
        self.center = summed([answer["total"] for answer in self._ask("columns")]) / self.rows
        squares = summed([answer["squares"] for answer in self._ask("spread", center=self.center)])
        asked = {"center": self.center, "spread": np.sqrt(squares / self.rows)}
        self.scale: Vector = self._ask("standardise", **asked)[0]["scale"]

    def _ask(self, question: str, **asked: Any) -> list[Answer]:
        return self.sites.ask(question, {"draw": self.draw, **asked})

    def path(self, run: Run) -> tuple[Kept, Vector, float]:
        """What is kept of the run's path: coefficients and intercept on the features' own scale."""
        share = run.settings["l1_share"]
        start = self.at(np.zeros(len(self.scale)), float(logit(self.sites.events.sum() / self.rows)))
        largest = max(float(np.abs(start.slope).max(initial=0.0)), np.finfo(float).tiny) / max(share, LEAST_L1)
        passed = [(start, largest)]

        def next_on_path(strength: float) -> tuple[Vector, float, int]:
            now, more = self.minimum(strength * share, strength * (1 - share), passed[-1][0], ON_THE_WAY)
            passed.append((now, strength))
            return *self.on_features(now), more

        nothing = Kept(1, float("inf"), np.zeros(len(self.scale)), 0.0, WITHIN, 0)
        checked = bool(self.sites.check_rows.any())
        kept = go_down_path(next_on_path, self.loss, checked, largest, run.settings, nothing)
        near, strength = passed[kept.at]
        exact, _ = self.minimum(strength * share, strength * (1 - share), near, SLACK)
        return kept, *self.on_features(exact)

    def on_features(self, at: _At) -> tuple[Vector, float]:
        """Coefficients on the features' own scale, and the intercept."""
        coefficients = at.coefficients / self.scale
        return coefficients, float(at.shift - self.center @ coefficients)

    def loss(self, coefficients: Vector, intercept: float) -> float:
        """Mean cross-entropy on the sites' validation rows; infinite where there are none."""
        if not self.sites.check_rows.any():
            return float("inf")
        answers = self._ask("check", coefficients=coefficients, shift=intercept)
        share = self.sites.check_rows / self.sites.check_rows.sum()
        return float(summed([answer.get("loss") for answer in answers], share))

    def at(self, c: Vector, shift: float, working: Any = None) -> _At:
        """The loss of all rows at the coefficients, with the curvature of the ``working`` ones."""
        answers = self._ask("sums", coefficients=c, shift=shift, working=working)
        sums = {name: summed([answer[name] for answer in answers]) / self.rows for name in answers[0]}
        curved = {name: sums.get(name) for name in ("curvature", "cross")}
        weight = float(sums.get("weight", np.array(0.0)))
        return _At(c, shift, float(sums["loss"]), sums["slope"], float(sums["shift_slope"]), **curved, weight=weight)

    def minimum(self, l1: float, l2: float, start: _At, slack: float) -> tuple[_At, int]:
        """Minimise mean cross-entropy + ``l1`` * sum|c| + ``l2`` / 2 * sum c^2, and an intercept that is not penalised;
        and how many steps it took."""
        return self._newton(l1, l2, start, slack) if l1 else self._descend(l2, start)

    def _newton(self, l1: float, l2: float, now: _At, slack: float) -> tuple[_At, int]:
        def objective(at: _At) -> float:
            return (
                at.loss + l1 * float(np.abs(at.coefficients).sum()) + l2 / 2 * float(at.coefficients @ at.coefficients)
            )

        for step in range(STEPS):
            slope = now.slope + l2 * now.coefficients
            c = now.coefficients
            missing = np.where(c == 0, np.maximum(np.abs(slope) - l1, 0), np.abs(slope + l1 * np.sign(c)))
            if max(missing.max(initial=0.0), abs(now.shift_slope)) <= slack * l1:
                return now, step
            working = np.flatnonzero(c)
            steep = np.flatnonzero((c == 0) & (missing > 0))
            steep = steep[np.argsort(-missing[steep], kind="stable")][: max(ADDED, len(working) // 2)]
            working = np.sort(np.concatenate([working, steep]))
            curved = self.at(c, now.shift, working)
            assert curved.curvature is not None and curved.cross is not None
            curvature = (
                curved.curvature + l2 * np.eye(len(working)) - np.outer(curved.cross, curved.cross) / curved.weight
            )
            of_working = slope[working] - now.shift_slope / curved.weight * curved.cross
            towards = lasso_step(curvature, of_working, c[working], l1, slack / 10) - c[working]
            also = -(now.shift_slope + float(curved.cross @ towards)) / curved.weight
            before, length = objective(now), 1.0
            while True:
                further = c.copy()
                further[working] += length * towards
                made = self.at(further, now.shift + length * also)
                if objective(made) <= before * (1 + NO_CHANGE) or length < 1e-4:
                    break
                length /= 2
            if objective(made) > before * (1 + NO_CHANGE):
                return now, step
            if length == 1:  # coefficients that a step ends at zero are exactly that
                gone = np.abs(c[working] + towards) == 0
                made.coefficients[working[gone]] = 0.0
            now = made
        return now, STEPS

    def _descend(self, l2: float, start: _At) -> tuple[_At, int]:
        def objective(x: Vector) -> tuple[float, Vector]:
            at = self.at(x[:-1], float(x[-1]))
            return at.loss + l2 / 2 * float(x[:-1] @ x[:-1]), np.append(at.slope + l2 * x[:-1], at.shift_slope)

        found = minimize(
            objective,
            np.append(start.coefficients, start.shift),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "ftol": 0, "gtol": LEVEL},
        )
        return self.at(found.x[:-1], float(found.x[-1])), int(found.nit)


def participant(learner: Learner[Any], local: LocalRows) -> "Participant":
    """What this does at a site."""
    return Participant(local)


class Participant:
    """A site that sums over its rows."""

    def __init__(self, local: LocalRows) -> None:
        self.local, self.draw = local, 0

    def answer(self, question: str, asked: dict[str, Any]) -> Answer:
        """Answer with sums over the training rows, or the loss on those that check."""
        self._turn_to(asked["draw"])
        if question == "columns":
            return {"total": self.given.summed(np.ones(self.given.shape[0]))}
        if question == "spread":
            return {"squares": self.given.spread(asked["center"]) ** 2 * self.given.shape[0]}
        if question == "standardise":
            self.columns = Standardised(self.given, asked["center"], scales(asked["spread"], self.groups))
            return {"scale": self.columns.scale}
        if question == "check":
            return self._check(asked["coefficients"], asked["shift"])
        assert question == "sums"
        return self._sums(asked["coefficients"], asked["shift"], asked["working"])

    def _turn_to(self, draw: int) -> None:
        if draw == self.draw:
            return
        if self.draw:  # of all draws they would fill the memory
            for examples in (self.local.labelled[self.draw - 1], self.local.checks[self.draw - 1]):
                examples.cache.clear()
        examples, self.draw = self.local.labelled[draw - 1], draw
        features = features_of(examples)[self.local.train]
        self.given = Blocks.of(features) if isinstance(features, np.ndarray) else features
        self.groups = scale_groups(examples)
        self.sign = np.where(examples.labels[self.local.train] == 1, 1.0, -1.0)

    def _sums(self, c: Vector, shift: float, working: Any) -> Answer:
        logits = self.columns.times(c) + shift
        by_row = -self.sign * expit(-self.sign * logits)
        answer: Answer = {
            "loss": np.array(np.logaddexp(0, -self.sign * logits).sum()),
            "slope": self.columns.summed(by_row),
            "shift_slope": np.array(by_row.sum()),
        }
        if working is not None:
            probability = expit(logits)
            weight = np.maximum(probability * (1 - probability), 1e-6)
            chosen = self.columns.none()
            chosen.join(working)
            curvature, cross = chosen.curvature(weight), chosen.summed(weight)
            answer |= {"curvature": curvature, "cross": cross, "weight": np.array(weight.sum())}
        return answer

    def _check(self, coefficients: Vector, intercept: float) -> Answer:
        examples = self.local.checks[self.draw - 1]
        if not len(examples):
            return {}
        sign = np.where(examples.labels == 1, 1.0, -1.0)
        logits = features_of(examples) @ coefficients + intercept
        return {"loss": np.array(np.logaddexp(0, -sign * logits).mean())}
