"""Made-up arms at the level of scores, for the benchmarks of the verdict: no model is trained."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.core.atomic_files import write_json, write_parquet
from conceptbridge.evaluate.evaluate import ArmFolders, TargetFiles, evaluate
from conceptbridge.report.tables import compared

SITES = ("north", "south", "west")
EMBEDDINGS = ("onehot", "minilm", "random")
CONTROLS = {"onehot": ["minilm"], "random": ["minilm"]}
STRATEGIES = ("local", "direct", "tune-all")
SETTINGS = {
    "replicates": 100,
    "seed": 1,
    "thresholds": [],
    "alert_rates": [],
    "age_bands": [],
    "subgroups": {},
    "reference": {"strategy": "local", "embedding": "onehot", "learner": None},
    "min_cell_count": 10,
    "min_persons": 20,
    "drawn": ["random"],
}


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


def cohort_of(random: np.random.Generator, persons: int) -> tuple[pa.Table, np.ndarray]:
    """Return a cohort of persons with one to three rows, and each row's risk, which is alike within a person."""
    person = np.repeat(np.arange(persons), random.integers(1, 4, persons))
    own = random.normal(0, 1, persons)[person]
    label = (random.random(len(person)) < 1 / (1 + np.exp(2 - own))).astype(np.int8)
    split = np.array(["train", "validation", "test"])[random.choice(3, persons, p=[0.3, 0.2, 0.5])][person]
    return pa.table({"row_id": np.arange(len(person)), "person_id": person, "label": label, "split": split}), own


def scores_of(random: np.random.Generator, risk: np.ndarray, arms: Arms, seeds: int) -> np.ndarray:
    """Return an arm's probabilities (seeds, rows)."""
    common, own = random.normal(0, 1, len(risk)), random.normal(0, 1, (seeds, len(risk)))
    skill = arms.skill + arms.spread * random.normal(0, 1, (seeds, 1))
    score = skill * risk + arms.shared * common + np.sqrt(1 - arms.shared**2) * own
    return np.asarray(1 / (1 + np.exp(2 - score)))


def study_of(number: int, arms: Arms, folder: Path) -> tuple[pa.Table, pa.Table]:
    """Make a study of equal arms in ``folder`` and evaluate it as the workflow does: comparisons and summary."""
    random = np.random.default_rng(number)
    parts = []
    for target in SITES:
        cohort, risk = cohort_of(random, arms.persons)
        pq.write_table(cohort, folder / f"{target}.parquet")
        kept = cohort["split"].to_numpy() != "train"
        rows = cohort.filter(pa.array(kept)).select(["row_id", "split", "label"])
        for embedding in EMBEDDINGS:
            for strategy in STRATEGIES:
                sources = [target] if strategy == "local" else [site for site in SITES if site != target]
                tables = []
                for source in sources:
                    seeds = arms.draws if embedding == "random" else arms.seeds
                    for seed, probability in enumerate(scores_of(random, risk, arms, seeds)[:, kept]):
                        tables.append(
                            rows.append_column("source", pa.array([source] * len(rows)))
                            .append_column("seed", pa.array([seed] * len(rows), pa.int32()))
                            .append_column("probability", pa.array(probability))
                        )
                at = folder / "arms" / embedding / "cnn" / strategy / target
                write_parquet(pa.concat_tables(tables), at / "predictions.parquet")
                write_json({"sources": {source: {"reason": None} for source in sources}}, at / "arm.json")
        names = dict(zip(EMBEDDINGS, EMBEDDINGS, strict=True))
        folders = ArmFolders(folder / "arms", names, CONTROLS, ["cnn"], STRATEGIES)
        tables_of = evaluate("made", target, folders, TargetFiles(folder / f"{target}.parquet"), SETTINGS)
        parts.append((tables_of["comparisons"], tables_of["effects"]))
    return compared(*(pa.concat_tables(tables) for tables in zip(*parts, strict=True)))
