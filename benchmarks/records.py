"""From typed tables to sequences: the jobs vocabulary, cohort and sequences beside one bare DuckDB script.

    python benchmarks/records.py                        # riverside and lakeshore of 200,000 persons
    python benchmarks/records.py --persons 1000000 --rounds 1

The script is what a good engineer writes for this one study: one process and connection, a view of all records, each
with its state by its reference range; the vocabulary with its counts; the visits under observation with their label;
one join by person and window, grouped to a token per day with its mean value, and lists in order. It has no bins,
scales, units, free text, guards, splits, attrition or small counts. Ours are three jobs, their starts included. All run
in turn on one thread, ``--rounds`` times, and the least CPU seconds count.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from tasks import ROLL_UP, TASK, TEXTS  # noqa: E402

INFLUENZA = 4266367
EMERGENCY = 9203
OURS = ("vocabulary", "cohort", "sequences")
OF_NETWORK = TASK | {
    "index": TASK["index"] | {"concepts": [EMERGENCY], "codes": [], "occurrence": "all", "prior_observation": 0},
    "outcome": TASK["outcome"] | {"concepts": [INFLUENZA], "codes": [], "days": [1, 7]},
    "predictors": TASK["predictors"] | {"days": [-365, 0]},
}


def with_script(cdm: Path, out: Path) -> None:
    import duckdb

    state = (
        "CASE WHEN value_as_concept_id <> 0 THEN 'value ' || value_as_concept_id WHEN value_as_number < {low} THEN "
        "'low' WHEN value_as_number > {high} THEN 'high' WHEN value_as_number IS NOT NULL THEN 'normal' "
        "ELSE 'present' END"
    )
    ranged, plain = state.format(low="range_low", high="range_high"), state.format(low="NULL", high="NULL")
    with_descendants = (
        "(SELECT {0} UNION SELECT descendant_concept_id FROM concept_ancestor WHERE ancestor_concept_id = {0})"
    )
    outcome, visit = with_descendants.format(INFLUENZA), with_descendants.format(EMERGENCY)
    config = {"threads": 1, "memory_limit": "3GB", "temp_directory": str(out / "spill")}
    with duckdb.connect(config=config) as db:
        for file in cdm.glob("*.parquet"):
            db.execute(f"CREATE VIEW {file.stem} AS FROM '{file}'")
        db.execute(
            f"""
            CREATE VIEW records AS
            SELECT person_id, condition_concept_id AS concept_id, 'present' AS state, condition_start_date AS date,
                   NULL::DOUBLE AS value FROM condition_occurrence
            UNION ALL SELECT person_id, drug_concept_id, 'present', drug_exposure_start_date, NULL FROM drug_exposure
            UNION ALL SELECT person_id, procedure_concept_id, 'present', procedure_date, NULL FROM procedure_occurrence
            UNION ALL SELECT person_id, measurement_concept_id, {ranged}, measurement_date, value_as_number
            FROM measurement
            UNION ALL SELECT person_id, observation_concept_id, {plain}, observation_date, value_as_number
            FROM observation
            """
        )
        db.execute(
            """
            CREATE TABLE vocabulary AS
            SELECT row_number() OVER (ORDER BY concept_id, state) - 1 AS token, * FROM (
                SELECT concept_id, state, any_value(concept_name) AS name, count(*) AS records,
                       count(DISTINCT person_id) AS persons
                FROM records LEFT JOIN concept USING (concept_id) GROUP BY concept_id, state)
            """
        )
        db.execute(f"COPY vocabulary TO '{out}/vocabulary.parquet' (FORMAT parquet)")
        db.execute(
            f"""
            CREATE TABLE cohort AS
            SELECT row_number() OVER (ORDER BY v.person_id, v.date) - 1 AS row_id, v.person_id, v.date AS index_date,
                   EXISTS (SELECT 1 FROM condition_occurrence c
                           WHERE c.person_id = v.person_id AND c.condition_concept_id IN {outcome}
                             AND c.condition_start_date BETWEEN v.date + 1 AND v.date + 7) AS label
            FROM (SELECT DISTINCT person_id, visit_start_date AS date FROM visit_occurrence
                  WHERE visit_concept_id IN {visit}) v
            WHERE EXISTS (SELECT 1 FROM observation_period p WHERE p.person_id = v.person_id
                          AND v.date BETWEEN p.observation_period_start_date AND p.observation_period_end_date)
            """
        )
        db.execute(f"COPY cohort TO '{out}/cohort.parquet' (FORMAT parquet)")
        db.execute(
            f"""
            COPY (SELECT row_id, list(token ORDER BY day, token) AS tokens, list(day ORDER BY day, token) AS days,
                         list(value ORDER BY day, token) AS values
                  FROM (SELECT row_id, token, date_diff('day', index_date, date) AS day, avg(value) AS value
                        FROM records JOIN vocabulary USING (concept_id, state) JOIN cohort USING (person_id)
                        WHERE date BETWEEN index_date - 365 AND index_date AND concept_id NOT IN {outcome}
                        GROUP BY ALL)
                  GROUP BY row_id) TO '{out}/sequences.parquet' (FORMAT parquet)
            """
        )


def ours(cdm: Path, out: Path, step: str) -> list[str]:
    """The command of a job, as its rule has it."""
    files = {"cohort": out / "cohort.parquet", "vocabulary": out / "vocabulary.parquet", "cdm": cdm}
    given = {"site": "site", "min-cell-count": 10, "texts": TEXTS, "roll-up": ROLL_UP, "task": OF_NETWORK}
    made = {name: out / f"{name}.parquet" for name in ("tokens", "sequences", "splits", "attrition")}
    made |= {"concepts": out / "concepts.json", "out": files["vocabulary"]}
    names = {
        "vocabulary": ["cdm", "site", "texts", "roll-up", "min-cell-count", "out"],
        "cohort": ["cdm", "site", "task", "min-cell-count", "cohort", "attrition", "splits", "concepts"],
        "sequences": ["cdm", "site", "vocabulary", "cohort", "task", "roll-up", "tokens", "sequences"],
    }
    values = {**files, **given, **made}
    command = [sys.executable, str(ROOT / f"workflow/scripts/{step}.py")]
    for name in names[step]:
        value = values[name]
        command += [f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return command


def measure(cdm: Path, out: Path, step: str) -> float:
    """CPU seconds of a process that does one step."""
    out.mkdir(exist_ok=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = [sys.executable, __file__, "--script", str(cdm), str(out)]
    command = script if step == "script" else ours(cdm, out, step)
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persons", type=int, default=200_000)
    parser.add_argument("--sites", nargs="+", default=["riverside", "lakeshore"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--script", nargs=2, type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.script:
        with_script(*a.script)
        return
    from conceptbridge.simulate.network import write_extract
    from conceptbridge.sites.ingest import ingest
    from embed import processor  # not at the top: no step needs it

    print(f"{a.persons:,} persons, one thread, least CPU s of {a.rounds} rounds; {processor()}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for site in a.sites:
            folder = Path(name) / site
            write_extract(site, a.persons, 1, folder / "extract")
            ingest(folder / "extract", folder / "cdm", folder / "quality.json", {}, None, threads=2)
            took: dict[str, float] = {}
            for _ in range(a.rounds):
                for step in ("script", *OURS):
                    out = folder / ("script" if step == "script" else "ours")
                    took[step] = min(took.get(step, float("inf")), measure(folder / "cdm", out, step))
            ours = sum(took[step] for step in OURS)
            parts = ", ".join(f"{step} {took[step]:.2f}" for step in OURS)
            print(f"{site}: {parts}, together {ours:.2f} s; script {took['script']:.2f} s; {ours / took['script']:.2f}")


if __name__ == "__main__":
    main()
