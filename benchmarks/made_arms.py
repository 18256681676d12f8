"""Made-up arms at the level of scores, for the benchmarks of the verdict: no model is trained."""

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from sklearn.metrics import roc_auc_score

from conceptbridge.evaluate.arm_result import ArmResult
from conceptbridge.evaluate.comparisons import Controls, Reference, choose, compare, pairs
from conceptbridge.evaluate.delong import Components, components, mean_of, person_clusters
from conceptbridge.evaluate.metric_columns import AUROC
from conceptbridge.evaluate.metrics import METRICS
from conceptbridge.evaluate.schemas import SCHEMAS, Arm, to_table
from conceptbridge.report.tables import compared

SITES = ("north", "south", "west")
EMBEDDINGS = ("onehot", "minilm", "random")
CONTROLS = {"onehot": ["minilm"], "random": ["minilm"]}
STRATEGIES = ("local", "direct", "tune-all")
DRAWN = ["random"]


class Arms(NamedTuple):
    """What all arms of a study have in common: they are equally good.

    A score is ``skill`` times the person's risk, plus noise that an arm's seeds share by ``shared``. Each seed has its
    own skill, normal around ``skill`` with the standard deviation ``spread``: the variance between seeds. Controls have
    ``draws`` seeds, other arms ``seeds``.
    """

    skill: float = 0.0
    spread: float = 0.0
    seeds: int = 3
    draws: int = 5
    shared: float = 0.97
    persons: int = 700


def cohort_of(random: np.random.Generator, persons: int) -> tuple[np.ndarray, ...]:
    """Return person, label and split of rows, one to three per person, and each row's risk, alike within a person."""
    person = np.repeat(np.arange(persons), random.integers(1, 4, persons))
    own = random.normal(0, 1, persons)[person]
    label = (random.random(len(person)) < 1 / (1 + np.exp(2 - own))).astype(np.int8)
    split = np.array(["train", "validation", "test"])[random.choice(3, persons, p=[0.3, 0.2, 0.5])][person]
    return person, label, split, own


def scores_of(random: np.random.Generator, risk: np.ndarray, arms: Arms, seeds: int) -> np.ndarray:
    """Return an arm's probabilities (seeds, rows)."""
    common, own = random.normal(0, 1, len(risk)), random.normal(0, 1, (seeds, len(risk)))
    skill = arms.skill + arms.spread * random.normal(0, 1, (seeds, 1))
    score = skill * risk + arms.shared * common + np.sqrt(1 - arms.shared**2) * own
    return np.asarray(1 / (1 + np.exp(2 - score)))


def study_of(number: int, arms: Arms) -> pa.Table:
    """Make a study of equal arms, and choose, compare and correct as the workflow does: the table ``comparisons``."""
    random = np.random.default_rng(number)
    rows: list[tuple[Any, ...]] = []
    for target in SITES:
        person, label, split, risk = cohort_of(random, arms.persons)
        test, validation = split == "test", split == "validation"
        clusters = person_clusters(label[test], person[test])
        results: dict[Arm, ArmResult] = {}
        for embedding, strategy in product(EMBEDDINGS, STRATEGIES):
            for source in [target] if strategy == "local" else [site for site in SITES if site != target]:
                arm = Arm(embedding, "cnn", strategy, source)
                seeds = arms.draws if embedding in DRAWN else arms.seeds
                probability = scores_of(random, risk, arms, seeds)
                parts = [components(label[test], one[test], clusters) for one in probability]
                chosen_on = [roc_auc_score(label[validation], one[validation]) for one in probability]
                results[arm] = result_of(arm, parts, chosen_on, clusters.persons)
        controls, reference = Controls(CONTROLS, DRAWN, "onehot"), Reference("local", "onehot", None)
        asked = pairs(results, target, controls, choose(results, target, controls, reference))
        none = [None] * len(Arm._fields)
        for pair, differences in compare(results, list(asked), controls, clusters):
            # AUROC alone is made up
            of_arms = (*(pair.arm or none), *(pair.reference or none))
            rows.append(("made", target, pair.question, "auroc", *of_arms, *differences[0][1:-1], None, None, None))
    comparisons, _ = compared(to_table(rows, SCHEMAS["comparisons"]), to_table([], SCHEMAS["effects"]))
    return comparisons


def result_of(arm: Arm, parts: Sequence[Components], validation: Sequence[float], persons: int) -> ArmResult:
    """Return what is measured of an arm, with no other metric than AUROC: of each seed on test and validation rows."""
    by_seed = {name: np.zeros((len(parts), len(METRICS))) for name in ("validation", "test")}
    by_seed["test"][:, AUROC], by_seed["validation"][:, AUROC] = [part.auroc for part in parts], validation
    reason: dict[str, str | None] = {"validation": None, "test": None}
    none, influence = np.full(len(METRICS), np.nan), np.zeros((2, persons), np.float32)
    rest = (none, none, influence, mean_of(parts), [], None, [])
    return ArmResult(arm, {}, [*range(len(parts))], reason, by_seed, [None] * len(METRICS), *rest)
