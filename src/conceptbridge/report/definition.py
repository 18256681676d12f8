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
}
#: what everybody calls these visit concepts
_VISITS = {
    9201: "hospital stay",
    9202: "outpatient visit",
    9203: "emergency visit",
    262: "emergency visit that becomes a hospital stay",
}


def definition(task: Mapping[str, Any], sets: Sequence[Sets], names: Mapping[int, str] | None = None) -> str:
    """Return the sentence for a task of the config.

    The names of concepts come from ``sets``, what the task's concept sets match at each site whose rows are here
    (``concepts.json``), or from ``names``, which other sites have sent. Concepts without a name are given by their ids.
    """
    names = names or {}
    index, outcome = task["index"], task["outcome"]
    first, last = outcome["days"]
    days = f"on day {first}" if first == last else f"on days {first} to {last}"
    begin, end = task["predictors"]["days"]
    which = _EVENTS[index["occurrence"]]
    records = "the day itself" if begin == end == 0 else f"days {-end} to {-begin} before it"
    if begin < end == 0:
        records = f"the {-begin} days before it and the day itself"
    event, predicted = _event("index", index, sets, names), _outcome(outcome, sets, names)
    return f"For {which} {event}, the models predict {predicted} {days} after it, from the records of {records}."


def concepts_of(task: Mapping[str, Any]) -> set[int]:
    """Return the concepts that a task of the config lists by their ids."""
    lists = (task[part].get("concepts") for part in ("index", "outcome"))
    return {concept for listed in lists if isinstance(listed, list) for concept in listed}


def _event(part: str, spec: Mapping[str, Any], sets: Sequence[Sets], names: Mapping[int, str]) -> str:
    if spec["domain"] == "cohort":
        return "index date of a handed-in cohort"
    named = _names(part, spec, sets, names)
    if spec["domain"] == "visit":
        return f"{named if _all_visits(spec) else f'visit {named}'}{_value(spec)}"
    return f"{_KINDS.get(spec['domain'], spec['domain'])} {named}{_value(spec)}"


def _all_visits(spec: Mapping[str, Any]) -> bool:
    """Say whether a set of visits is of those that everybody has a word for."""
    asked = spec["concepts"]
    return spec["domain"] == "visit" and isinstance(asked, list) and bool(asked) and set(asked) <= _VISITS.keys()


def _outcome(spec: Mapping[str, Any], sets: Sequence[Sets], names: Mapping[int, str]) -> str:
    if spec["domain"] == "death":
        return "death"
    if spec["domain"] == "cohort":
        return "the event of a handed-in cohort"
    event = _event("outcome", spec, sets, names)
    return f"an {event}" if event[0] in "aeiou" else f"a {event}"


def _names(part: str, spec: Mapping[str, Any], sets: Sequence[Sets], names: Mapping[int, str]) -> str:
    """Name the concepts of a set: as the first site does that has a name for one."""
    if _all_visits(spec):
        return " or ".join(_VISITS[concept] for concept in spec["concepts"])
    found = [of_site[part].get("items", []) for of_site in sets if part in of_site]
    named = dict(names)
    for items in found:
        for item in items:
            if item["name"]:
                named.setdefault(int(item["concept_id"]), item["name"])
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
