"""Logistic regression with L1 and L2 penalties: on which tokens a row has (one-hot: the OHDSI baseline), or on the mean
and maximum of their vectors (a linear probe).

The penalty is searched along a path, from the largest useful one down, each fit beginning at the one before (Friedman
et al. 2010, Regularization paths for generalized linear models via coordinate descent, section 2.5), until the loss on
the rows that check it has not fallen for a while. At a target, coefficients are corrections to the source's: sparse
ones (tune-head), or small ones, which is a prior whose mean is the source's coefficients (tune-all).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array
from scipy.special import expit

from conceptbridge.core.paced_log import PacedLog
from conceptbridge.learn.penalised_columns import Columns, columns
from conceptbridge.learn.penalised_solver import Descent, largest_penalty, no_coefficients
from conceptbridge.learn.pooled_features import Features, pool, presence, scale_groups
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import WITHIN, Part, Run, cap_use, cross_entropy

logger = logging.getLogger(__name__)

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Regression:
    """Coefficients (members, features) and intercepts (members,), the seed of each member, at which penalty of its path
    it was kept (0: the source's model, unchanged), its loss on the rows that checked it, and what it used of its cap
    (``learner.Model.capped``); ``steps`` are the solver's. Nothing in it is drawn, so that seeds do not differ."""

    coefficients: Vector
    intercepts: Vector
    seeds: list[int]
    kept: list[int]
    losses: list[float]
    steps: int
    capped: list[int]

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
            [self.capped[i] for i in at],
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
            [used for one in each for used in one.capped],
        )

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``coefficients.safetensors`` to ``folder`` and return what model.json has to hold."""
        arrays = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "coefficients.safetensors"
        )
        return {"seeds": self.seeds, "kept": self.kept}


def fit(examples: Examples, runs: Sequence[Run]) -> Regression:
    """One regression a run, at the penalty of its path that its checked rows like best."""
    features = features_of(examples)
    return _correct(None, np.zeros((len(runs), features.shape[1])), np.zeros(len(runs)), features, examples, runs)


def tune(
    source: Regression, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
) -> tuple[Regression, list[Regression]]:
    """Correct the source's members, one a run, by the penalty on corrections: its settings make them sparse or small,
    whether ``head_only`` or not. Where that makes the loss on the checked rows no lower, the source's coefficients are
    kept.

    The path goes from the penalty that allows no correction down; no ``depths`` are on it.
    """
    features = features_of(examples)
    return _correct(source, source.coefficients, source.intercepts, features, examples, runs), []


def widen(source: Regression, vectors: OneHot, head_only: bool) -> Regression:
    """The source with the coefficients of the added tokens, zeros: every prediction is as it was."""
    return replace(source, coefficients=np.pad(source.coefficients, ((0, 0), (0, vectors.added))))


def translate(source: Regression, mix: csr_array, center: float) -> Regression:
    """The source with coefficients for tokens that are mixes of its own: a row's score is the sum over its tokens, so
    that a finding which is recorded under two names counts as it does at the source, with both."""
    added = (mix @ source.coefficients.T).T
    return replace(source, coefficients=np.concatenate([source.coefficients, added], axis=1))


def predict(regression: Regression, examples: Examples) -> NDArray[np.float64]:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    scores = features_of(examples) @ regression.coefficients.T + regression.intercepts
    return np.ascontiguousarray(expit(scores.T))


def load(folder: Path, description: Mapping[str, Any]) -> Regression:
    """The regression that ``Regression.save`` wrote."""
    arrays, seeds = load_file(folder / "coefficients.safetensors"), description["seeds"]
    losses, capped = [float("nan")] * len(seeds), [WITHIN] * len(seeds)
    return Regression(arrays["coefficients"], arrays["intercepts"], seeds, description["kept"], losses, 0, capped)


def features_of(examples: Examples) -> Features:
    """What the regression sees of each row: which tokens it has, or the mean and maximum of their vectors."""
    if isinstance(examples.vectors, OneHot):
        return presence(examples)
    return pool(examples, counts=False)


def _correct(
    source: Regression | None,
    coefficients: Vector,
    intercepts: Vector,
    features: Features,
    examples: Examples,
    runs: Sequence[Run],
) -> Regression:
    """The run's corrections to coefficients and intercepts; a ``source`` may be kept as it is."""
    labels, found = examples.labels, []
    before = (features @ coefficients.T + intercepts).T
    done: dict[Any, Kept] = {}
    for i, run in enumerate(runs):
        # a run that differs in its seed alone has the same solution
        same = (id(run.part), *sorted(run.settings.items()), coefficients[i].tobytes(), intercepts[i])
        if same not in done:
            part = run.part
            given, checked = _parted(examples, features, part)
            offset, truth = before[i, part.train], labels[part.check]
            best = _path(given, labels[part.train], offset, checked, truth, before[i, part.check], run.settings)
            unchanged = cross_entropy(truth, expit(before[i, part.check]))
            if source is not None and len(truth) and unchanged <= best.loss:
                best = Kept(0, unchanged, np.zeros(features.shape[1]), 0.0, WITHIN, best.steps)
            done[same] = best
        found.append(done[same])
    logger.info("%d runs, lowest validation losses %s", len(runs), np.round([one.loss for one in found], 4))
    return Regression(
        coefficients + np.stack([one.change for one in found]),
        intercepts + np.array([one.shift for one in found]),
        [run.seed for run in runs],
        [one.at for one in found],
        [one.loss for one in found],
        sum(one.steps for one in done.values()),
        [one.capped for one in found],
    )


def _parted(examples: Examples, features: Features, part: Part) -> tuple[Columns, Features]:
    """The rows that train on a part, as the penalty sees them, and those that check it."""
    made: tuple[Part, Columns, Features] = examples.cached(
        ("columns", id(part)),
        lambda: (part, columns(features[part.train], scale_groups(examples)), features[part.check]),
    )
    return made[1:]  # as long as the part is kept, no other has its id


@dataclass(frozen=True)
class Kept:
    """The change of the coefficients and the intercept that was kept, ``at`` which penalty of the path (the first
    is 1), its loss, and what the path took."""

    at: int
    loss: float
    change: Vector
    shift: float
    capped: int
    steps: int


def _path(
    given: Columns,
    labels: NDArray[np.int8],
    offset: Vector,
    checked: Features,
    truth: NDArray[np.int8],
    checked_offset: Vector,
    settings: Mapping[str, Any],
) -> Kept:
    """The corrections at the penalty of the path that the checked rows like best."""
    share = settings["l1_share"]
    start = no_coefficients(given, labels, offset)
    largest = largest_penalty(given, labels, offset, start, share)
    descent = Descent(given, labels, offset, start)

    def solved(strength: float) -> tuple[Vector, float, int]:
        now = descent.to(strength * share, strength * (1 - share))
        return *now.on_features(given), now.iterations

    def loss(change: Vector, shift: float) -> float:
        return cross_entropy(truth, expit(checked_offset + checked @ change + shift))

    nothing = Kept(1, float("inf"), np.zeros(len(given.used)), 0.0, WITHIN, 0)
    return go_down_path(solved, loss, len(truth) > 0, largest, settings, nothing)


def go_down_path(
    solved: Callable[[float], tuple[Vector, float, int]],
    loss: Callable[[Vector, float], float],
    checked: bool,
    largest: float,
    settings: Mapping[str, Any],
    nothing: Kept,
) -> Kept:
    """Go down the penalties from the ``largest`` useful one, and keep what the checked rows like best.

    ``solved(strength)`` returns coefficients, intercept and iterations at a penalty, beginning at the one before;
    ``loss`` is that on the rows that check them, if there are any (``checked``). The first half of the penalties is
    tried in any case: where many rare tokens carry the signal, the first few to enter can be noise, and the loss rises
    before it falls. Without checked rows the middle penalty is taken. ``penalties: 1`` is the smallest one alone.
    """
    smallest, count = settings["penalty"], settings["penalties"]
    ratio = smallest ** (1 / max(count - 1, 1))
    searched = count > 1 and checked
    end = 2 * count - 1 if searched else count
    best, steps = nothing, 0
    capped, step, log = WITHIN, 0, PacedLog(logger)
    for step in range(1, end + 1):
        change, shift, iterations = solved(largest * (ratio ** (step - 1) if count > 1 else smallest))
        steps += iterations
        now = loss(change, shift)
        if now < best.loss or (not checked and step == (count + 1) // 2):
            best = Kept(step, now, change, shift, WITHIN, 0)
        log.info("penalty %d of at most %d, lowest validation loss %.4f", step, end, best.loss)
        over = searched and step > count // 2 and step - best.at >= settings["patience"]
        capped = cap_use(step, count, end, over)
        if over or (not checked and step == (count + 1) // 2):
            break
    return Kept(best.at, best.loss, best.change, best.shift, capped, steps)
