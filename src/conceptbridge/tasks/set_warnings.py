"""What is odd about the concept sets of a study's tasks, of the sites whose rows are here.

The workflow asks it at its end, so nothing heavy is imported here.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError

#: beside the cohort
FILE = "concepts.json"


def no_index_events(sets: Mapping[str, Mapping[str, Any]]) -> bool:
    """Say whether no site has any index event of a task; ``sets`` are what its sets match, by site."""
    return bool(sets) and not any(of_site["index"]["events"] for of_site in sets.values())


def warnings_of(task: str, site: str, sets: Mapping[str, Any]) -> list[str]:
    """Return the warnings of a task at a site as sentences."""
    return [f"{task}: {site} {text}" for part in sets.values() for text in part["warnings"]]


def read_sets(tasks_folder: Path, task: str, sites: Sequence[str]) -> dict[str, Any]:
    """Return what a task's sets match, by site, of the sites whose rows are here."""
    files = {site: tasks_folder / task / site / FILE for site in sites}
    return {site: json.loads(file.read_text(encoding="utf-8")) for site, file in files.items() if file.is_file()}


def study_warnings(tasks_folder: Path, tasks: Sequence[str], sites: Sequence[str]) -> list[str]:
    """Return the warnings of all tasks and sites as sentences."""
    return [
        text
        for task in tasks
        for site, sets in read_sets(tasks_folder, task, sites).items()
        for text in warnings_of(task, site, sets)
    ]


def check_index_events(tasks_folder: Path, tasks: Sequence[str], sites: Sequence[str]) -> None:
    """Raise StudyError for a task without any index event at all sites whose rows are here."""
    for task in tasks:
        found = read_sets(tasks_folder, task, sites)
        if no_index_events(found):
            why = "; ".join(warnings_of("the task", next(iter(found)), {"index": next(iter(found.values()))["index"]}))
            raise StudyError(
                f"config: tasks.{task}.index: no site has any index event, so there is nobody to predict for "
                f"({', '.join(found)}). {why}"
            )
