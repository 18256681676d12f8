"""Does a value reach another hospital? A hospital's models, unchanged at another, with and without `predictors.values`.

    python benchmarks/values.py --folder F
    python benchmarks/values.py --folder F --seeds 1 2 3 --embedding minilm --measurements temperature all

Runs no workflow: the library makes two hospitals of the built-in network, one network a seed. All temperatures of
riverside are in Celsius under LOINC 8310-5 (body temperature), all of lakeshore in Fahrenheit under 8331-1 (oral
temperature), whatever names the network drew for them; riverside states reference ranges, lakeshore none. So no token
of a temperature is the same at both, and only the names of the concepts tell that they are alike. ``--measurements
temperature``: no other measurement is known at either; ``all``: those that there are. Each model is trained at one
hospital on vectors of names, states in slots, and tested on all test rows of the other (direct) and of its own (local).

Prints the AUROC on test rows without and with values and the difference, with 95 % limits over the seeds (Student's t),
paired: the same persons, rows and tokens. What has been made in ``--folder`` is not made again; remove ``arms`` there
after a change of the library.
"""

import argparse
import json
import logging
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from conceptbridge import layout
from conceptbridge.core.atomic_files import atomic_folder, write_parquet
from conceptbridge.embed.compute import encode_all, load_encoder
from conceptbridge.embed.vectors import vector_table
from conceptbridge.learn.run_arm import run_arm
from conceptbridge.plan import Plan
from conceptbridge.simulate.names import Name, Naming, concept_tables, concepts
from conceptbridge.simulate.network import naming_of, simulate
from conceptbridge.sites.ingest import ingest
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.vocabulary.build import make_vocabulary
from conceptbridge.vocabulary.texts import site_tokens

ROOT = Path(__file__).parents[1]
#: the concept of each hospital's temperatures: LOINC 8310-5 in Celsius, and 8331-1 in Fahrenheit
TEMPERATURES = {"riverside": 3020891, "lakeshore": 3006322}
#: the task with and without values, by name
TASKS = {"without": False, "with": True}


def plan_of(persons: int, seed: int, embedding: str, learners: list[str]) -> Plan:
    """The demo's task at the two hospitals, with and without values."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "config/studies/three-winters.yaml").read_text(encoding="utf-8"))
    [task] = config["tasks"].values()
    tasks = {name: task | {"predictors": task["predictors"] | {"values": on}} for name, on in TASKS.items()}
    config |= {"simulate": {"persons": persons, "seed": seed}, "embeddings": [embedding], "tasks": tasks}
    config |= {"sites": {site: {"extract": "simulated"} for site in TEMPERATURES}}
    config |= {"learners": dict.fromkeys(learners), "strategies": ["local", "direct"]}
    config |= {"evaluation": {"reference": {"embedding": embedding}}}
    return Plan.read(config)


def tables_of(site: str, persons: int, seed: int, measurements: str) -> dict[str, pa.Table]:
    """A hospital's extract in which all temperatures have one concept, with no other measurements or with ``all``."""
    tables, naming = simulate(site, persons, seed), naming_of(site, seed)
    here = naming.of_finding["measurements/temperature"]
    concept = TEMPERATURES[site]
    name = Name(concept, str(concepts().loc[concept, "concept_name"]), "Measurement")
    measured = tables["measurement"]
    found = pc.is_in(measured["measurement_source_value"], pa.array([naming.names[i].text for i in here]))
    for column, value in (("measurement_concept_id", concept), ("measurement_source_value", name.text)):
        index, old = measured.column_names.index(column), measured[column]
        measured = measured.set_column(index, column, pc.if_else(found, pa.scalar(value, old.type), old))
    tables["measurement"] = measured if measurements == "all" else measured.filter(found)
    return tables | concept_tables(site, Naming((*naming.names, name), naming.of_finding))


def make_site(site: str, plan: Plan, persons: int, seed: int, measurements: str, results: Path) -> None:
    """Make a hospital's files of both tasks, and the vectors of its names, unless they are there."""
    study, [embedding] = plan.study, plan.embeddings
    vectors = layout.vectors(results, embedding.id, site)
    cdm, vocabulary = (results / layout.place(kind, site=site) for kind in (layout.CDM, layout.VOCABULARY))
    config, minimum = study.config, int(study.config["min_cell_count"])
    if not cdm.is_dir():
        extract = results / "simulated" / site
        with atomic_folder(extract) as temporary:
            for name, table in tables_of(site, persons, seed, measurements).items():
                write_parquet(table, temporary / f"{name}.parquet")
        cdm.parent.mkdir(parents=True, exist_ok=True)
        ingest(extract, cdm, cdm.parent / "quality.json", json.loads(study.reading(site)))
        texts = config["texts"] | {"states": config["states"]}
        make_vocabulary(cdm, site, texts, config["roll_up"], minimum, vocabulary)
    for name, task in config["tasks"].items():
        cohort, tokens, sequences = layout.rows(results, name, site)
        if not sequences.is_file():
            cohort.parent.mkdir(parents=True, exist_ok=True)
            more = (cohort.parent / "attrition.csv", cohort.parent / "splits.parquet")
            make_cohort(cdm, site, task, minimum, cohort, *more)
            make_sequences(cdm, site, vocabulary, cohort, task, config["roll_up"], tokens, sequences)
    if not vectors.is_file():
        vectors.parent.mkdir(parents=True, exist_ok=True)
        named = sorted(set(site_tokens(vocabulary, True)["text"].to_pylist()))
        pq.write_table(vector_table(named, encode_all(load_encoder(embedding.spec), named)), vectors)


def auroc(plan: Plan, results: Path, task: str, learner: str, strategy: str, target: str) -> float:
    """AUROC on the target's test rows of an arm with one source, made unless it is there: of the seeds' mean."""
    [embedding] = plan.embeddings
    out = layout.arm(results, task, embedding.id, learner, strategy, target)
    if not out.is_dir():
        out.parent.mkdir(parents=True, exist_ok=True)
        run_arm(plan.arm(task, embedding.id, learner, strategy, target), results, out)
    predicted = pd.read_parquet(out / "predictions.parquet")
    predicted = predicted[predicted["split"] == "test"]
    of_row = predicted.groupby("row_id").agg(label=("label", "first"), p=("probability", "mean"))
    return float(roc_auc_score(of_row["label"], of_row["p"]))


def measure(
    persons: int, seed: int, embedding: str, measurements: str, learners: list[str], folder: Path
) -> list[dict[str, Any]]:
    """One row per arm of a network: the AUROC without and with values."""
    plan, cells = plan_of(persons, seed, embedding, learners), []
    results = folder / f"{persons}-{seed}-{measurements}"
    for site in TEMPERATURES:
        make_site(site, plan, persons, seed, measurements, results)
    for learner, strategy, target in product(learners, ("local", "direct"), TEMPERATURES):
        [other] = set(TEMPERATURES) - {target}
        source = target if strategy == "local" else other
        at = {"measurements": measurements, "learner": learner, "strategy": strategy, "seed": seed}
        found = {name: auroc(plan, results, name, learner, strategy, target) for name in TASKS}
        cells.append(at | {"from": source, "at": target} | found)
    return cells


def limits(values: "pd.Series[float]") -> str:
    """Mean and 95 % limits over the seeds: Student's t."""
    n, mean = len(values), values.mean()
    if n < 2:
        return f"{mean:+.4f}"
    half = student.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"


def summary(cells: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row per group: mean AUROC without and with values, the difference, and in how many cells it is above 0."""
    gain = cells.assign(gain=cells["with"] - cells["without"])
    rows = []
    for names, group in gain.groupby(by, sort=False):
        row = dict(zip(by, names, strict=True)) | {name: f"{group[name].mean():.4f}" for name in TASKS}
        better = f"{(group['gain'] > 0).sum()} of {len(group)}"
        rows.append(row | {"with minus without": limits(group.groupby("seed")["gain"].mean()), "better in": better})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--persons", type=int, default=20000, help="of the network's first three hospitals")
    parser.add_argument("--embedding", default="minilm", help="an embedding of texts: minilm, lexical")
    parser.add_argument("--measurements", nargs="+", choices=["temperature", "all"], default=["temperature", "all"])
    parser.add_argument("--learners", nargs="+", default=["logistic", "lightgbm"], help="those that see windows")
    parser.add_argument("--folder", type=Path, required=True, help="where networks and models are kept")
    a = parser.parse_args()
    logging.disable(logging.WARNING)
    cells = pd.DataFrame(
        [
            cell
            for measurements, seed in product(a.measurements, a.seeds)
            for cell in measure(a.persons, seed, a.embedding, measurements, a.learners, a.folder)
        ]
    )
    arm = ["measurements", "learner", "strategy"]
    print(f"{a.embedding}, {a.persons:,} persons, seeds {', '.join(map(str, a.seeds))}: AUROC on test rows\n")
    print(summary(cells, [*arm, "from", "at"]).to_string(index=False))
    print(f"\nmean of both hospitals\n\n{summary(cells, arm).to_string(index=False)}")


if __name__ == "__main__":
    main()
