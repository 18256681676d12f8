"""How fast events become sequences, and in what memory, on a made-up site of any size.

    python benchmarks/tasks.py                              1 million persons, 200 million events (about 3 GB on disk)
    python benchmarks/tasks.py --persons 50000 --events 10000000

The tables' rows are in no order: ingest keeps that of the extract, whatever it is (--in-order: person by person).
Each step is a process of its own on two threads; its peak memory is that of the process. Beside a DuckDB script:
benchmarks/records.py.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

from conceptbridge.sites.cdm import TABLES

TEXTS = {"states": "words", "present": "{name}", "absent": "Not {name}", "other": "{name}, {state}"}
ROLL_UP = {"drug": "none", "condition": 0}
OUTCOME = 9_999_999
TASK: dict[str, Any] = {
    "index": {"domain": "visit", "concepts": [9203], "exclude": [], "descendants": True, "value": None, "visits": [],
              "at": "start", "period": None, "occurrence": "first", "washout": 0, "prior_observation": 365,
              "age": None, "sex": None},
    "outcome": {"domain": "condition", "concepts": [OUTCOME], "exclude": [], "descendants": True, "value": None,
                "visits": [], "days": [1, 365], "washout": 0},
    "censoring": "keep", "min_time_at_risk": None, "on_few_events": "report",
    "predictors": {"days": [-3650, 0], "occurrence": "all", "max_tokens": 512, "values": True,
                   "domains": ["condition", "drug", "procedure", "measurement", "observation", "demographic"]},
    "guards": {"outcome_concepts": True, "open_visit": "discharge"},
    "split": {"by": "hash", "shares": [0.6, 0.2, 0.2], "seed": 0}, "min_values": 10,
}  # fmt: skip
#: table -> share of the events, number of concepts, first concept id
SHARES = {
    "condition_occurrence": (0.45, 10_000, 100_000),
    "drug_exposure": (0.30, 5_000, 200_000),
    "procedure_occurrence": (0.10, 2_000, 300_000),
    "measurement": (0.15, 500, 400_000),
}
GIB = 1024**2  # of ru_maxrss's KiB


def make_site(cdm: Path, persons: int, events: int, in_order: bool) -> None:
    """Write typed tables: ten years of events, in no order or in that of person_id; an emergency visit in the last."""
    cdm.mkdir(parents=True)
    day = "DATE '2010-01-01' + (hash(i, 1) % 3640)::INTEGER"
    given: dict[str, tuple[str, dict[str, str]]] = {
        "person": (f"range({persons})", {"person_id": "i", "year_of_birth": "1930 + hash(i, 2) % 80",
                                          "gender_concept_id": "8507 + 25 * (i % 2)"}),
        "observation_period": (f"range({persons})", {"person_id": "i",
                               "observation_period_start_date": "DATE '2010-01-01'",
                               "observation_period_end_date": "DATE '2021-12-31'"}),
        "visit_occurrence": (f"range({persons})", {"person_id": "i", "visit_occurrence_id": "i",
                             "visit_concept_id": "9203", "visit_start_date": "DATE '2019-12-01' + (i % 300)::INTEGER"}),
        "concept": ("(SELECT unnest(generate_series(100000, 499999, 1)) AS i)",
                    {"concept_id": "i", "concept_name": "'Concept ' || i"}),
    }  # fmt: skip
    for table, (share, concepts, first) in SHARES.items():
        n = round(events * share)
        prefix = table.split("_")[0]
        date = {"condition": "condition_start_date", "drug": "drug_exposure_start_date"}.get(prefix, f"{prefix}_date")
        columns = {
            "person_id": f"i * {persons} // {n}" if in_order else f"hash(i, 7) % {persons}",
            f"{prefix}_concept_id": f"{first} + floor({concepts} * pow((hash(i, 3) % 1000000) / 1000000.0, 3))",
            date: day,
            f"{prefix}_source_value": f"'S' || (hash(i, 3) % {concepts})",
        }
        if prefix == "condition":
            columns["condition_concept_id"] = (
                f"CASE WHEN hash(i, 9) % 1000 = 0 THEN {OUTCOME} ELSE {columns['condition_concept_id']} END"
            )
        if table == "measurement":
            columns |= {"value_as_number": "(hash(i, 5) % 1000) / 10.0", "unit_concept_id": "8840"}
        given[table] = (f"range({n})", columns)
    with duckdb.connect(config={"memory_limit": "3GB", "threads": 2}) as db:
        for table, types in TABLES.items():
            source, columns = given.get(table, ("range(0)", {}))
            select = ", ".join(f"({columns.get(c, 'NULL')})::{kind} AS {c}" for c, kind in types.items())
            rows = source if source.startswith("(") else f"(SELECT range AS i FROM {source})"
            db.execute(f"COPY (SELECT {select} FROM {rows}) TO '{cdm / table}.parquet' (FORMAT parquet)")


def ours(folder: Path, step: str) -> None:
    """One stage of the workflow."""
    cdm = folder / "cdm"
    from conceptbridge.tasks.cohort import make_cohort
    from conceptbridge.tasks.sequences import make_sequences
    from conceptbridge.vocabulary.build import make_vocabulary

    vocabulary, cohort = folder / "vocabulary.parquet", folder / "cohort.parquet"
    if step == "vocabulary":
        make_vocabulary(cdm, "site", TEXTS, ROLL_UP, 10, vocabulary, 2)
    elif step == "cohort":
        make_cohort(cdm, "site", TASK, 10, cohort, folder / "attrition.csv", folder / "splits.parquet", 2)
    else:
        out = folder / "tokens.parquet", folder / "sequences.parquet"
        make_sequences(cdm, "site", vocabulary, cohort, TASK, ROLL_UP, *out, 2)


def measure(folder: Path, step: str) -> tuple[float, float]:
    """Run a step in a process of its own; return its seconds and its peak memory in GiB."""
    done = subprocess.run(
        [sys.executable, __file__, "--folder", str(folder), "--step", step], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{step}: {done.stderr[-2000:]}")
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def main(a: argparse.Namespace) -> None:
    if a.step:
        start = time.perf_counter()
        ours(a.folder, a.step)
        print(json.dumps([time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB]))
        return
    with tempfile.TemporaryDirectory(dir=a.folder) as name:
        folder = Path(name)
        make_site(folder / "cdm", a.persons, a.events, a.in_order)
        order = "in the order of persons" if a.in_order else "in no order"
        print(f"{a.persons:,} persons, {a.events:,} events {order}, 2 threads", flush=True)
        for step in ("vocabulary", "cohort", "sequences"):
            seconds, memory = measure(folder, step)
            print(f"{step:10} {seconds:7.1f} s {a.events / seconds / 1e6:6.2f} million/s {memory:5.2f} GiB", flush=True)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--persons", type=int, default=1_000_000)
    p.add_argument("--events", type=int, default=200_000_000)
    p.add_argument("--in-order", action="store_true", help="events person by person, instead of in no order")
    p.add_argument("--folder", type=Path, help="where the made-up site is written, and removed again")
    p.add_argument("--step", help=argparse.SUPPRESS)
    main(p.parse_args())
