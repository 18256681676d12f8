"""What a local arm on vectors costs at a large site: CPU seconds and peak memory of the job `train`, by rows.

    python benchmarks/large.py                                            # 13,000 and 130,000 rows
    python benchmarks/large.py --rows 650000 --learners lightgbm cnn --trees 20

Made-up rows: 20 events in a year, of 300 tokens whose popularity differs, a third of them with a value, age and sex;
the outcome depends on some of them. The vectors are random ones of MiniLM's shape (384, reduced to 64 components), the
windows the default ones. Each learner is trained with one seed and the first value of each searched setting, and
predicts the validation and test rows; networks make one pass, and say so. A cell is a process of its own, on one core.
"Asked" is what rule `train` asks for, of inputs of this size (workflow/rules/arms.smk).
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge import layout
from conceptbridge.core.atomic_files import atomic_file
from conceptbridge.embed.vectors import vector_table
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.registry import learner
from conceptbridge.learn.run_arm import run_arm

ROOT = Path(__file__).parents[1]
LEARNERS = ("logistic", "lightgbm", "cnn", "transformer")
TASK, SITE, TABLES = "made", "here", "made-0"
EVENTS, MEASURED, NAMED, WIDTH = 20, 20, 240, 384
WINDOWS = {"days": [[0, 0], [-30, -1], [-365, -31]], "values": True}


def make(results: Path, rows: int) -> None:
    """Write the files of a site with so many rows."""
    rng = np.random.default_rng(1)
    keys = [f"{i}|present" for i in range(NAMED)]
    keys += [f"{NAMED + i}|{state}" for i in range(MEASURED) for state in ("high", "low", "normal")]
    keys += ["age|category", "sex|category"]
    states = [key.rpartition("|")[2] for key in keys]
    texts = [f"concept {key.rpartition('|')[0]}" for key in keys]
    age, sex = len(keys) - 2, len(keys) - 1
    lengths = rng.gamma(4, EVENTS / 4, rows).astype(np.int64) + 2
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    count = int(offsets[-1])
    row = np.repeat(np.arange(rows), lengths)
    day = np.where(rng.random(count) < 0.3, 0, -(365 * rng.random(count) ** 2).astype(np.int64) - 1)
    token = (age * rng.random(count) ** 2).astype(np.int64)
    token = rng.permutation(age)[token]
    value = np.where(token >= NAMED, rng.normal(size=count), np.nan).astype(np.float32)
    for personal, at in ((age, offsets[:-1]), (sex, offsets[:-1] + 1)):
        token[at], day[at] = personal, -365
    value[offsets[:-1]], value[offsets[:-1] + 1] = rng.normal(size=rows), np.nan
    order = np.lexsort((token, day, row))
    token, day, value = token[order], day[order], value[order]
    effect = rng.normal(0, 0.4, len(keys)) * (rng.random(len(keys)) < 0.3)
    risk = np.bincount(row, effect[token] * np.exp(day / 100) * np.where(np.isnan(value), 1, value), rows)
    label = (rng.random(rows) < 1 / (1 + np.exp(2.2 - risk))).astype(np.int8)
    split = rng.choice(["train", "validation", "test"], rows, p=[0.7, 0.1, 0.2])
    ids = np.arange(rows)
    training = np.bincount(np.unique(row * len(keys) + token) % len(keys), minlength=len(keys))

    def lists(numbers: np.ndarray, kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(numbers, kind, from_pandas=True))

    tables = (
        pa.table({"row_id": ids, "person_id": ids, "label": label, "split": split}),
        pa.table({"key": keys, "text": texts, "state": states, "rows": training}),
        pa.table(
            {
                "row_id": ids,
                "tokens": lists(token, pa.int32()),
                "days": lists(day, pa.int16()),
                "values": lists(value, pa.float32()),
            }
        ),
        vector_table(sorted(set(texts)), rng.normal(size=(len(set(texts)), WIDTH)).astype(np.float32)),
    )
    for path, table in zip(
        (*layout.rows(results, TASK, SITE), layout.vectors(results, TABLES, SITE)), tables, strict=True
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as new:
            pq.write_table(table, new)


def train(name: str, results: Path, trees: int | None) -> dict[str, float]:
    """Make the arm of a learner, of so many ``trees`` at most, and return what it took."""
    one = learner(name)
    given = {key: value for key, value in one.default("fair").items() if key not in one.tuning}
    settings = {key: value[0] if isinstance(value, list) else value for key, value in given.items()}
    if name == "lightgbm":
        settings |= {"num_leaves": 8} | ({"num_iterations": trees // 2} if trees else {})  # a cap is extended once
    if one.takes_passes:
        settings["max_passes"] = 1
    budget = Budget(settings, {}, 1, 1, 10, 10, 10, True, 64)
    embedding = ArmEmbedding("made", "0" * 12, "transformers", TABLES, TABLES)
    windows = WINDOWS if one.sees == "windows" else None
    job = ArmJob(TASK, SITE, [SITE], "local", name, embedding, budget, windows=windows)
    begun = time.process_time()
    with TemporaryDirectory() as folder:
        run_arm(job, results, Path(folder) / "arm")
        kept = json.loads((Path(folder) / "arm" / "models" / SITE / "model.json").read_text())["kept"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"cpu": time.process_time() - begun, "peak": peak, "kept": kept[0]}


def asked_for(results: Path) -> float:
    """The GiB that rule `train` asks for."""
    rule = re.search(
        r"^rule train:.*?mem_mb=grow\((\d+), per_mb=(\d+)\)",
        (ROOT / "workflow/rules/arms.smk").read_text(),
        re.M | re.S,
    )
    assert rule is not None
    files = (*layout.rows(results, TASK, SITE), layout.vectors(results, TABLES, SITE))
    size = sum(path.stat().st_size for path in files) / 1e6
    return (int(rule[1]) + int(rule[2]) * size) * 1e6 / 1024**3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[13_000, 130_000])
    parser.add_argument("--learners", nargs="+", default=LEARNERS, choices=LEARNERS)
    parser.add_argument("--trees", type=int, help="the most trees of lightgbm (default: the learner's own)")
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.of is not None:
        print(json.dumps(train(asked.learners[0], asked.of, asked.trees)))
        return
    print("| rows | learner | CPU s | peak, GiB | asked, GiB | kept |\n|---|---|---|---|---|---|")
    for rows in asked.rows:
        with TemporaryDirectory() as folder:
            make(Path(folder), rows)
            for name in asked.learners:
                command = [sys.executable, __file__, "--of", folder, "--learners", name]
                command += ["--trees", str(asked.trees)] if asked.trees else []
                took = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
                cells = f"{took['cpu']:.0f} | {took['peak']:.1f} | {asked_for(Path(folder)):.1f} | {took['kept']:.0f}"
                print(f"| {rows:,} | `{name}` | {cells} |", flush=True)


if __name__ == "__main__":
    main()
