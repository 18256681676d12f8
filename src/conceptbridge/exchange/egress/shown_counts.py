"""What a site has shown of its cohorts, read from a results file or from the joint tables of a study."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table

Rows = list[dict[str, Any]]


@dataclass
class Shown:
    """What is shown of one task at one site, as rows of the tables (empty where a table is not there).

    ``persons`` are all of the site's, ``sizes`` the points of a learning curve that the study asks for, None where that
    is not known.
    """

    task: str
    at: str
    site: Rows
    splits: Rows
    attrition: Rows
    metrics: Rows
    seeds: Rows
    subgroups: Rows
    training_budget: Rows
    curves: Rows
    persons: int | None = None
    sizes: Sequence[int] | None = None

    @property
    def where(self) -> str:
        """The task and the site, in words."""
        return f"{self.task} at {self.at}"


def read_shown(folder: Path, study: Mapping[str, Any] | None = None) -> list[Shown]:
    """Read what a folder shows of each task and site; ``study`` is what a results file says of its study.

    Raises StudyError if it shows nothing.
    """
    if (folder / "tables").is_dir():
        return list(_joint(folder / "tables"))
    cohorts = sorted({path.parent for path in folder.glob("tasks/*/*/attrition.csv")})
    if not cohorts:
        raise StudyError(
            f"{folder}: has neither `tables` nor `tasks/TASK/SITE/attrition.csv`; give the folder of a study's "
            "results, or that of an unpacked results file"
        )
    sizes = (study or {}).get("learning_curve", {}).get("events")
    return [_of_cohort(folder, at, sizes) for at in cohorts]


def _of_cohort(folder: Path, at: Path, sizes: Sequence[int] | None) -> Shown:
    measured, quality = folder / "metrics" / at.parent.name / at.name, folder / "sites" / at.name / "quality.json"
    with (at / "attrition.csv").open(encoding="utf-8", newline="") as file:
        steps: Rows = [
            {name: int(value) if value.isdigit() else None for name, value in step.items()}
            for step in csv.DictReader(file)
        ]
    names = ("site", "metrics", "seeds", "subgroups", "training_budget", "curves")
    tables = {name: _rows(measured / f"{name}.parquet") for name in names}
    persons = json.loads(quality.read_text(encoding="utf-8"))["persons"] if quality.is_file() else None
    return Shown(
        task=at.parent.name,
        at=at.name,
        splits=_rows(at / "splits.parquet"),
        attrition=steps,
        persons=persons if isinstance(persons, int) else None,
        sizes=sizes,
        **tables,
    )


def _joint(tables: Path) -> Iterator[Shown]:
    """Yield the same from the joint tables of a study."""
    names = ("sites", "splits", "attrition", "arms", "subgroups", "training_budget", "curves")
    read = {name: _rows(tables / f"{name}.parquet") for name in names}
    sizes = sorted({row["size"] for row in read["curves"] if row["size"] is not None})
    for task, site in sorted({(row["task"], row["site"]) for row in read["attrition"]}):

        def of(name: str, task: str = task, site: str = site) -> Rows:
            return [row for row in read[name] if row["task"] == task and row.get("site", row.get("target")) == site]

        long = [
            {**arm, "split": "test", "metric": metric, "estimate": arm[metric], "threshold": None, "alert_rate": None}
            for arm in of("arms")
            for metric in ("auroc", "brier", "scaled_brier")
        ]
        yield Shown(
            task=task,
            at=site,
            site=of("sites"),
            splits=of("splits"),
            attrition=of("attrition"),
            metrics=long,
            seeds=[],
            subgroups=of("subgroups"),
            training_budget=of("training_budget"),
            curves=of("curves"),
            sizes=sizes,
        )


def nested_tasks(definitions: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the pairs of tasks, by name, that are one but for the days of the outcome, those of the first within those
    of the second: each event of the first is one of the second."""
    pairs = []
    for narrow, wide in permutations(definitions, 2):
        one, other = (_apart(definitions[name]) for name in (narrow, wide))
        if one[1] and other[1] and one[0] == other[0] and one[1] != other[1]:
            (start, end), (first, last) = one[1], other[1]
            pairs += [(narrow, wide)] * (first <= start and end <= last)
    return pairs


def _apart(definition: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[float] | None]:
    """Split the definition of a task in all but the days of its outcome, and these."""
    outcome = dict(definition.get("outcome", {}))
    days = outcome.pop("days", None)
    return {**definition, "outcome": outcome}, days if days and None not in days else None


def _rows(path: Path) -> Rows:
    rows: Rows = read_table(path).to_pylist() if path.is_file() else []
    return rows
