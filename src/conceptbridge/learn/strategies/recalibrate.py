"""Recalibration: the target's rows change no coefficient, only the intercept, or the intercept and slope, of the logit
(Steyerberg, Clinical Prediction Models, 2nd edition, chapter 20)."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.arm_files import SourceResult, TrainedModel
from conceptbridge.learn.search import Part, Spent, cross_entropy
from conceptbridge.learn.strategies.source_models import SourceModels, result_of_parts
from conceptbridge.learn.training import Arm

Vector = NDArray[np.float64]

#: what is tried
CANDIDATES = ("none", "intercept", "slope")
#: intercept and slope of a model as it is
UNCHANGED = (0.0, 1.0)
#: a saturated probability has no finite logit
SMALLEST = 1e-6
#: the least slope. The likelihood rises towards its maximum, so where that is at a lower slope, or a negative one, this
#: is the best of those that keep the order of the rows. At 0 all rows would tie, though the order is not wrong: a model
#: that ranks the wrong way round is not turned round, but its probabilities are all near the target's event rate.
LEAST_SLOPE = 0.01


class Recalibrate(SourceModels):
    """Fits intercept and slope of the source's logit on the target's rows; no weight changes."""

    name = "recalibrate"
    uses_target_labels = True
    has_learning_curve = True
    label = "{source}'s {model}, recalibrated here"
    sentence = "the source's model, the intercept and slope of its logit fitted anew"

    def transfer(self, arm: Arm, source: str, trained: TrainedModel, parts: Sequence[Part]) -> SourceResult:
        """Recalibrate every seed's model on each of ``parts``."""
        probability = trained.predict(arm.labelled(trained.space))
        found = [recalibrate(probability, arm.labels, part) for part in parts]
        direct = trained.predict(arm.tested(trained.space))
        each = [np.stack([apply(p, c) for p, c in zip(direct, of_part, strict=True)]) for _, of_part in found]
        chosen, of_seeds = found[0]
        arm.save(trained.model, trained.space, source, recalibration=of_seeds)
        spent = Spent(len(CANDIDATES), 0, [0] * arm.budget.seeds, {"recalibration": chosen}, [], [])
        return result_of_parts(asdict(spent), parts, each)


def recalibrate(probability: Vector, labels: NDArray[np.int8], part: Part) -> tuple[str, list[tuple[float, float]]]:
    """Which recalibration the rows that check ``part`` like best, and its (intercept, slope) of each seed.

    ``probability`` (seeds, labelled rows) is the model's. Tried are ``none``, ``intercept`` and ``slope`` (intercept
    and slope), fitted on the rows that train ``part``; one choice for all seeds, ``none`` where no row checks it.
    """
    logits = [to_logit(of_seed) for of_seed in probability]
    tried = {
        "none": [UNCHANGED] * len(logits),
        "intercept": [(intercept(x[part.train], labels[part.train]), 1.0) for x in logits],
        "slope": [intercept_and_slope(x[part.train], labels[part.train]) for x in logits],
    }
    truth, checked = labels[part.check], probability[:, part.check]
    losses = {
        name: sum(cross_entropy(truth, apply(p, c)) for p, c in zip(checked, coefficients, strict=True))
        for name, coefficients in tried.items()
    }
    chosen = min(losses, key=lambda name: losses[name])
    return chosen, tried[chosen]


def to_logit(probability: Vector) -> Vector:
    """The log odds, of probabilities kept within 1e-6 of 0 and 1."""
    from scipy.special import logit

    return np.asarray(logit(np.clip(probability, SMALLEST, 1 - SMALLEST)))


def apply(probability: Vector, coefficients: tuple[float, float]) -> Vector:
    """The recalibrated probabilities, (rows,): rows tie where they did, and all others keep their order."""
    from scipy.special import expit

    if coefficients == UNCHANGED:
        return probability
    distinct, row = np.unique(probability, return_inverse=True)
    return _moved_apart(np.asarray(expit(coefficients[0] + coefficients[1] * to_logit(distinct))))[row]


def _moved_apart(rising: Vector) -> Vector:
    """Probabilities that rise but for what rounding made equal: those are moved by the smallest step of a number."""
    # numbers from 0 to 1 are ordered as the integers of the same bits are
    rank, bits = np.arange(len(rising)), (rising + 0.0).view(np.int64)
    highest = np.ones(1).view(np.int64)[0] - rank[::-1]
    apart: Vector = np.minimum(np.maximum.accumulate(bits - rank) + rank, highest).view(np.float64)
    return apart


def intercept(logits: Vector, labels: NDArray[np.int8]) -> float:
    """The shift of the logits at which expected and observed events are as many; both classes have to be there."""
    from scipy.optimize import brentq
    from scipy.special import expit

    return float(brentq(lambda a: expit(logits + a).mean() - labels.mean(), -50, 50))


def intercept_and_slope(logits: Vector, labels: NDArray[np.int8]) -> tuple[float, float]:
    """Intercept and slope of the logits, by maximum likelihood (with a ridge far too small to be seen, for labels that
    the logits separate) among slopes of at least ``LEAST_SLOPE``."""
    from sklearn.linear_model import LogisticRegression

    spread = float(logits.std()) or 1.0
    model = LogisticRegression(C=1e4).fit((logits / spread)[:, None], labels)
    slope = float(model.coef_[0, 0] / spread)
    if slope < LEAST_SLOPE:
        return intercept(LEAST_SLOPE * logits, labels), LEAST_SLOPE
    return float(model.intercept_[0]), slope
