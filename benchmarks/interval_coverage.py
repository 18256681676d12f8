"""How often a 95 % interval holds the truth: `python benchmarks/interval_coverage.py`.

Draws test sets from populations whose AUROC, AUPRC, Brier score and difference of AUROCs are known: persons with one to
three rows and a risk of their own, models of several seeds with or without variance between them. Counts how often the
study's limits hold the truth, by the number of events.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from conceptbridge.evaluate.bootstrap import draw
from conceptbridge.evaluate.comparisons import Controls, Pair, compare
from conceptbridge.evaluate.measure import ArmEvaluator, Context
from conceptbridge.evaluate.metric_columns import Settings
from conceptbridge.evaluate.metrics import measure
from conceptbridge.evaluate.predictions import Predictions, Rows
from conceptbridge.evaluate.schemas import VS_CONTROL, Arm

QUANTITIES = ("AUROC", "AUPRC", "Brier", "difference of AUROCs")
FIRST, SECOND = (Arm(name, "cnn", "local", "here") for name in ("first", "second"))


class Population(NamedTuple):
    """Rows of which a share of about ``prevalence`` have the event, and models that see ``skill`` of their risk.

    Each seed's skill is normal around it with the standard deviation ``spread``; ``seeds`` are those of either model.
    """

    name: str
    skill: float
    spread: float = 0.0
    seeds: tuple[int, int] = (3, 3)
    prevalence: float = 0.1


POPULATIONS = (
    Population("chance", 0.0),
    Population("fair", 0.8),
    Population("good", 2.0),
    Population("one seed", 0.8, 0.0, (1, 1)),
    Population("variance between seeds", 0.8, 0.3),
    Population("five draws against three seeds", 0.8, 0.3, (5, 3)),
)


def sample(random: np.random.Generator, population: Population, persons: int) -> tuple[np.ndarray, ...]:
    """Return label, person, and the probabilities (seeds, rows) of two models."""
    person = np.repeat(np.arange(persons), random.integers(1, 4, persons))
    own = random.normal(0, 1, persons)[person]
    risk = own + random.normal(0, 0.5, len(person))
    at = np.log(population.prevalence / (1 - population.prevalence)) - 0.4
    label = (random.random(len(person)) < 1 / (1 + np.exp(-at - 1.5 * risk))).astype(np.int8)
    common = 0.7 * random.normal(0, 1, len(person))  # what both models see besides
    models = []
    for seeds, own_noise in zip(population.seeds, (0.7, 0.9), strict=True):
        skill = population.skill + population.spread * random.normal(0, 1, (seeds, 1))
        of_model = own_noise * random.normal(0, 1, len(person))
        of_seed = 0.2 * random.normal(0, 1, (seeds, len(person)))
        models.append(1 / (1 + np.exp(-at - skill * risk - common - of_model - of_seed)))
    return label, person, *models


def truth_of(population: Population) -> np.ndarray:
    """Return the expected value of each quantity over draws of seeds, on very many rows."""
    values = []
    for number in range(40 if population.spread else 4):
        # one seed of each model at a time: the mean over seeds has the same expectation
        one = population._replace(seeds=(1, 1))
        label, _, *models = sample(np.random.default_rng([0, number]), one, 100_000)
        first, second = (measure(label, model[0], np.ones((len(label), 1)))[:3, 0] for model in models)
        values.append([*first, first[0] - second[0]])
    return np.mean(values, axis=0)


def covered(number: int, population: Population, truth: np.ndarray, persons: int) -> np.ndarray:
    """Return whether the limits hold each truth: (quantities,), NaN without limits."""
    label, person, *models = sample(np.random.default_rng([1, number]), population, persons)
    rows = Rows(np.arange(len(label)), person, label, np.array(["test"] * len(label), dtype=object))
    evaluator = ArmEvaluator(Context(rows, draw(person, 1, 1), Settings(1, [], [], 0, 2), [], {}))
    results = {
        arm: evaluator.measure(arm, Predictions("here", None, [*range(len(model))], model, {}, {}, {}))
        for arm, model in zip((FIRST, SECOND), models, strict=True)
    }
    if results[FIRST].reason["test"]:
        return np.full(len(QUANTITIES), np.nan)
    asked = [Pair(VS_CONTROL, FIRST, SECOND, None)]
    [(_, differences)] = compare(results, asked, Controls({}), evaluator.clusters["test"])
    bounds = np.array(
        [*zip(results[FIRST].lower[:3], results[FIRST].upper[:3], strict=True), differences[0][2:4]], dtype=np.float64
    )
    held: np.ndarray = np.where(np.isnan(bounds[:, 0]), np.nan, (bounds[:, 0] <= truth) & (truth <= bounds[:, 1]))
    return held


def coverage(
    pool: Executor, populations: Sequence[Population], events: Sequence[int], samples: int
) -> list[tuple[str, int, np.ndarray, np.ndarray]]:
    """Return (population, events, truth, share of limits that hold it) of each population and number of events."""
    found = []
    for population, truth in zip(populations, pool.map(truth_of, populations), strict=True):
        for number in events:
            # two rows per person on average
            persons = round(number / population.prevalence / 2)
            one = partial(covered, population=population, truth=truth, persons=persons)
            held = np.array(list(pool.map(one, range(samples), chunksize=16)))
            found.append((population.name, number, truth, np.nanmean(held, axis=0)))
    return found


def main() -> None:
    """Simulate and print the coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--events", type=int, nargs="+", default=[10, 20, 50, 200])
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    print(f"{'population':32}{'events':>8}" + "".join(f"{name:>28}" for name in QUANTITIES))
    with ProcessPoolExecutor(asked.processes) as pool:
        for name, events, truth, share in coverage(pool, POPULATIONS, asked.events, asked.samples):
            cells = (f"{value:14.3f}{one:14.1%}" for value, one in zip(truth, share, strict=True))
            print(f"{name:32}{events:8}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
