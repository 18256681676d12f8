"""Does the verdict survive a reviewer? `python benchmarks/verdict.py` prints one line per figure, and its bound.

    python benchmarks/verdict.py                     # all sections
    python benchmarks/verdict.py noise equal         # some of them
    python benchmarks/verdict.py --studies 50        # sooner, less precise

A section is a function in ``SECTIONS`` that yields figures; add one there.
"""

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from interval_coverage import POPULATIONS, QUANTITIES, Population, coverage, sample
from method_limits import WAYS
from method_limits import coverage as method_coverage
from verdict_studies import SECTIONS as OF_STUDIES
from verdict_studies import Figure

from conceptbridge.evaluate.comparisons import Controls, Pair, compare
from conceptbridge.evaluate.delong import components, person_clusters
from conceptbridge.evaluate.multiple_testing import ALPHA
from conceptbridge.evaluate.schemas import VS_CONTROL, Arm
from made_arms import Arms, result_of, study_of


class Run(NamedTuple):
    """What a section may use: processes, how many made-up studies and samples to draw, and a folder for studies."""

    pool: Executor
    studies: int
    samples: int
    folder: Path
    cores: int


Section = Callable[[Run], Iterator[Figure]]


def noise(run: Run) -> Iterator[Figure]:
    """Studies whose labels are noise: how many say that anything is better than chance, or claim a difference?"""
    for name, arms in (
        ("noise", Arms()),
        ("noise, variance between seeds", Arms(spread=0.3)),
    ):
        yield from _claims(run, name, arms, 0.05)


def equal(run: Run) -> Iterator[Figure]:
    """Studies whose arms are all equally good and above chance: how many claim a difference?"""
    for name, arms in (
        ("equal arms above chance", Arms(skill=0.8)),
        ("equal arms above chance, variance between seeds", Arms(skill=0.8, spread=0.3)),
    ):
        yield from _claims(run, name, arms, 0.06)


def _claims(run: Run, name: str, arms: Arms, bound: float) -> Iterator[Figure]:
    found = np.array(list(run.pool.map(partial(_claim, arms=arms), range(run.studies))))
    above, _, uncorrected = found.mean(axis=0)
    headline = (found[:, 0] & found[:, 1] if arms.skill else found[:, 0] | found[:, 1]).mean()
    yield _share(f"{name}: any headline claim", float(headline), 0, bound)
    yield Figure(
        f"{name}: something above chance; uncorrected p below 0.05", f"{above:.1%}; {uncorrected:.1%}", "", True
    )


def _claim(number: int, arms: Arms) -> tuple[bool, bool, bool]:
    """Return whether a study passes the gate anywhere, claims a difference, and would without correction."""
    rows = study_of(number, arms).to_pylist()

    def below(kind: str, p: str) -> bool:
        return any(row["kind"] == kind and row[p] is not None and row[p] < ALPHA for row in rows)

    uncorrected = any(below(kind, "p") for kind in ("primary", "exploratory"))
    return below("gate", "p_holm"), below("primary", "p_holm"), uncorrected


def draws(run: Run) -> Iterator[Figure]:
    """A control against the same control with other draws: how often is p below 0.05?"""
    for name, population in (
        ("5 draws against 5, SD of AUROC between draws about .05", Population("", 0.5, 0.25, (5, 5))),
        ("5 draws against 3", Population("", 0.5, 0.25, (5, 3))),
        ("5 draws against 5, at chance", Population("", 0.0, 0.25, (5, 5))),
        ("5 draws against 5, one alike", Population("", 0.5, 0.0, (5, 5))),
    ):
        p = np.array(list(run.pool.map(partial(_draw_p, population=population), range(run.samples), chunksize=16)))
        yield _share(f"{name}: p below 0.05", float((p < ALPHA).mean()), 0, 0.08)


def _draw_p(number: int, population: Population) -> float:
    random = np.random.default_rng([2, number])
    # draws of one control: nothing but the skill of a draw, and the noise of its seed, tells them apart
    label, person, *models = sample(random, population._replace(seeds=(sum(population.seeds), 1)), 1000)
    one, other = np.split(models[0], [population.seeds[0]])
    clusters = person_clusters(label, person)
    arms = [Arm(name, "cnn", "local", "here") for name in ("first", "second")]
    results = {}
    for arm, model in zip(arms, (one, other), strict=True):
        parts = [components(label, of_seed, clusters) for of_seed in model]
        results[arm] = result_of(arm, parts, [0.0] * len(parts), clusters.persons)
    asked = [Pair(VS_CONTROL, *arms, None)]
    [(_, differences)] = compare(results, asked, Controls({}), clusters)
    return differences[0].p or 0.0


def limits(run: Run) -> Iterator[Figure]:
    """How often limits hold the truth, by the number of events: the least and the most of all populations, which
    ``interval_coverage.py`` shows one by one."""
    held: dict[tuple[str, int], list[float]] = {}
    for _, events, _, share in coverage(run.pool, POPULATIONS, (10, 20, 50, 200), run.samples):
        for quantity, one in zip(QUANTITIES, share, strict=True):
            held.setdefault((quantity, events), []).append(float(one))
    for (quantity, events), shares in held.items():
        holds = min(shares) >= 0.93 and max(shares) <= 0.97
        value = f"{min(shares):.1%} to {max(shares):.1%}"
        yield Figure(f"coverage, {quantity}, {events} events", value, "93% to 97%", holds)


def methods(run: Run) -> Iterator[Figure]:
    """How often limits for a method hold its mean over training samples, by the events that it is trained on."""
    for events in (30, 100, 300):
        for quantity, way, share, _ in method_coverage(run.pool, events, 2 * run.studies, 20, bootstrap=False):
            if way == WAYS[1]:
                yield _share(f"{quantity}, {events} events", share, 0.93, 0.97)


def _of_studies(name: str, run: Run) -> Iterator[Figure]:
    return OF_STUDIES[name](run.folder, run.cores)


SECTIONS: dict[str, Section] = {
    "noise": noise,
    "equal": equal,
    "draws": draws,
    "limits": limits,
    "methods": methods,
    **{name: partial(_of_studies, name) for name in OF_STUDIES},
}


def _share(what: str, value: float, least: float, most: float) -> Figure:
    bound = f"{least:.0%} to {most:.0%}" if least else f"at most {most:.0%}"
    return Figure(what, f"{value:.1%}", bound, least <= value <= most)


def main() -> None:
    """Run the sections and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--studies", type=int, default=200, help="made-up studies of each kind")
    parser.add_argument("--samples", type=int, default=2000, help="made-up test sets of each kind")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("verdict"), help="where sections run their studies")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.sections) - set(SECTIONS)):
        parser.error(f"there are no sections {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    print("| section | figure | value | bound | holds |\n|---|---|---|---|---|")
    with ProcessPoolExecutor(asked.processes) as pool:
        run = Run(pool, asked.studies, asked.samples, asked.folder.resolve(), asked.processes)
        for name in asked.sections or SECTIONS:
            for figure in SECTIONS[name](run):
                holds = "" if not figure.bound else "yes" if figure.holds else "NO"
                print(f"| {name} | {figure.what} | {figure.value} | {figure.bound} | {holds} |", flush=True)


if __name__ == "__main__":
    main()
