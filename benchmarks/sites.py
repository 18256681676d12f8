"""Extract to typed, checked Parquet: this project beside plain pandas and beside a bare DuckDB copy.

    python benchmarks/sites.py --million-rows 1 10 100 --formats parquet csv

The extract is the built-in hospital riverside, repeated with other ids until it has that many event rows. Each way runs
in a process of its own; printed are event rows a second, CPU seconds and peak memory. pandas runs as far as it fits.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from conceptbridge.simulate.network import write_extract

EVENTS = {
    "condition_occurrence": "condition_start_date",
    "drug_exposure": "drug_exposure_start_date",
    "procedure_occurrence": "procedure_date",
    "measurement": "measurement_date",
    "observation": "observation_date",
}
STEP = 10_000_000  # between the ids of two copies
PERSONS = 52_000  # of the network: about a million event rows at riverside
GIB = 2**30


def rows_of(folder: Path) -> int:
    return sum(pq.read_metadata(folder / f"{table}.parquet").num_rows for table in EVENTS)


def repeat(base: Path, copies: int, folder: Path, form: str) -> None:
    """Write ``copies`` of the extract in ``base`` to ``folder``, persons, visits and records of each with new ids."""
    folder.mkdir()
    with duckdb.connect(config={"threads": 2, "memory_limit": "4GB"}) as db:
        for file in sorted(base.glob("*.parquet")):
            names = [row[0] for row in db.execute(f"DESCRIBE FROM '{file}'").fetchall()]
            own = {"person_id", "visit_occurrence_id", f"{file.stem}_id"} & set(names)
            values = ", ".join(f"{n} + copy * {STEP} AS {n}" if n in own else n for n in names)
            times = copies if "person_id" in names else 1
            options = "FORMAT parquet, COMPRESSION zstd" if form == "parquet" else "FORMAT csv, HEADER"
            query = f"SELECT {values} FROM range({times}) AS c(copy), '{file}'"
            db.execute(f"COPY ({query}) TO '{folder / file.stem}.{form}' ({options})")


def with_project(extract: Path, out: Path) -> None:
    from conceptbridge.sites.ingest import ingest

    ingest(extract, out / "cdm", out / "quality.json", {}, None, threads=2)


def with_copy(extract: Path, out: Path) -> None:
    """What DuckDB costs without any check: read, cast, write."""
    from conceptbridge.sites.cdm import TABLES

    with duckdb.connect(config={"threads": 2, "memory_limit": "2GB", "temp_directory": str(out)}) as db:
        for file in sorted(extract.iterdir()):
            table = file.stem
            scan = f"read_csv('{file}', all_varchar=true)" if file.suffix == ".csv" else f"'{file}'"
            there = {row[0] for row in db.execute(f"DESCRIBE FROM {scan}").fetchall()}
            values = ", ".join(f"CAST({c} AS {kind}) AS {c}" for c, kind in TABLES[table].items() if c in there)
            db.execute(
                f"COPY (SELECT {values} FROM {scan}) TO '{out / table}.parquet' (FORMAT parquet, COMPRESSION zstd)"
            )


def with_pandas(extract: Path, out: Path) -> None:
    """The same work as a data scientist writes it: typed columns, every bad row and value counted under its reason."""
    import pandas as pd

    from conceptbridge.sites.cdm import DOMAINS, REQUIRED, TABLES
    from conceptbridge.sites.checks import DAYS, FIRST_DAY, KEYS, LAST_DAY

    quality: dict[str, dict[str, dict[str, int]]] = {}
    first_day, last_day = pd.Timestamp(FIRST_DAY), pd.Timestamp(LAST_DAY)

    def read(table: str) -> "pd.DataFrame":
        """The table's columns with their types, ids as 64-bit integers; what cannot be read is counted, and null."""
        file = next(extract.glob(f"{table}.*"), None)
        if file is None:
            return pd.DataFrame({column: [] for column in TABLES[table]})
        if file.suffix == ".parquet":
            names = set(pq.read_schema(file).names)
            columns = [c for c in TABLES[table] if c in names]
            frame = pd.read_parquet(file, columns=columns, dtype_backend="numpy_nullable")
        else:
            nulls = ["", "NULL", "null", "\\N", "NA", "#N/A"]
            frame = pd.read_csv(file, dtype="string", keep_default_na=False, na_values=nulls)
            frame = frame[[c for c in TABLES[table] if c in frame]]
        unreadable = quality.setdefault(table, {"dropped": {}, "repaired": {}, "noted": {}})["repaired"]
        for column in frame:
            raw, kind = frame[column], TABLES[table][column]
            if kind in ("BIGINT", "INTEGER", "DOUBLE") and not pd.api.types.is_numeric_dtype(raw):
                frame[column] = pd.to_numeric(raw, errors="coerce", dtype_backend="numpy_nullable")
            elif kind == "DATE":
                frame[column] = pd.to_datetime(raw, errors="coerce")
            count = int((frame[column].isna() & raw.notna()).sum())
            if count:
                unreadable[f"{column} cannot be read: left empty"] = count
        return frame

    def check(table: str, frame: "pd.DataFrame", more: "dict[str, pd.Series[bool]]") -> "pd.DataFrame":
        """The rows to keep, those to drop counted under the first reason that applies."""
        masks = {f"{column} is empty": frame[column].isna() for column in REQUIRED[table]} | more
        keep = pd.Series(True, index=frame.index)
        for reason, mask in masks.items():
            hit = keep & mask.fillna(False)
            quality[table]["dropped"][reason] = int(hit.sum())
            keep &= ~hit
        frame = frame[keep]
        again = frame.duplicated()
        quality[table]["dropped"]["it repeats another row"] = int(again.sum())
        frame = frame[~again]
        if table in KEYS:
            again = frame.duplicated(KEYS[table])
            quality[table]["dropped"][f"its {KEYS[table]} is another row's"] = int(again.sum())
            frame = frame[~again]
        return frame

    def write(table: str, frame: "pd.DataFrame") -> None:
        frame.to_parquet(out / f"{table}.parquet", compression="zstd")

    release = read("cdm_source")
    write("cdm_source", release)
    periods = read("observation_period")
    last = max(release.source_release_date.iloc[0], periods.observation_period_end_date.max())
    person = read("person")
    late = {"year_of_birth is after the extract": person.year_of_birth > last.year}
    person = check("person", person, {"year_of_birth is too early": person.year_of_birth < 1880, **late})
    parts = {"year": person.year_of_birth, "month": person.month_of_birth.fillna(1), "day": 1}
    if "day_of_birth" in person:
        parts["day"] = person.day_of_birth.fillna(1)
    born = pd.to_datetime(pd.DataFrame(parts), errors="coerce").set_axis(person.person_id)
    write("person", person)

    concepts = check("concept", read("concept"), {})
    write("concept", concepts)
    write("concept_ancestor", read("concept_ancestor"))
    named = concepts.concept_id[concepts.concept_name.str.strip() != ""]
    visits = pd.Series(dtype="Int64")
    domains = {d.table: d for d in DOMAINS.values()}
    about = {}
    for table in sorted(DAYS, key=lambda table: table != "visit_occurrence"):
        frame = periods if table == "observation_period" else read(table)
        if frame.empty:
            continue
        day, end = DAYS[table]
        birth = frame.person_id.map(born)
        bad = {
            "its person is not in the person table": ~frame.person_id.isin(born.index),
            f"{day} stands for no date": ~frame[day].between(first_day, last_day),
            f"{day} is after the extract": frame[day] > last,
        }
        if table == "observation_period":
            bad[f"{end} is before {day}"] = frame[end] < frame[day]
        else:
            bad[f"{day} is before the person's birth"] = frame[day] < birth
        frame = check(table, frame, bad)
        if end in frame:
            for reason, mask in (
                ("stands for no date", frame[end].notna() & ~frame[end].between(first_day, last_day)),
                (f"is before {day}", frame[end] < frame[day]),
            ):
                quality[table]["repaired"][f"{end} {reason}"] = int(mask.sum())
                frame[end] = frame[end].mask(mask)
        if table == "visit_occurrence":
            visits = frame.visit_occurrence_id
        noted = quality[table]["noted"]
        if table != "visit_occurrence" and "visit_occurrence_id" in frame:
            absent = frame.visit_occurrence_id.notna() & ~frame.visit_occurrence_id.isin(visits)
            noted["its visit is not in the visit table"] = int(absent.sum())
        if table in domains:
            d = domains[table]
            concept = frame[d.concept].fillna(0)
            noted["its concept is 0"] = int((concept == 0).sum())
            unnamed = ~concept.isin(named)
            noted["its concept has no name"] = int(unnamed.sum())
            by_source = unnamed & frame[d.source].fillna("").str.strip().ne("") if d.source in frame else unnamed
            years = frame[day].dt.year.quantile([0.01, 0.5, 0.99]).tolist()
            about[table] = {"rows": len(frame), "named by source": int(by_source.sum()), "years": years}
        write(table, frame)
    (out / "quality.json").write_text(json.dumps({"tables": quality, "events": about, "persons": len(born)}))


WAYS = {"copy": with_copy, "project": with_project, "pandas": with_pandas}


def measure(way: str, extract: Path) -> tuple[float, float, float, int]:
    """Wall seconds, CPU seconds, peak GiB and exit status of one way in a process of its own."""
    with tempfile.TemporaryDirectory(dir=extract.parent) as out:
        start = time.perf_counter()
        child = subprocess.Popen([sys.executable, __file__, "--run", way, str(extract), out], stdout=subprocess.PIPE)
        assert child.stdout is not None
        told = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
    # rusage would count what this process held before it started the other one
    peak = float(told.split()[-1]) if status == 0 else float("nan")
    return wall, usage.ru_utime + usage.ru_stime, peak, status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--million-rows", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--formats", nargs="+", default=["parquet", "csv"], choices=["parquet", "csv"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--pandas-up-to", type=int, default=10, help="million rows (pandas holds a table in memory)")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()), help="folder with room for the extract"
    )
    parser.add_argument("--run", nargs=3, metavar=("WAY", "EXTRACT", "OUT"), help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.run:
        WAYS[a.run[0]](Path(a.run[1]), Path(a.run[2]))
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) * 1024 / GIB)
        return
    with tempfile.TemporaryDirectory(dir=a.work) as work:
        base = Path(work) / "base"
        write_extract("riverside", PERSONS, 1, base)
        print(
            "format   event rows    way       seconds  CPU s  million rows/s  peak GiB  times pandas  load", flush=True
        )
        for form in a.formats:
            for millions in a.million_rows:
                copies = round(millions * 1e6 / rows_of(base)) or 1
                extract = Path(work) / "extract"
                repeat(base, copies, extract, form)
                rows, walls = rows_of(base) * copies, {}
                for way in sorted(a.ways, key=lambda way: way != "pandas"):
                    if way == "pandas" and millions > a.pandas_up_to:
                        continue
                    wall, cpu, peak, status = measure(way, extract)
                    if status:
                        print(f"{form:8s} {rows:11,d}  {way:8s}  failed with status {status}", flush=True)
                        continue
                    walls[way] = wall
                    ratio = f"{walls['pandas'] / wall:12.1f}" if "pandas" in walls else " " * 12
                    print(
                        f"{form:8s} {rows:11,d}  {way:8s} {wall:9.1f} {cpu:6.0f} {rows / wall / 1e6:15.2f}"
                        f" {peak:9.2f} {ratio}  {os.getloadavg()[0]:.1f}",
                        flush=True,
                    )
                shutil.rmtree(extract)


if __name__ == "__main__":
    main()
