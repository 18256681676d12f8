"""Draw the habits in which a hospital differs from the network: case mix, and chances of findings, orders, charting."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.simulate.names import findings
from conceptbridge.simulate.population import causes, chance, log_odds, model

Chances = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Habits:
    """What a hospital adds to the log odds of the network, by finding (section/key).

    ``given``: of a symptom given each cause; of a measurement or a treatment given each complaint group. ``charted``:
    of a symptom that is charted, as present and as absent.
    """

    given: Mapping[str, NDArray[np.float64]]
    charted: Mapping[str, float]


def draw_habits(hospital: Mapping[str, Any], rng: np.random.Generator) -> tuple[dict[str, float], Habits]:
    """Draw a hospital's factors on causes, and its habits, by the rule of docs/network.md.

    ``hospital`` is its entry in model.yaml. Where its ``mix`` and ``shift`` are 0 nothing differs. The draws depend
    only on the lists in model.yaml and findings.yaml.
    """
    factors = {cause: hospital["causes"].get(cause, 1.0) for cause in causes()}
    for cause in causes():
        if cause != "influenza":  # how common the outcome is stays as declared
            factors[cause] *= float(np.exp(hospital["mix"] * rng.standard_normal()))
    given: dict[str, NDArray[np.float64]] = {}
    charted: dict[str, float] = {}
    for key in findings()["symptoms"]:
        given[f"symptoms/{key}"] = hospital["shift"] * rng.standard_normal(len(causes()))
        charted[f"symptoms/{key}"] = hospital["shift"] * rng.standard_normal()
    for section in ("measurements", "treatments"):
        for key in findings()[section]:
            given[f"{section}/{key}"] = hospital["shift"] * rng.standard_normal(len(model()["groups"]))
    return factors, Habits(given, charted)


def shifted(probability: Any, shift: Any) -> Chances:
    """Probabilities whose log odds are moved by ``shift``; the same bits where nothing moves."""
    probability = np.asarray(probability, dtype=np.float64)
    return chance(log_odds(probability) + shift) if np.any(shift) else probability
