"""Studies whose labels are noise: how many of them claim anything? `python benchmarks/noise.py`.

Each study has three targets. At each there are models of several embeddings, strategies and sources whose scores know
nothing of the labels. The study is evaluated and joined as in the workflow. It counts if any comparison, of any
question and metric, or any summary has a corrected p below 0.05. Printed beside it: how many would count without the
correction.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.core.atomic_files import write_json, write_parquet
from conceptbridge.evaluate.evaluate import ArmFolders, TargetFiles, evaluate
from conceptbridge.evaluate.multiple_testing import ALPHA
from conceptbridge.report.tables import compared

SITES, EMBEDDINGS, STRATEGIES = (
    ("north", "south", "west"),
    ("onehot", "minilm", "random"),
    ("local", "direct", "tune-all"),
)
SETTINGS = {
    "replicates": 200,
    "seed": 1,
    "interval": "percentile",
    "thresholds": [],
    "alert_rates": [],
    "age_bands": [],
    "subgroups": {},
    "reference": {"strategy": "local", "embedding": "onehot", "learner": None},
    "min_cell_count": 10,
}


def study(number: int, persons: int = 600, seeds: int = 3) -> tuple[int, bool, bool]:
    """Make and evaluate a study of noise; return its number, and whether it claims anything, corrected or not."""
    random = np.random.default_rng(number)
    parts = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for target in SITES:
            # a person's rows share a risk that no model sees, so that they are alike
            person = np.repeat(np.arange(persons), random.integers(1, 4, persons))
            risk = random.normal(-2, 1, persons)[person]
            label = (random.random(len(person)) < 1 / (1 + np.exp(-risk))).astype(np.int8)
            split = np.array(["train", "validation", "test"])[random.choice(3, persons, p=[0.4, 0.2, 0.4])][person]
            cohort = pa.table({"row_id": np.arange(len(person)), "person_id": person, "label": label, "split": split})
            pq.write_table(cohort, folder / f"{target}.parquet")
            rows = cohort.filter(pa.array(split != "train")).select(["row_id", "split", "label"])
            kept = split != "train"
            for embedding in EMBEDDINGS:
                for strategy in STRATEGIES:
                    sources = [target] if strategy == "local" else [site for site in SITES if site != target]
                    at = folder / "arms" / embedding / "cnn" / strategy / target
                    tables = []
                    for source in sources:
                        # what a model learns by chance is the same for all rows of a person, and for all seeds
                        common = random.normal(0, 1, persons)[person]
                        for seed in range(seeds):
                            score = -2 + 0.5 * (common + 0.5 * random.normal(0, 1, len(person)))
                            tables.append(
                                rows.append_column("source", pa.array([source] * len(rows)))
                                .append_column("seed", pa.array([seed] * len(rows), pa.int32()))
                                .append_column("probability", pa.array((1 / (1 + np.exp(-score)))[kept]))
                            )
                    write_parquet(pa.concat_tables(tables), at / "predictions.parquet")
                    write_json({"sources": {source: {"reason": None} for source in sources}}, at / "arm.json")
            embeddings = dict(zip(EMBEDDINGS, EMBEDDINGS, strict=True))
            arms = ArmFolders(folder / "arms", embeddings, ["onehot", "random"], ["cnn"], STRATEGIES)
            evaluation = evaluate("noise", target, arms, TargetFiles(folder / f"{target}.parquet"), SETTINGS)
            parts.append((evaluation["comparisons"], evaluation["effects"]))
    comparisons, summary = compared(*(pa.concat_tables(tables) for tables in zip(*parts, strict=True)))
    rows_of = [*comparisons.to_pylist(), *summary.to_pylist()]
    # that the recommended arm is worse than chance is not a claim
    claimed = [row for row in rows_of if row.get("question") != "chance" or row["difference"] > 0]
    claims = [any(row[name] is not None and row[name] < ALPHA for row in claimed) for name in ("p_holm", "p")]
    return number, claims[0], claims[1]


def main() -> None:
    """Run the studies and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.processes) as pool:
        found = list(pool.map(study, range(asked.studies)))
    corrected, plain = (sum(claims) for claims in list(zip(*found, strict=True))[1:])
    print(f"{asked.studies} studies of noise, {len(SITES)} targets, {len(EMBEDDINGS) * (1 + 2 * 2)} arms at each")
    print(f"any claim after correction: {corrected} ({corrected / asked.studies:.1%})")
    print(f"without correction: {plain} ({plain / asked.studies:.1%})")


if __name__ == "__main__":
    main()
