"""How often limits for a method hold the truth: `python benchmarks/method_limits.py`.

One population: tokens from frequent to rare (30 % to 0.3 % of the rows), persons with one or two rows and a risk of
their own, events in one row in ten. Two methods: logistic regression with a ridge penalty on one-hot columns, and on
vectors of 12 dimensions that know part of the truth; the penalty is chosen on validation rows. Each study draws
training, validation and test persons anew. The truth of a method is its mean AUROC over training samples of this size,
on 200,000 other persons; that of the difference follows.

Printed beside the limits for the method (`evaluate.method_limits`): those for the trained models alone, and those that
a bootstrap of training persons gives; and the standard deviation that the draw of training persons has, as it is and
as each way finds it.
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from conceptbridge.evaluate.delong import Clusters, person_clusters
from conceptbridge.evaluate.method_limits import Scored, method_limits, score, training_variance
from conceptbridge.evaluate.scales import FISHER_Z, LOGIT
from conceptbridge.learn.half_samples import first_half, strata

TOKENS, WIDTH, PREVALENCE, ROWS_PER_PERSON = 80, 12, 0.1, 1.5
PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
NAMES = ("AUROC, one-hot", "AUROC, vectors", "difference")
WAYS = ("these trained models", "method: half-samples", "method: bootstrap")


class Rows(NamedTuple):
    """Tokens (rows, tokens), labels and persons of one draw."""

    tokens: np.ndarray
    label: np.ndarray
    person: np.ndarray

    def take(self, rows: np.ndarray) -> "Rows":
        return Rows(*(column[rows] for column in self))


class Population(NamedTuple):
    frequency: np.ndarray
    weight: np.ndarray
    vectors: np.ndarray
    intercept: float

    def draw(self, random: np.random.Generator, persons: int) -> Rows:
        """Persons with one or two rows each; a person's rows share most tokens, and a risk that no token tells."""
        person = np.repeat(np.arange(persons), random.integers(1, 3, persons))
        own = (random.random((persons, TOKENS)) < self.frequency)[person]
        tokens = np.where(random.random(own.shape) < 0.3, random.random(own.shape) < self.frequency, own)
        risk = self.intercept + tokens @ self.weight + random.normal(0, 0.5, persons)[person]
        return Rows(tokens.astype(np.float64), (random.random(len(risk)) < expit(risk)).astype(np.int8), person)


def population() -> Population:
    """The population, its intercept such that one row in ten has the event."""
    random = np.random.default_rng(7)
    frequency = np.geomspace(0.3, 0.003, TOKENS)
    vectors = random.normal(size=(TOKENS, WIDTH)) / np.sqrt(WIDTH)
    weight = 0.55 * (vectors @ random.normal(size=WIDTH)) + 0.45 * random.normal(size=TOKENS)
    low, high = -8.0, 2.0
    while high - low > 1e-4:
        of = Population(frequency, weight, vectors, (low + high) / 2)
        few = of.draw(np.random.default_rng(1), 20_000).label.mean() < PREVALENCE
        low, high = (of.intercept, high) if few else (low, of.intercept)
    return of


def fit(x: np.ndarray, label: np.ndarray, penalty: float) -> np.ndarray:
    """Ridge logistic regression by Newton's method; the last coefficient is the intercept."""
    design = np.c_[x, np.ones(len(x))]
    ridge = np.r_[np.full(x.shape[1], penalty * len(x)), 1e-9]
    weight = np.zeros(design.shape[1])
    weight[-1] = np.log((label.mean() + 1e-4) / (1 - label.mean()))
    for _ in range(8):
        risk = expit(design @ weight)
        hessian = (design * (risk * (1 - risk))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(hessian, design.T @ (risk - label) + ridge * weight)
        weight = weight - step
        if np.abs(step).max() < 1e-4:
            break
    return weight


class Method(NamedTuple):
    """A method, and the penalty that it holds; None: the best on validation rows."""

    view: np.ndarray
    penalty: float | None = None

    def train(self, train: Rows, validation: Rows) -> tuple[np.ndarray, float]:
        """Coefficients, and the penalty that they were found with."""
        tried = []
        for penalty in PENALTIES if self.penalty is None else (self.penalty,):
            weight = fit(train.tokens @ self.view, train.label, penalty)
            risk = np.clip(self.predict(weight, validation), 1e-9, 1 - 1e-9)
            loss = -np.mean(np.log(np.where(validation.label == 1, risk, 1 - risk)))
            tried.append((loss, len(tried), weight, penalty))
        *_, weight, penalty = min(tried, key=lambda one: one[:2])
        return weight, penalty

    def predict(self, weight: np.ndarray, rows: Rows) -> np.ndarray:
        """The probability of the event (rows,)."""
        return expit(rows.tokens @ (self.view @ weight[:-1]) + weight[-1])


def scored(methods: Sequence[Method], train: Rows, validation: Rows, test: Rows, clusters: Clusters) -> list[Scored]:
    """What each method, and the first less the second, reaches on the test rows."""
    each = [
        score(test.label, method.predict(method.train(train, validation)[0], test)[None], clusters)
        for method in methods
    ]
    return [*each, each[0].minus(each[1])]


def halves(rows: Rows, split: int, number: int) -> tuple[Rows, Rows]:
    """Two halves of the persons, as in `learn.half_samples`."""
    first = first_half(strata(rows.person, np.full(len(rows.label), "train"), rows.label), number, split)[rows.person]
    return rows.take(np.flatnonzero(first)), rows.take(np.flatnonzero(~first))


def drawn_again(rows: Rows, random: np.random.Generator) -> Rows:
    """A bootstrap of persons: one that is drawn twice counts twice."""
    times = np.bincount(
        random.integers(rows.person.max() + 1, size=rows.person.max() + 1), minlength=rows.person.max() + 1
    )
    return rows.take(np.repeat(np.arange(len(rows.label)), times[rows.person]))


def study(
    number: int, of: Population, events: int, resamples: int, bootstrap: bool, times: int
) -> list[tuple[float, ...]] | None:
    """One study: per quantity (`NAMES`) lower and upper limit in each of `WAYS`, then both training variances."""
    random = np.random.default_rng([11, events, number])
    persons = round(events / PREVALENCE / ROWS_PER_PERSON)
    train, validation, test = (of.draw(random, count) for count in (persons, persons // 3, times * persons))
    if min(train.label.sum(), validation.label.sum(), test.label.sum()) < 3:
        return None
    clusters = person_clusters(test.label, test.person)
    free = [Method(np.eye(TOKENS)), Method(of.vectors)]
    whole = scored(free, train, validation, test, clusters)
    held = [method._replace(penalty=method.train(train, validation)[1]) for method in free]
    pairs = [
        [
            scored(held, *both, test, clusters)
            for both in zip(halves(train, split, number), halves(validation, split, number), strict=True)
        ]
        for split in range(resamples // 2)
    ]
    again = [
        scored(held, drawn_again(train, random), drawn_again(validation, random), test, clusters)
        for _ in range(resamples if bootstrap else 0)
    ]
    found = []
    for place, one in enumerate(whole):
        of_splits = [(first[place], second[place]) for first, second in pairs]
        limits = method_limits(one, of_splits, clusters, FISHER_Z if place == 2 else LOGIT)
        spread = float(np.var([each[place].mean.auroc for each in again], ddof=1)) if bootstrap else np.nan
        # the same formula, with the bootstrap's variance in the place of the halves'
        as_halves = [_apart_by(spread, one)] * resamples if bootstrap else []
        wide = method_limits(one, as_halves, clusters, FISHER_Z if place == 2 else LOGIT)
        found.append((*limits[1:5], *wide[3:5], training_variance(of_splits, clusters)[0], spread))
    return found


def _apart_by(spread: float, like: Scored) -> tuple[Scored, Scored]:
    """Two scores without noise whose distance gives this training variance."""
    still = like.mean._replace(events=0 * like.mean.events, non_events=0 * like.mean.non_events)
    zero = Scored((np.zeros(1),), still._replace(auroc=0.0))
    return Scored((np.zeros(1),), still._replace(auroc=2 * float(np.sqrt(spread)))), zero


def truth(of: Population, events: int, samples: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over training samples of each method's AUROC, and of their difference."""
    random = np.random.default_rng(99)
    persons = round(events / PREVALENCE / ROWS_PER_PERSON)
    large = of.draw(random, 200_000)
    values = np.zeros((samples, 2))
    for place in range(samples):
        train, validation = of.draw(random, persons), of.draw(random, persons // 3)
        for column, view in enumerate((np.eye(TOKENS), of.vectors)):
            method = Method(view)
            values[place, column] = auroc(large.label, method.predict(method.train(train, validation)[0], large))
    values = np.c_[values, values[:, 0] - values[:, 1]]
    return values.mean(axis=0), values.std(axis=0, ddof=1)


def auroc(label: np.ndarray, risk: np.ndarray) -> float:
    """The AUROC, by ranks."""
    rank = np.empty(len(risk))
    rank[np.argsort(risk)] = np.arange(1, len(risk) + 1)
    events = int(label.sum())
    return float((rank[label == 1].sum() - events * (events + 1) / 2) / events / (len(label) - events))


def coverage(
    pool: Executor, events: int, studies: int, resamples: int, bootstrap: bool = True, times: int = 1
) -> Iterator[tuple[str, str, float, float]]:
    """Yield (quantity, way, share of limits that hold the truth, mean width), then the standard deviations."""
    of = population()
    mean, spread = truth(of, events)
    one = partial(study, of=of, events=events, resamples=resamples, bootstrap=bootstrap, times=times)
    found = np.array([each for each in pool.map(one, range(studies), chunksize=8) if each], dtype=np.float64)
    for place, name in enumerate(NAMES):
        for way, label in enumerate(WAYS if bootstrap else WAYS[:2]):
            lower, upper = found[:, place, 2 * way], found[:, place, 2 * way + 1]
            held = (lower <= mean[place]) & (mean[place] <= upper)
            yield name, label, float(held.mean()), float((upper - lower).mean())
        yield name, "SD of the draw of training persons, true", float("nan"), float(spread[place])
        for column, way in zip((6, 7), ("half-samples", "bootstrap"), strict=True):
            if bootstrap or column == 6:
                yield name, f"  as found: {way}", float("nan"), float(np.sqrt(found[:, place, column].mean()))


def main() -> None:
    """Simulate and print the coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument(
        "--events", type=int, nargs="+", default=[30, 100, 300], help="among training and test rows each"
    )
    parser.add_argument("--resamples", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--no-bootstrap", dest="bootstrap", action="store_false", help="half the time")
    parser.add_argument("--times", type=int, default=1, help="test persons for each training person")
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.processes) as pool:
        for events in asked.events:
            print(f"\n{events} events, {asked.studies} studies, {asked.resamples} resamples")
            print(f"{'':18}{'':44}{'coverage':>10}{'mean width, SD':>18}")
            lines = coverage(pool, events, asked.studies, asked.resamples, asked.bootstrap, asked.times)
            for name, way, share, size in lines:
                print(f"{name:18}{way:44}{'' if np.isnan(share) else f'{share:.1%}':>10}{size:18.4f}", flush=True)


if __name__ == "__main__":
    main()
