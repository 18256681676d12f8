"""A made-up study on disk, in the shape that training leaves behind, for tests of evaluation and report."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.tasks.prevalence import split_table

TASK = "influenza"
SITES = ("lakeside", "prairie", "riverside")
SCARCE = "prairie"
WHY_SCARCE = "too few events among the training rows"
EMBEDDINGS = {
    "minilm": "minilm-aaaaaaaaaaaa",
    "onehot": "onehot-bbbbbbbbbbbb",
    "random": "random-cccccccccccc",
}
CONTROLS = {"onehot": ["minilm"], "random": ["minilm"]}
LEARNERS = ("cnn", "lightgbm")
STRATEGIES = ("local", "direct", "tune-head")
ARMS = (EMBEDDINGS, CONTROLS, LEARNERS, STRATEGIES)
SEEDS = (1, 2, 3)
SETTINGS = {
    "replicates": 200,
    "seed": 7,
    "thresholds": [0.2],
    "alert_rates": [0.3],
    "age_bands": [40],
    "subgroups": {"first-finding": [0]},
    "reference": {"strategy": "local", "embedding": "onehot", "learner": None},
    "min_cell_count": 10,
    "min_persons": 10,
    "drawn": ["random"],
    "trained_as": {},
}
"""The config's evaluation, min_cell_count, and the controls whose vectors are drawn."""


def skill(embedding: str, strategy: str) -> float:
    """How much of the true risk an arm sees: names carry a model across, codes do not; local arms are alike."""
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
    year = np.array(["2021-03-01", "2022-03-01", "2023-03-01"], "datetime64[D]")
    cohort = pa.table(
        {
            "row_id": pa.array(np.arange(len(person)) + 100, pa.int64()),
            "person_id": pa.array(person + 7000, pa.int64()),
            "label": pa.array(label, pa.int8()),
            "split": split,
            "sex": np.array(["female", "male"])[person % 2],
            "age": pa.array(person % 90, pa.int16()),
            "race": np.array(["White", "Asian", "unknown"])[np.minimum(person % 20, 2)],
            "index_date": pa.array(year[(split == "validation") + 2 * (split == "test")], pa.date32()),
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
    spent = {"trials": 4, "steps": 2400, "kept": [300] * len(seeds), "chosen": {"learning_rate": 0.01}}
    # an edge was chosen of the arms of one embedding, and again after its extension
    at_edge = ["learning_rate"] if "minilm-aaaaaaaaaaaa" in folder.parts else []
    spent |= {"extended": at_edge, "at_edge": at_edge}
    about = {
        name: {"reason": value if isinstance(value, str) else None, "train_rows": 800, "train_events": 160}
        | ({} if isinstance(value, str) else {"spent": spent})
        for name, value in sources.items()
    }
    (folder / "arm.json").write_text(json.dumps({"sources": about}))


SIZES, REPLICATES, DEPTHS = (10, 20, 40, 80), (1, 2), (0.0, 0.5, 1.0)


def write_curves(
    folder: Path,
    cohort: pa.Table,
    sized: Mapping[str, Callable[[int, int, int], NDArray[np.float64]]],
    depths: Mapping[str, Callable[[float, int], NDArray[np.float64]]],
) -> None:
    """Write an arm's curves; functions of (size, replicate, seed) or (depth, seed) give every row's probability."""
    splits = cohort["split"].to_numpy().astype(str)
    parts = []

    def add(
        source: str, inside: NDArray[np.bool_], seed: int, at: Mapping[str, float], of: NDArray[np.float64]
    ) -> None:
        rows = cohort.filter(inside).select(["row_id", "split", "label"])
        kinds = {"size": pa.int64(), "replicate": pa.int32(), "depth": pa.float64()}
        parts.append(
            pa.table(
                {"source": pa.array([source] * len(rows), pa.string())}
                | {name: pa.array([at.get(name)] * len(rows), kind) for name, kind in kinds.items()}
                | {"seed": pa.array([seed] * len(rows), pa.int32())}
                | {name: rows[name] for name in rows.column_names}
                | {"probability": of[inside]}
            )
        )

    for source, curve in sized.items():
        for size, replicate, seed in product(SIZES, REPLICATES, SEEDS):
            add(source, splits == "test", seed, {"size": size, "replicate": replicate}, curve(size, replicate, seed))
    for source, tuned in depths.items():
        for depth, seed in product(DEPTHS, SEEDS):
            add(source, splits != "train", seed, {"depth": depth}, tuned(depth, seed))
    pq.write_table(pa.concat_tables(parts), folder / "curves.parquet")


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
        splits = split_table(cohort, (persons, len(cohort), None), (None, None, None), True, 10)
        pq.write_table(splits, at_site / "splits.parquet")
        pq.write_table(_tokens(number), at_site / "tokens.parquet")
        pq.write_table(_sequences(number, len(cohort)), at_site / "sequences.parquet")
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
                    if learner == "cnn" and strategy != "direct":
                        there = [source for source in sources if source != SCARCE]
                        _write_curves(folder, cohort, strategy, there, 0 * risk if noise else risk)


def _write_curves(
    folder: Path, cohort: pa.Table, strategy: str, sources: Sequence[str], risk: NDArray[np.float64]
) -> None:
    """A local model sees more of the risk the more events it is given; tuning adds little, and too much of it hurts."""

    def by_size(size: int, replicate: int, seed: int) -> NDArray[np.float64]:
        seen = 0.02 * size if strategy == "local" else 1.2 + 0.002 * size
        score = seen * risk + np.random.default_rng([size, replicate, seed]).normal(0, 1, len(risk))
        return np.asarray(1 / (1 + np.exp(1.5 - score)))

    def by_depth(depth: float, seed: int) -> NDArray[np.float64]:
        score = (1.5 - (depth - 0.5) ** 2) * risk + np.random.default_rng([int(10 * depth), seed]).normal(
            0, 1, len(risk)
        )
        return np.asarray(1 / (1 + np.exp(1.5 - score)))

    depths = {} if strategy == "local" else dict.fromkeys(sources, by_depth)
    if sources:
        write_curves(folder, cohort, dict.fromkeys(sources, by_size), depths)


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
            "lift": 2.0 - 0.05 * n,
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
    concepts = [int(key.split(":")[0]) for key in keys]
    return pa.table(
        {"token": range(10), "key": keys, "text": texts, "concept_id": concepts, "state": ["present"] * 10}
        | {"rows": [50] * 5 + [10] * 5}
    )


def _sequences(site: int, rows: int) -> pa.Table:
    """One to four events a row, of the ten tokens."""
    random = np.random.default_rng([site, 1])
    tokens = [random.integers(0, 10, random.integers(1, 5)) for _ in range(rows)]
    return pa.table({"row_id": np.arange(rows) + 100, "tokens": pa.array(tokens, pa.list_(pa.int32()))})
