"""The reporting checklist: what the run knows of each item."""

from collections.abc import Mapping
from typing import Any

from conceptbridge.report.templates import CHECKLIST, read_yaml


def checklist(provenance: Mapping[str, Any], min_cell_count: int) -> list[dict[str, str | None]]:
    """Return the reporting checklist: item, about, and what the run knows; None where the authors have to write it."""
    items = read_yaml(CHECKLIST)
    config = provenance.get("config", {})
    tasks, evaluation = config.get("tasks", {}), config.get("evaluation", {})

    def listed(values: Any) -> str:
        return ", ".join(map(str, values)) or "see Provenance"

    facts = {
        "sites": listed(config.get("sites", {})),
        "n_sites": len(config.get("sites", {})),
        "split": " ".join(f"{name}: {_split(task['split'])}." for name, task in tasks.items()),
        "outcomes": "; ".join(_outcome(name, task["outcome"]) for name, task in tasks.items()) or "see Provenance",
        "embeddings": listed(provenance.get("embeddings", {})),
        "standardise": "yes" if config.get("scale") else "no",
        "learners": listed(config.get("learners", {})),
        "strategies": listed(config.get("strategies", [])),
        "seeds": config.get("seeds", "the config's"),
        "thresholds": listed(evaluation.get("thresholds", [])),
        "alert_rates": listed(evaluation.get("alert_rates", [])),
        "commit": f"commit {provenance['commit']}" if provenance.get("commit") else "version in Provenance",
        "min_cell_count": min_cell_count,
    }
    return [
        {"item": one["item"], "about": one["about"], "known": one["known"].format(**facts) if "known" in one else None}
        for one in items
    ]


def _split(split: Mapping[str, Any]) -> str:
    if split.get("persons") == "returning":
        return "split by time; a person can have rows in several splits (see Who was left out)"
    return f"split by {split['by']}, a person in one split"


def _outcome(task: str, outcome: Mapping[str, Any]) -> str:
    first, last = outcome["days"]
    return f"{task}: {outcome['domain']} {outcome['concepts']}, day {first} to {last} after the index"
