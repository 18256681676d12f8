"""How often a 95 % interval holds the truth: `python benchmarks/interval_coverage.py`.

Draws data sets from a population whose AUROC, AUPRC, Brier score and difference of AUROCs are known, persons with
one to three rows and a risk of their own, and counts how often the limits by person hold them: bootstrap percentiles,
BCa, and DeLong's; and, for comparison, percentiles of a bootstrap of rows.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from conceptbridge.evaluate.bootstrap import acceleration, draw, limits
from conceptbridge.evaluate.delong import components, person_clusters, variance
from conceptbridge.evaluate.influence import of_metrics
from conceptbridge.evaluate.metrics import METRICS, blocks, measure

NAMES = (*METRICS, "difference of AUROCs")


def sample(random: np.random.Generator, persons: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return label, person and probabilities (models, rows) of two models."""
    person = np.repeat(np.arange(persons), random.integers(1, 4, persons))
    own = random.normal(0, 1, persons)[person]
    risk = -2 + own + random.normal(0, 0.7, len(person))
    label = (random.random(len(person)) < 1 / (1 + np.exp(-risk))).astype(np.int8)
    noise = random.normal(0, 1, (2, len(person)))
    score = np.stack([-2.2 + own + noise[0] * 0.8, -2.2 + 0.8 * own + noise[1]])
    return label, person, 1 / (1 + np.exp(-score))


def covered(number: int, truth: np.ndarray, persons: int, replicates: int) -> np.ndarray:
    """Return whether each method's limits hold each truth: (methods, quantities), NaN where a method has none."""
    label, person, probability = sample(np.random.default_rng([1, number]), persons)
    of, held = person_clusters(label, person), np.full((4, len(NAMES)), np.nan)

    def resampled(ids: np.ndarray) -> np.ndarray:
        resamples = draw(ids, replicates, number)
        weight = blocks(resamples.weight.astype(np.float32))
        first, second = (measure(label, one, weight, resamples.person) for one in probability)
        return np.concatenate([first, first[:1] - second[:1]])

    found = [components(label, one, of) for one in probability]
    plain = blocks(np.ones((len(label), 1)))
    first, second = (measure(label, one, plain)[:, 0] for one in probability)
    estimate = np.r_[first, first[0] - second[0]]
    moved = [of_metrics(label, one, of, part) for one, part in zip(probability, found, strict=True)]
    influence = np.concatenate([moved[0], moved[0][:1] - moved[1][:1]])
    by_person = resampled(person)
    bounds = [
        limits(by_person),
        limits(by_person, estimate, acceleration(influence)),
        limits(resampled(np.arange(len(label)))),
    ]
    for method, (lower, upper) in zip((0, 1, 3), bounds, strict=True):
        held[method] = (lower <= truth) & (truth <= upper)
    events = np.column_stack([found[0].events, found[0].events - found[1].events])
    non_events = np.column_stack([found[0].non_events, found[0].non_events - found[1].non_events])
    reach = 1.959964 * np.sqrt(variance(events, non_events, of))
    held[2, [0, -1]] = np.abs(estimate[[0, -1]] - truth[[0, -1]]) <= reach
    return held


def main() -> None:
    """Simulate and print the coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--persons", type=int, default=500)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    label, _, probability = sample(np.random.default_rng(0), 1_000_000)
    first, second = (measure(label, one, np.ones((len(label), 1)))[:, 0] for one in probability)
    truth = np.r_[first, first[0] - second[0]]
    one = partial(covered, truth=truth, persons=asked.persons, replicates=asked.replicates)
    with ProcessPoolExecutor(asked.processes) as pool:
        share = np.mean(list(pool.map(one, range(asked.samples), chunksize=8)), axis=0)
    print(f"{asked.samples} samples of {asked.persons} persons, share of events {label.mean():.2f}")
    print(f"{'':24}" + "".join(f"{name:>22}" for name in NAMES))
    print(f"{'truth':24}" + "".join(f"{value:22.4f}" for value in truth))
    for name, row in zip(
        ("percentile, by person", "BCa, by person", "DeLong, by person", "percentile, by row"), share, strict=True
    ):
        print(f"{name:24}" + "".join(f"{'':>22}" if np.isnan(value) else f"{value:22.1%}" for value in row))


if __name__ == "__main__":
    main()
