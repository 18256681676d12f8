"""Evaluate one target of a large study, against one scikit-learn call per resample: `python benchmarks/evaluate.py`.

Writes made-up predictions of 2,000 arms on 10,000 test rows to a temporary folder. Evaluates them with 1,000 replicates
by the library call that the workflow's rule makes. Prints the time, and its ratio to scikit-learn's (three metrics,
measured on a few resamples and scaled up).
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.evaluate.evaluate import ArmFolders, TargetFiles, evaluate

SOURCES, STRATEGIES, LEARNERS = 10, ("local", "direct", "recalibrate", "tune-head", "tune-all"), ("cnn", "lightgbm")
SETTINGS = {
    "seed": 1,
    "thresholds": [0.05, 0.1, 0.2],
    "alert_rates": [0.05, 0.1],
    "age_bands": [18, 40, 65],
    "subgroups": {},
    "reference": {"strategy": "local", "embedding": "onehot", "learner": None},
    "min_cell_count": 10,
    "min_persons": 20,
    "drawn": [],
}


def write(folder: Path, arms: int, rows: int, seeds: int) -> list[str]:
    """Write a cohort of ``rows`` test rows and half as many validation rows, and the arms; return the embeddings."""
    random = np.random.default_rng(1)
    count = rows + rows // 2
    persons = int(0.8 * count)
    split = np.where(np.arange(persons) % 3 == 0, "validation", "test")
    person = np.sort(random.integers(0, persons, 3 * count))
    of_split = split[person]
    chosen = np.sort(
        np.r_[np.flatnonzero(of_split == "test")[:rows], np.flatnonzero(of_split == "validation")[: rows // 2]]
    )
    person, of_split = person[chosen], of_split[chosen]
    risk = random.normal(-2.5, 1.2, count)
    label = (random.random(count) < 1 / (1 + np.exp(-risk))).astype(np.int8)
    cohort = pa.table(
        {
            "row_id": np.arange(count),
            "person_id": person,
            "label": label,
            "split": of_split,
            "sex": np.array(["female", "male"])[person % 2],
            "age": pa.array(person % 90, pa.int16()),
            "race": np.array(["a", "b", "c"])[person % 3],
        }
    )
    pq.write_table(cohort, folder / "cohort.parquet")
    sources = [f"site{number}" for number in range(SOURCES)]
    per_embedding = len(LEARNERS) * (1 + (len(STRATEGIES) - 1) * SOURCES)
    embeddings = ["onehot", *(f"embedding{number}" for number in range(1, -(-arms // per_embedding)))]
    for embedding in embeddings:
        for learner in LEARNERS:
            for strategy in STRATEGIES:
                here = ["target"] if strategy == "local" else sources
                score = risk + random.normal(0, 1.5, (len(here), seeds, count))
                table = pa.table(
                    {
                        "source": pa.DictionaryArray.from_arrays(
                            np.repeat(np.arange(len(here), dtype=np.int32), seeds * count), here
                        ),
                        "seed": pa.array(np.tile(np.repeat(np.arange(1, seeds + 1), count), len(here)), pa.int32()),
                        "row_id": np.tile(np.arange(count), len(here) * seeds),
                        "split": pa.DictionaryArray.from_arrays(
                            np.tile((of_split == "test").astype(np.int32), len(here) * seeds), ["validation", "test"]
                        ),
                        "label": np.tile(label, len(here) * seeds),
                        "probability": (1 / (1 + np.exp(-score))).ravel(),
                    }
                )
                at = folder / "arms" / embedding / learner / strategy / "target"
                at.mkdir(parents=True)
                pq.write_table(table, at / "predictions.parquet", compression="zstd")
                (at / "arm.json").write_text(json.dumps({"sources": {source: {"reason": None} for source in here}}))
    return embeddings


def main() -> None:
    """Write, evaluate, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        embeddings = write(folder, asked.arms, asked.rows, asked.seeds)
        before, start = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), time.perf_counter()
        tables = evaluate(
            "task",
            "target",
            ArmFolders(
                folder / "arms",
                dict(zip(embeddings, embeddings, strict=True)),
                {"onehot": [name for name in embeddings if name != "onehot"]},
                LEARNERS,
                STRATEGIES,
            ),
            TargetFiles(folder / "cohort.parquet"),
            SETTINGS | {"replicates": asked.replicates},
            asked.processes,
        )
        seconds = time.perf_counter() - start
        arms = len(tables["training_budget"])
        test = pq.read_table(folder / "cohort.parquet", filters=[("split", "=", "test")])
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) - before
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(f"{arms} arms x {asked.seeds} seeds x {len(test)} test rows x {asked.replicates} replicates")
    print(f"{seconds:.0f} s in {asked.processes} processes ({used:.0f} s of CPU), peak {peak:.0f} MiB per process")


if __name__ == "__main__":
    main()
