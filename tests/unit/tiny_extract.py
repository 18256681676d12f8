"""Raw extracts of a few rows, for tests: two persons with a visit and two conditions, as CSV, to be spoiled."""

import json
from pathlib import Path
from typing import Any

import duckdb

from conceptbridge.sites.ingest import ingest

GOOD = {
    "person": """person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth,race_concept_id
1,8532,1980,2,29,0
9007199254740993,8507,1950,,,0
""",
    "observation_period": """observation_period_id,person_id,observation_period_start_date,observation_period_end_date
1,1,2010-01-01,2020-12-31
2,9007199254740993,2010-01-01,2020-12-31
""",
    "visit_occurrence": """visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_end_date
10,1,9203,2015-03-01,2015-03-01
11,9007199254740993,9201,2016-03-01,2016-03-09
""",
    "condition_occurrence": """condition_occurrence_id,person_id,condition_concept_id,condition_start_date,\
condition_end_date,visit_occurrence_id,condition_source_value
100,1,4266367,2015-03-02,,10,J11
101,9007199254740993,0,2016-03-02,2016-03-05,11,"cough, dry"
""",
    "concept": """concept_id,concept_name,domain_id,vocabulary_id,standard_concept,concept_code
4266367,Influenza,Condition,SNOMED,S,6142004
""",
}


def write_extract(folder: Path, **changed: str | bytes | None) -> Path:
    """Write ``GOOD`` to ``folder`` as CSV; a table given replaces the good one, None leaves it out."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, text in (GOOD | changed).items():
        if text is not None:
            (folder / f"{table}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def load(extract: Path, out: Path, **more: Any) -> tuple[Path, Any]:
    """Ingest ``extract`` into ``out``; return the folder of typed tables and what quality.json says."""
    vocabulary, threads = more.pop("vocabulary", None), more.pop("threads", 1)
    ingest(extract, out / "cdm", out / "quality.json", more, vocabulary, threads)
    return out / "cdm", json.loads((out / "quality.json").read_text())


def rows(cdm: Path, table: str, *columns: str) -> list[tuple[Any, ...]]:
    """A typed table's rows in the order of the file."""
    return duckdb.sql(f"SELECT {', '.join(columns) or '*'} FROM '{cdm / table}.parquet'").fetchall()


def assert_adds_up(quality: Any) -> None:
    """Every row that was read is kept or has a reason."""
    for table, counts in quality["tables"].items():
        assert counts["read"] == counts["kept"] + sum(counts["dropped"].values()), table
