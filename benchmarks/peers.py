"""Do tools of others read the built-in network? OMOP_MEDS and PyHealth, each in an environment of its own.

    python3 -m venv etl && etl/bin/pip install OMOP_MEDS
    python3.11 -m venv health && health/bin/pip install pyhealth==1.1.6        # the last one for Python 3.11
    python benchmarks/peers.py FOLDER --omop-meds etl/bin --pyhealth health/bin/python

Writes a hospital's extract below FOLDER, and prints what each tool finds of it beside what it has. Nothing is added to
the extract; PyHealth takes it as text with tabs.
"""

import argparse
import os
import subprocess
from pathlib import Path

import duckdb

from conceptbridge.simulate import write_extract

#: table -> what two records must differ in to be two events of OMOP_MEDS, and how many events a record is
EVENTS = {
    "visit_occurrence": ("visit_occurrence_id", 2),  # start and end
    "condition_occurrence": ("person_id, condition_concept_id, condition_start_datetime, visit_occurrence_id", 1),
    "drug_exposure": ("person_id, drug_concept_id, drug_exposure_start_datetime, visit_occurrence_id", 2),
    "procedure_occurrence": ("person_id, procedure_concept_id, procedure_datetime, visit_occurrence_id", 1),
    "measurement": ("measurement_id", 1),
    "observation": ("observation_id", 1),
    "observation_period": ("observation_period_id", 2),
}
TABLES = ("condition_occurrence", "procedure_occurrence", "drug_exposure", "measurement")
PYHEALTH = f"""
import collections, sys
from pyhealth.datasets import OMOPDataset
data = OMOPDataset(root=sys.argv[1], tables={list(TABLES)}, refresh_cache=True)
visits = [visit for patient in data.patients.values() for visit in patient.visits.values()]
print("person", len(data.patients))
print("visit_occurrence", len(visits))
counts = collections.Counter()
for visit in visits:
    for table in visit.available_tables:
        counts[table] += len(visit.get_event_list(table))
for table, count in counts.items():
    print(table, count)
"""


def count(query: str) -> int:
    return int(duckdb.sql(query).fetchall()[0][0])


def omop_meds(extract: Path, out: Path, programs: Path) -> None:
    environment = {**os.environ, "PATH": os.pathsep.join([str(programs.resolve()), os.environ["PATH"]])}
    environment.pop("PYTHONPATH", None)
    asked = [str(programs / "OMOP_MEDS"), f"raw_input_dir={extract.resolve()}", f"root_output_dir={out.resolve()}"]
    subprocess.run([*asked, "do_download=False"], check=True, env=environment, stdout=subprocess.DEVNULL)
    events = f"'{out}/MEDS_cohort/data/**/*.parquet'"
    persons = count(f"SELECT count(*) FROM '{extract}/person.parquet'")
    print(f"OMOP_MEDS  person {count(f'SELECT count(DISTINCT subject_id) FROM {events}')}, expected {persons}")
    for table, (different, each) in EVENTS.items():
        there = each * count(f"SELECT count(DISTINCT ({different})) FROM '{extract}/{table}.parquet'")
        found = count(f"SELECT count(*) FROM {events} WHERE table_name = '{table}'")
        print(f"OMOP_MEDS  {table} {found}, expected {there}")


def pyhealth(extract: Path, out: Path, python: Path) -> None:
    out.mkdir(exist_ok=True)
    for file in extract.glob("*.parquet"):
        duckdb.sql(f"COPY (FROM '{file}') TO '{out / file.stem}.csv' (HEADER, DELIMITER '\t')")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run(
        [python.absolute(), "-c", PYHEALTH, out], check=True, capture_output=True, text=True, env=environment
    ).stdout
    told = [line.split() for line in said.splitlines()]
    found = {words[0]: words[1] for words in told if len(words) == 2}
    for table in ("person", "visit_occurrence", *TABLES):
        there = count(f"SELECT count(*) FROM '{extract}/{table}.parquet'")
        print(f"PyHealth   {table} {found.get(table, 'none')}, expected {there}")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("--hospital", default="prairie")
    p.add_argument("--persons", type=int, default=2000, help="of the whole network")
    p.add_argument("--omop-meds", type=Path, help="the folder of its programs")
    p.add_argument("--pyhealth", type=Path, help="the Python that has it")
    a = p.parse_args()
    write_extract(a.hospital, a.persons, 1, a.folder / "extract")
    if a.omop_meds:
        omop_meds(a.folder / "extract", a.folder / "omop-meds", a.omop_meds)
    if a.pyhealth:
        pyhealth(a.folder / "extract", a.folder / "text", a.pyhealth)
