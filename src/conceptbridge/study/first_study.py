"""A first study from a few answers: the template, with its example's extracts and events in the answers' place."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """What an index event or an outcome is: a domain, and a concept with its name."""

    domain: str
    concept_id: int
    name: str


@dataclass(frozen=True)
class Answers:
    """What was asked. ``days``: first and last day of the outcome window."""

    name: str
    #: site -> its extract
    extracts: Mapping[str, str]
    index: Event
    outcome: Event
    days: tuple[int, int]


def first_study(template: str, answers: Answers) -> str:
    """Return ``template`` (config/template.yaml) with the answers in it, and rows split by persons.

    The template's dates are its example's, and nothing is known of these extracts' dates.
    """
    index, outcome, (first, last) = answers.index, answers.outcome, answers.days
    sites = "".join(f"  {site}: {{extract: {json.dumps(place)}}}\n" for site, place in answers.extracts.items())
    parts = {
        r"^name: .*?\n": f"name: {answers.name}\n",
        r"^sites:.*?\n\n": f"{_line('sites:', 'a name and an OMOP CDM extract for each hospital')}{sites}\n",
        r"^  influenza:": f"  {_key(outcome.name)}:",
        r"^    index:.*?(?=^    predictors:)": _event(
            "index", index, f"the moment of prediction: such a {index.domain}"
        )
        + _line("      occurrence: all", "or a person's first, or last"),
        r"^    outcome:.*?(?=^    split:)": _event("outcome", outcome, f"will there be such a {outcome.domain}?")
        + _line(f"      days: [{first}, {last}]", "first and last day after the index"),
        r"^    split:.*?\n\n": _line("    split:", "60 % of the persons train, 20 % choose settings, 20 % test")
        + _line("      by: hash", "`by: time` splits by dates")
        + "\n",
    }
    for old, new in parts.items():
        (found,) = re.finditer(f"(?ms){old}", template)
        template = template[: found.start()] + new + template[found.end() :]
    return template


def _line(text: str, comment: str) -> str:
    return f"{text:<31} # {comment}\n"


def _event(part: str, event: Event, about: str) -> str:
    domain, concepts = f"      domain: {event.domain}\n", f"      concepts: [{event.concept_id}]"
    return _line(f"    {part}:", about) + domain + _line(concepts, f"{event.name}, with all its descendants")


def _key(name: str) -> str:
    """Return a name that a task can have."""
    word = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return word if re.match("[a-z]", word) else f"task-{word}".strip("-")
