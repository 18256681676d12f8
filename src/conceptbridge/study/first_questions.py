"""What ``conceptbridge init`` asks in a terminal, where options do not say it."""

import sys
from pathlib import Path
from typing import Any

import typer

from conceptbridge.core.errors import StudyError
from conceptbridge.study.first_study import Answers, Event


def asked(
    name: str, given: list[str], index: str | None, outcome: str | None, days: tuple[int, int] | None
) -> Answers | None:
    """Return what a study needs, from options, or from a terminal where they say nothing; None for the template.

    Raises StudyError for an extract that cannot be read, and without a terminal for what is missing or has no answer.
    """
    asks = sys.stdin.isatty()
    if not given and not asks:
        raise StudyError("--index, --outcome and --days need extracts; give `--extract SITE=FOLDER`, once for each")
    extracts = dict(_extract(text) for text in given)
    while asks and not given:
        which = "first" if not extracts else "next"
        hint = "nothing: an example to edit" if not extracts else "nothing: no more"
        text = typer.prompt(
            f"The {which} hospital, as NAME=FOLDER of its OMOP extract ({hint})", "", show_default=False
        )
        if not text:
            break
        extracts |= dict([_extract(text)])
    if not extracts:
        return None
    from conceptbridge.sites.concept_search import Concepts  # with DuckDB, which no other command needs

    concepts = Concepts([Path(place).expanduser() for place in extracts.values()])
    when, what = (
        _event(concepts, option, text, question)
        for option, text, question in (
            ("--index", index, "When is a prediction made? Words of a concept's name, such as emergency room visit"),
            ("--outcome", outcome, "What is predicted? Words of a concept's name, such as influenza"),
        )
    )
    if days is None and not asks:
        raise StudyError("give `--days FIRST LAST`: in which days after the index the outcome is to come")
    first, last = days or [typer.prompt(f"{which} day after the index", type=int) for which in ("First", "Last")]
    return Answers(name, extracts, when, what, (first, last))


def _extract(text: str) -> tuple[str, str]:
    site, _, place = text.partition("=")
    if not site or not place:
        raise StudyError(f"{text}: give a hospital's name and its extract, as north=/data/north/cdm")
    if not Path(place.strip()).expanduser().exists():
        raise StudyError(f"{text}: there is no such folder or file; give the one that has {site}'s OMOP tables")
    return site.strip(), place.strip()


def _event(concepts: Any, option: str, text: str | None, question: str) -> Event:
    """Return the one concept that a text names, or that the user picks."""
    while True:
        text = text or typer.prompt(question)
        found = concepts.find(text)
        if len(found) == 1 or (found and found[0].name.lower() == text.lower()):
            return Event(found[0].domain, found[0].concept_id, found[0].name)
        lines = [f"{c.concept_id:>10}  {c.name} ({c.domain}, {c.descendants} descendants)" for c in found]
        told = "\n".join(lines) or "no extract has such a name among its concepts"
        if not sys.stdin.isatty():
            raise StudyError(f"{option} {text}: name one concept, by its id or its whole name:\n{told}")
        typer.echo(told)
        text = typer.prompt("The id of one of these, or other words") if found else None
