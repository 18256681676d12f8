"""A site made of a few rows, with the files of one task at it."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from conceptbridge.core.schema import fill_defaults
from conceptbridge.sites.records import AS_RECORDED
from conceptbridge.study.config import package_data
from conceptbridge.study.declared_keys import preset_defaults
from conceptbridge.tasks.cohort import make_cohort
from conceptbridge.tasks.sequences import make_sequences
from conceptbridge.vocabulary.build import make_vocabulary
from tiny_site import concept, read, write_cdm

ROOT = Path(__file__).parents[2]
SCHEMA = package_data("config.schema")
TASK_SCHEMA = SCHEMA["properties"]["tasks"]["additionalProperties"]
PREDICTORS = preset_defaults(TASK_SCHEMA["properties"]["predictors"]["properties"], "fair")
TEXTS = {"states": "words", "present": "{name}", "absent": "Not {name}", "other": "{name}, {state}"}
DAY = date(2022, 1, 10)
FLU, COUGH, FEVER = 4266367, 254761, 437663
NAMES = [concept(FLU, "Influenza"), concept(COUGH, "Cough"), concept(FEVER, "Fever"), concept(1, "Temperature")]


def after(days: int) -> date:
    return DAY + timedelta(days=days)


def task(**change: Any) -> dict[str, Any]:
    """An influenza task with the schema's defaults; ``index={...}`` and the like change single keys of it."""
    spec: dict[str, Any] = {
        "index": {"domain": "visit", "concepts": [9203], "occurrence": "all"},
        "outcome": {"domain": "condition", "concepts": [FLU], "days": [1, 7]},
        "predictors": {},
        "guards": {"open_visit": "none"},  # these sites record no status of a diagnosis
        "split": {"by": "time", "validation": "2023-01-01", "test": "2024-01-01"},
        "min_rows": 1,
        "min_values": 1,
    }
    for key, value in change.items():
        merge = isinstance(value, dict) and key != "split"
        spec[key] = spec[key] | value if merge else value
    fill_defaults(spec, TASK_SCHEMA, SCHEMA)
    spec["predictors"] = PREDICTORS | spec["predictors"]
    return spec


class Site:
    """A site made of a few rows, with the task's files."""

    def __init__(
        self,
        folder: Path,
        spec: dict[str, Any],
        min_cell_count: int = 1,
        roll_up: dict[str, Any] = AS_RECORDED,
        **tables: Any,
    ) -> None:
        tables.setdefault("concept", NAMES)
        cdm = write_cdm(folder / "cdm", **tables)
        files = {name: folder / f"{name}.parquet" for name in ("vocabulary", "cohort", "tokens", "sequences")}
        make_vocabulary(cdm, "here", TEXTS, roll_up, min_cell_count, files["vocabulary"])
        make_cohort(
            cdm, "here", spec, min_cell_count, files["cohort"], folder / "attrition.csv", folder / "splits.parquet"
        )
        make_sequences(
            cdm, "here", files["vocabulary"], files["cohort"], spec, roll_up, files["tokens"], files["sequences"]
        )
        self.files = files
        self.cohort = read(files["cohort"])
        self.tokens = read(files["tokens"])
        self.splits = {row["split"]: row for row in read(folder / "splits.parquet")}
        self.attrition = (folder / "attrition.csv").read_text()
        keys = [token["key"] for token in self.tokens]
        rows = read(files["sequences"])
        self.sequences = [
            [(day, keys[token]) for day, token in zip(row["days"], row["tokens"], strict=True)] for row in rows
        ]
        self.values = [row["values"] for row in rows]

    @property
    def persons(self) -> list[int]:
        return [row["person_id"] for row in self.cohort]

    @property
    def labels(self) -> dict[int, int]:
        return {row["person_id"]: row["label"] for row in self.cohort}


def clinical(sequence: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [(day, key) for day, key in sequence if not key.startswith(("age|", "sex|"))]
