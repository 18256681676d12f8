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

from conceptbridge.evaluate.comparisons import Controls, Pair, compare
from conceptbridge.evaluate.delong import Clusters, components, mean_of, person_clusters
from conceptbridge.evaluate.influence import of_metrics
from conceptbridge.evaluate.intervals import column_limits
from conceptbridge.evaluate.metric_columns import RANKED, Settings
from conceptbridge.evaluate.metrics import measure
from conceptbridge.evaluate.schemas import VS_CONTROL, Arm
from made_arms import result_of

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


def limits_of(label: np.ndarray, model: np.ndarray, clusters: Clusters) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of a model's AUROC, AUPRC and Brier score, the mean over its seeds."""
    columns = Settings(1, [], [], 0, 2)
    values = np.full((len(model), len(columns.columns)), np.nan)
    influence = np.full((len(columns.columns), clusters.persons), np.nan)
    parts = [components(label, one, clusters) for one in model]
    values[:, RANKED] = [measure(label, one, np.ones((len(label), 1)))[:, 0] for one in model]
    moved = [of_metrics(label, one, clusters, part) for one, part in zip(model, parts, strict=True)]
    influence[RANKED] = np.mean(moved, axis=0)
    lower, upper, _ = column_limits(columns, values, mean_of(parts), influence, clusters)
    return lower[:3], upper[:3]


def difference_of(label: np.ndarray, models: Sequence[np.ndarray], clusters: Clusters) -> tuple[float, float]:
    """Return the limits of the difference between the AUROCs of two models."""
    results = {}
    for arm, model in zip((FIRST, SECOND), models, strict=True):
        parts = [components(label, one, clusters) for one in model]
        results[arm] = result_of(arm, parts, [0.0] * len(parts), clusters.persons)
    [(_, differences)] = compare(results, [Pair(VS_CONTROL, FIRST, SECOND, None)], Controls({}), clusters)
    lower, upper = differences[0].lower, differences[0].upper
    return (np.nan, np.nan) if lower is None or upper is None else (lower, upper)


def covered(number: int, population: Population, truth: np.ndarray, persons: int) -> np.ndarray:
    """Return whether the limits hold each truth: (quantities,), NaN without limits."""
    label, person, *models = sample(np.random.default_rng([1, number]), population, persons)
    clusters = person_clusters(label, person)
    if min(clusters.with_event, clusters.with_non_event) < 2:
        return np.full(len(QUANTITIES), np.nan)
    lower, upper = limits_of(label, models[0], clusters)
    bounds = np.array([*zip(lower, upper, strict=True), difference_of(label, models, clusters)], dtype=np.float64)
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
