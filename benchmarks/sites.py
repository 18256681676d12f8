"""Extract to typed, checked Parquet: this project beside plain pandas and beside a bare DuckDB copy.

    python benchmarks/sites.py --million-rows 1 10 100 --formats parquet csv

The extract is the built-in hospital riverside, repeated with other ids until it has that many event rows. Each way runs
in a process of its own; printed are event rows a second, CPU seconds and peak memory. pandas runs as far as it fits.
"""

import argparse
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
    """The same work as a data scientist writes it: typed columns, bad rows dropped, counts of what is odd."""
    import pandas as pd

    from conceptbridge.sites.cdm import REQUIRED, TABLES

    def read(table: str) -> "pd.DataFrame":
        file = next(extract.glob(f"{table}.*"))
        if file.suffix == ".parquet":
            names = set(pq.read_schema(file).names)
            return pd.read_parquet(file, columns=[c for c in TABLES[table] if c in names])
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, na_values=["", "NULL", "null", "\\N", "NA", "#N/A"])
        return frame[[c for c in TABLES[table] if c in frame]]

    def cast(table: str, frame: "pd.DataFrame") -> "pd.DataFrame":
        for column, kind in TABLES[table].items():
            if column not in frame:
                continue
            if kind in ("BIGINT", "INTEGER"):
                frame[column] = pd.to_numeric(frame[column], errors="coerce").astype("Int64")
            elif kind == "DATE":
                frame[column] = pd.to_datetime(frame[column], errors="coerce")
            elif kind == "DOUBLE":
                frame[column] = pd.to_numeric(frame[column], errors="coerce")
        return frame.dropna(subset=list(REQUIRED[table]))

    person = cast("person", read("person")).drop_duplicates("person_id")
    parts = {"year": person.year_of_birth, "month": person.month_of_birth, "day": person.day_of_birth}
    person["born"] = pd.to_datetime(pd.DataFrame(parts), errors="coerce")
    born = person.set_index("person_id")["born"]
    visits = cast("visit_occurrence", read("visit_occurrence")).drop_duplicates()
    named = set(read("concept").concept_id.astype("int64"))
    last = pd.to_datetime(read("cdm_source").source_release_date.iloc[0])
    person.drop(columns="born").to_parquet(out / "person.parquet", compression="zstd")
    visits.to_parquet(out / "visit_occurrence.parquet", compression="zstd")
    for table, day in EVENTS.items():
        frame = cast(table, read(table))
        counts = {"unknown person": int((~frame.person_id.isin(born.index)).sum())}
        frame = frame[frame.person_id.isin(born.index)]
        bad = (frame[day] < "1900-01-02") | (frame[day] > last) | (frame[day] < frame.person_id.map(born))
        counts["impossible date"] = int(bad.sum())
        frame = frame[~bad].drop_duplicates()
        concept = frame[next(c for c in TABLES[table] if c.endswith("concept_id"))]
        counts["no visit"] = int((~frame.visit_occurrence_id.isin(visits.visit_occurrence_id)).sum())
        counts["no concept"] = int((concept == 0).sum())
        counts["no name"] = int((~concept.isin(named)).sum())
        frame.to_parquet(out / f"{table}.parquet", compression="zstd")


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
