"""What a task predicts, in one sentence with the names of its concepts."""

from collections.abc import Mapping, Sequence
from typing import Any

Sets = Mapping[str, Mapping[str, Any]]

_EVENTS = {"first": "the first", "last": "the last", "all": "every"}
#: concepts of a set that are named
_NAMED = 3
_KINDS = {
    "condition": "diagnosis of",
    "drug": "record of the drug",
    "procedure": "procedure",
    "measurement": "measurement of",
    "observation": "observation of",
    "visit": "visit",
}


def definition(task: Mapping[str, Any], sets: Sequence[Sets]) -> str:
    """Return the sentence for a task of the config; ``sets`` are what its concept sets match at each site whose rows
    are here (``concepts.json``), for the names. Concepts without a name are given by their ids."""
    index, outcome = task["index"], task["outcome"]
    first, last = outcome["days"]
    days = f"on day {first}" if first == last else f"on days {first} to {last}"
    begin, end = task["predictors"]["days"]
    which = _EVENTS[index["occurrence"]]
    records = "the day itself" if begin == end == 0 else f"days {-end} to {-begin} before it"
    if begin < end == 0:
        records = f"the {-begin} days before it and the day itself"
    return (
        f"For {which} {_event('index', index, sets)}, the models predict {_outcome(outcome, sets)} {days} after it, "
        f"from the records of {records}."
    )


def _event(part: str, spec: Mapping[str, Any], sets: Sequence[Sets]) -> str:
    if spec["domain"] == "cohort":
        return "index date of a handed-in cohort"
    names = _names(part, spec, sets)
    return f"{_KINDS.get(spec['domain'], spec['domain'])} {names}{_value(spec)}"


def _outcome(spec: Mapping[str, Any], sets: Sequence[Sets]) -> str:
    if spec["domain"] == "death":
        return "death"
    if spec["domain"] == "cohort":
        return "the event of a handed-in cohort"
    return f"a {_event('outcome', spec, sets)}"


def _names(part: str, spec: Mapping[str, Any], sets: Sequence[Sets]) -> str:
    """Name the concepts of a set: as the first site does that has a name for one."""
    found = [of_site[part].get("items", []) for of_site in sets if part in of_site]
    named: dict[int, str] = {}
    for items in found:
        for item in items:
            if item["name"]:
                named.setdefault(item["concept_id"], item["name"])
    asked = spec["concepts"] if isinstance(spec["concepts"], list) else []
    ids = [item["concept_id"] for item in found[0]] if found else asked
    if not ids:
        return f"of the concept set {spec['concepts']}"
    words = [
        f"\N{LEFT DOUBLE QUOTATION MARK}{named[i]}\N{RIGHT DOUBLE QUOTATION MARK}" if i in named else f"concept {i}"
        for i in ids[:_NAMED]
    ]
    more = f" or one of {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return " or ".join(words) + more


def _value(spec: Mapping[str, Any]) -> str:
    return " with the value that the config asks for" if spec.get("value") else ""
