"""A made-up study on disk, in the shape that training leaves behind, for tests of evaluation and report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

TASK = "influenza"
SITES = ("lakeside", "prairie", "riverside")
SCARCE = "prairie"
WHY_SCARCE = "too few events among the training rows"
EMBEDDINGS = {
    "minilm": "minilm-aaaaaaaaaaaa",
    "onehot": "onehot-bbbbbbbbbbbb",
    "random": "random-cccccccccccc",
}
CONTROLS = ("onehot", "random")
LEARNERS = ("cnn", "lightgbm")
STRATEGIES = ("local", "direct", "tune-head")
SEEDS = (1, 2, 3)


def skill(embedding: str, strategy: str) -> float:
    """How much of the true risk an arm sees: names carry a model across, codes do not, home is home."""
    if strategy == "local":
        return 0.8
    return 1.5 if embedding == "minilm" else 0.0


def make_cohort(persons: int, seed: int) -> tuple[pa.Table, NDArray[np.float64]]:
    """Return a cohort of one to three rows a person and the true risk (log odds) of every row."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(persons), random.integers(1, 4, persons))
    risk = random.normal(0, 1.5, persons)[person] + random.normal(0, 0.5, len(person))
    label = random.random(len(person)) < 1 / (1 + np.exp(1.5 - risk))
    split = np.array(["train", "validation", "test"])[random.integers(0, 3, persons)][person]
    cohort = pa.table(
        {
            "row_id": pa.array(np.arange(len(person)) + 100, pa.int64()),
            "person_id": pa.array(person + 7000, pa.int64()),
            "label": pa.array(label, pa.int8()),
            "split": split,
        }
    )
    return cohort, risk


def write_arm(
    folder: Path,
    cohort: pa.Table,
    sources: Mapping[str, NDArray[np.float64] | str],
    seeds: Sequence[int] = SEEDS,
) -> None:
    """Write one arm's folder; ``sources`` maps to a reason, or to probabilities (seeds, cohort's rows)."""
    inside = np.isin(cohort["split"].to_numpy().astype(str), ("validation", "test"))
    parts = []
    for source, probability in sources.items():
        if not isinstance(probability, str):
            rows = cohort.filter(inside).select(["row_id", "split", "label"])
            parts += [
                rows.append_column("source", pa.array([source] * len(rows), pa.string()))
                .append_column("seed", pa.array([seed] * len(rows), pa.int32()))
                .append_column("probability", pa.array(of_seed[inside], pa.float64()))
                for seed, of_seed in zip(seeds, probability, strict=True)
            ]
    schema = pa.schema(
        [
            ("row_id", pa.int64()),
            ("split", pa.string()),
            ("label", pa.int8()),
            ("source", pa.string()),
            ("seed", pa.int32()),
            ("probability", pa.float64()),
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(parts) if parts else schema.empty_table(), folder / "predictions.parquet")
    about = {name: {"reason": value if isinstance(value, str) else None} for name, value in sources.items()}
    (folder / "arm.json").write_text(json.dumps({"sources": about}))


def write_study(results: Path, persons: int = 400, noise: bool = False) -> None:
    """Write cohorts, arms, tokens, attrition and data quality of three sites; one has too few events."""
    for number, target in enumerate(SITES):
        cohort, risk = make_cohort(persons, number)
        at_site = results / "tasks" / TASK / target
        at_site.mkdir(parents=True)
        pq.write_table(cohort, at_site / "cohort.parquet")
        (at_site / "attrition.csv").write_text(
            f'step,persons,rows,events\n"an emergency visit",{persons},{len(cohort)},\nage known,,,\n'
        )
        pq.write_table(_tokens(number), at_site / "tokens.parquet")
        pq.write_table(_leaks(), at_site / "leaks.parquet")
        quality = {
            "tables": {"person": {"read": persons, "kept": persons - 20, "repaired": {"birth date": 15}}},
            "named_share": 0.98,
        }
        site = results / "sites" / target
        site.mkdir(parents=True)
        (site / "quality.json").write_text(json.dumps(quality))
        for place, embedding in enumerate(EMBEDDINGS):
            for learner in LEARNERS:
                for strategy in STRATEGIES:
                    random = np.random.default_rng([number, place, LEARNERS.index(learner)])
                    sources: dict[str, NDArray[np.float64] | str] = {}
                    for source in [target] if strategy == "local" else sorted(set(SITES) - {target}):
                        seen = 0.0 if noise else skill(embedding, strategy)
                        score = seen * risk + random.normal(0, 1, (len(SEEDS), len(risk)))
                        sources[source] = WHY_SCARCE if source == SCARCE else 1 / (1 + np.exp(1.5 - score))
                    folder = results / "arms" / TASK / EMBEDDINGS[embedding] / learner / strategy / target
                    write_arm(folder, cohort, sources)


def _leaks() -> pa.Table:
    """Twenty predictors: the last is the nearest by name, the first the nearest by what it tells, and suspicious."""
    n = np.arange(20)
    return pa.table(
        {
            "key": [f"{i}|present" for i in n],
            "text": [f"finding {i}" for i in n],
            "domain": ["condition"] * 20,
            "rows": [50] * 20,
            "auroc": 0.8 - 0.01 * n,
            "auroc_rank": pa.array(n + 1, pa.int32()),
            "similarity": 0.1 + 0.01 * n,
            "similarity_rank": pa.array(20 - n, pa.int32()),
            "nearest": ["Influenza"] * 20,
            "suspicious": n == 0,
        }
    )


def _tokens(site: int) -> pa.Table:
    """Ten tokens: five keys that all sites share, five of the site's own, one with a shared text."""
    keys = [f"{concept}:present" for concept in [*range(5), *range(100 * site + 10, 100 * site + 15)]]
    texts = [f"finding {key}" for key in keys[:9]] + ["Cough" if site else "cough"]
    return pa.table({"token": range(10), "key": keys, "text": texts, "rows": [50] * 5 + [10] * 5})
