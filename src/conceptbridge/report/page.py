"""The study's page: one HTML file that opens from disk, its first screen the answer for every target."""

import base64
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from conceptbridge.core.atomic_files import write_text
from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.quality_report import shareable
from conceptbridge.evaluate.schemas import ARM, EXTERNAL, PRIMARY, TRANSFER_GAIN, VS_BEST_TRANSFERRED, VS_CONTROL
from conceptbridge.report.answers import answers
from conceptbridge.report.case import describe, in_words, key_of
from conceptbridge.report.checklist import checklist
from conceptbridge.report.definition import concepts_of, definition
from conceptbridge.report.figures.registry import TOKENS_DRAWN, StudyFigure, study_figures
from conceptbridge.report.files import File, files
from conceptbridge.report.sections import GROUPS, SECTIONS
from conceptbridge.report.study_tables import EXPLORATORY, PRIMARY_TEST, STUDY_TABLES
from conceptbridge.report.templates import glossary, render
from conceptbridge.study.strategies import strategy as find_strategy
from conceptbridge.tasks.cohort import LOOKS_AHEAD
from conceptbridge.tasks.prevalence import warning
from conceptbridge.tasks.set_warnings import read_sets, study_warnings

RESAMPLED = "resampled"
"""What ``evaluation.training`` is where limits cover the draw of training persons."""
TABLES = (*(table.name for table in STUDY_TABLES if table.section), "embeddings", "texts")
"""The tables that the page shows."""
NOTES = {table.name: table.note for table in STUDY_TABLES} | {
    "embeddings": "What each embedding is like, before any patient is seen.",
    "alignment": "How close the target's texts are to the nearest of the source, by embedding.",
    "texts": "What a site's texts say to an embedding.",
}
"""What is in each table that can be saved from the page."""
OF_EVERY_ARM = ("metrics", "subgroups")
"""Tables of which the page shows the arms that the answers name."""
_BETWEEN = "\x1f"
MAX_ROWS = 1000
"""Of a table; what is left out is in the files beside the page, which has to open quickly."""
MAX_PICTURES = 1_500_000
"""Bytes of all pictures; one that no longer fits is named instead."""


def write_page(
    tables: Path,
    figures: Path,
    sites: Path,
    provenance: Path,
    title: str,
    out: Path,
    min_cell_count: int = 10,
    tasks: Path | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Write the page to ``out``.

    ``tables`` holds the joint tables, ``figures`` their pictures, ``sites`` each site's ``quality.json``, of which no
    count under ``min_cell_count`` is shown. ``provenance`` is a JSON object, shown as it is;
    ``"simulated": true`` in it says that the data do not come from patients. ``tasks`` has what the concept sets of
    tasks match at the sites whose rows are here; of the others the names are those in ``vocabulary.parquet`` of
    ``sites``. ``warnings`` are of the whole study. Raises StudyError when a file is
    missing.
    """
    joint = {name: read_table(_existing(tables / f"{name}.parquet")) for name in TABLES}
    names = dict.fromkeys(joint["sites"]["site"].to_pylist())
    quality = {name: shareable(_read_json(sites / name / "quality.json"), min_cell_count) for name in names}
    drawn = _drawn(joint)
    pictures = _pictures(figures, drawn)
    told_of_sets = _set_warnings(tasks, joint["sites"].to_pylist()) if tasks is not None else []
    warned, about = [*warnings, *told_of_sets], _read_json(provenance)
    asked = about.get("config", {}).get("tasks", {}).items()
    sent = _sent_names(sites, names, {concept for _, task in asked for concept in concepts_of(task)})
    defined = {name: definition(task, _sets(tasks, name, list(names)), sent) for name, task in asked}
    saved = files(tables, NOTES, figures, drawn)
    write_text(page(title, joint, pictures, quality, about, min_cell_count, warned, defined, saved), out)


def _sent_names(folder: Path, sites: Iterable[str], concepts: Collection[int]) -> dict[int, str]:
    """Return the names of ``concepts`` in the vocabularies of sites, which travel with their results."""
    names: dict[int, str] = {}
    for file in (folder / site / "vocabulary.parquet" for site in sites):
        if file.is_file():
            table = read_table(file, columns=["concept_id", "name"])
            table = table.filter(pc.field("concept_id").isin(list(concepts)))
            for concept, name in zip(*(column.to_pylist() for column in table.columns), strict=True):
                if name:
                    names.setdefault(concept, name)
    return names


def _sets(tasks: Path | None, task: str, sites: Sequence[str]) -> list[Any]:
    """Return what a task's concept sets match at each site whose rows are here."""
    return list(read_sets(tasks, task, sites).values()) if tasks is not None else []


def page(
    title: str,
    tables: Mapping[str, pa.Table],
    pictures: Mapping[str, Sequence[Mapping[str, Any]]],
    quality: Mapping[str, Any],
    provenance: Mapping[str, Any],
    min_cell_count: int,
    warned: Sequence[str] = (),
    defined: Mapping[str, str] | None = None,
    saved: Mapping[str, Sequence[File]] | None = None,
) -> str:
    """Return the page's HTML.

    ``pictures`` are those of each section: name, caption, text, size and SVG (base64); ``defined`` says in a sentence
    what each task predicts; ``saved`` is what can be saved from the page.
    """
    rows = {name: table.to_pylist() for name, table in tables.items() if name not in OF_EVERY_ARM}
    comparisons = [row for row in rows["comparisons"] if row["metric"] == "auroc"]
    all_answers = list(answers(rows["arms"], comparisons, rows["sites"], rows["breakeven"]))
    named, read_as = _named(comparisons), rows["translation_shares"]
    rows |= {name: _of_arms(tables[name], named).to_pylist() for name in OF_EVERY_ARM}
    first = sorted(
        comparisons,
        key=lambda row: (
            row["kind"] == EXPLORATORY,
            row["question"] in (VS_CONTROL, TRANSFER_GAIN),
            -abs(row["difference"] or 0),
        ),
    )
    kept = {id(row) for row in first[:MAX_ROWS]}
    evaluation = provenance.get("config", {}).get("evaluation", {})
    estimable = [answer.above_chance for answer in all_answers if answer.above_chance is not None]
    strategies = [find_strategy(name) for name in _strategies(rows["arms"])]
    words = glossary(
        reference=_reference(provenance),
        strategies=" ".join(f"{one.name[:1].upper()}{one.name[1:]}: {one.sentence}." for one in strategies),
    )
    return render(
        rows
        | {
            "title": title,
            "groups": GROUPS,
            "sections": {name: one for name, one in SECTIONS.items() if name != "translations" or read_as},
            "words": {one.id: one for one in words},
            "heads": {head: one.id for one in words for head in one.heads},
            "files": saved or {},
            "files_beside": any(file.beside for of_name in (saved or {}).values() for file in of_name),
            "translations": rows["translations"][:MAX_ROWS],
            "translations_left_out": max(len(rows["translations"]) - MAX_ROWS, 0),
            "answers": all_answers,
            "many_tasks": len({answer.task for answer in all_answers}) > 1,
            "nothing": bool(estimable) and not any(estimable),
            "tests": max((row["family"] or 0 for row in comparisons if row["kind"] == PRIMARY_TEST), default=0),
            "trained_once": evaluation.get("training") != RESAMPLED,
            "min_persons": evaluation.get("min_persons", "too few"),
            "reference": _reference(provenance),
            "pictures": pictures,
            "arms": rows["arms"][:MAX_ROWS],
            "arms_left_out": max(len(rows["arms"]) - MAX_ROWS, 0),
            "comparisons": [row for row in comparisons if id(row) in kept],
            "comparisons_left_out": max(len(comparisons) - MAX_ROWS, 0),
            "importance": [row for row in rows["importance"] if row["place"] <= TOKENS_DRAWN][:MAX_ROWS],
            "metrics": [row for row in rows["metrics"] if row["split"] == "test"][:MAX_ROWS],
            "subgroups": rows["subgroups"][:MAX_ROWS],
            "breakeven": rows["breakeven"][:MAX_ROWS],
            "training_budget": rows["training_budget"][:MAX_ROWS],
            "searches": _searches(rows["training_budget"]),
            "summary": rows["summary"][:MAX_ROWS],
            "describe": describe,
            "in_words": in_words,
            "defined": defined or {},
            "frequency": _frequency(rows["sites"]),
            "set_warnings": list(warned),
            "prevalence_warnings": _prevalence_warnings(rows["splits"]),
            "looks_ahead": any(row["step"].endswith(LOOKS_AHEAD) for row in rows["attrition"]),
            "guards": _guards(quality, provenance),
            "quality": quality,
            "provenance": provenance,
            "simulated": provenance.get("simulated") is True,
            "min_cell_count": min_cell_count,
            "checklist": checklist(provenance, min_cell_count),
        }
    )


def _set_warnings(folder: Path, cohorts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is odd about the concept sets of each task at each site."""
    places = dict.fromkeys((row["task"], row["site"]) for row in cohorts)
    return [text for task, site in places for text in study_warnings(folder, [task], [site])]


def _strategies(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the strategies of the study's own arms, in their order."""
    return [name for name in dict.fromkeys(row["strategy"] for row in arms) if name != EXTERNAL]


def _frequency(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Return the share of rows with the event of each task and site, of the splits whose counts are shown."""
    counts: dict[tuple[str, str], list[int]] = {}
    for line in lines:
        if line["rows"] is not None and line["events"] is not None:
            of_site = counts.setdefault((line["task"], line["site"]), [0, 0])
            of_site[0], of_site[1] = of_site[0] + line["events"], of_site[1] + line["rows"]
    return {place: events / rows for place, (events, rows) in counts.items() if rows}


def _searches(budgets: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the arms that searched anything, those with an extended range or cap, and those still at an edge."""
    searched = [row for row in budgets if row["trials"] is not None]
    extended, at_edge = (sum(bool(row[name]) for row in searched) for name in ("extended", "at_edge"))
    return {"arms": len(searched), "extended": extended, "at_edge": at_edge} if searched else {}


def _reference(provenance: Mapping[str, Any]) -> str:
    reference = provenance.get("config", {}).get("evaluation", {}).get("reference")
    if not reference:
        return "declared in the config"
    parts = [reference["strategy"], reference["learner"], reference["embedding"] and f"on {reference['embedding']}"]
    return " ".join(part for part in parts if part)


def _named(comparisons: Sequence[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    """Return (task, target, arm) of the arms that the answers name, without controls in the recommended one's place."""
    named = set()
    for row in comparisons:
        if row["question"] in (*PRIMARY, VS_BEST_TRANSFERRED):
            named |= {(row["task"], row["target"], *key_of(row, prefix)) for prefix in ("", "ref_")}
    return named


def _guards(quality: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one line per site and type of visit: which diagnoses the guard ``discharge`` leaves out there."""
    tasks = provenance.get("config", {}).get("tasks", {}).values()
    if not any(task.get("guards", {}).get("open_visit") == "discharge" for task in tasks):
        return []
    nothing = {"rows": None, "status_share": None, "status_recorded": None}
    return [
        {"site": site, "visits": visits} | (counts if isinstance(counts, dict) else nothing)
        for site, about in quality.items()
        for visits, counts in about.get("condition_status", {}).items()
    ]


def _prevalence_warnings(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return task, site and warning of each cohort whose prevalence parts in a split."""
    cohorts: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in lines:
        cohorts.setdefault((line["task"], line["site"]), []).append(line)
    warnings = ((*cohort, warning(of_cohort)) for cohort, of_cohort in cohorts.items())
    return [{"task": task, "site": site, "warning": text} for task, site, text in warnings if text]


def _of_arms(table: pa.Table, named: Collection[tuple[Any, ...]]) -> pa.Table:
    """Return the rows of the ``named`` arms (task, target, arm): a large study's table has millions of others."""
    keys = pc.binary_join_element_wise(*(table[name] for name in ("task", "target", *ARM)), _BETWEEN)
    wanted = [_BETWEEN.join(one) for one in named if None not in one]
    return table.filter(pc.is_in(keys, value_set=pa.array(wanted, pa.string())))


def _drawn(joint: Mapping[str, pa.Table]) -> list[StudyFigure]:
    """Return the figures on the page; those without data are left out."""
    names = (joint["arms"][name].unique().to_pylist() for name in ("task", "learner"))
    return [
        figure
        for figure in study_figures(*names)
        if not figure.kind.needs or len(joint[figure.kind.inputs[0]][figure.kind.needs].drop_null())
    ]


def _pictures(folder: Path, drawn: Sequence[StudyFigure]) -> dict[str, list[dict[str, Any]]]:
    """Return the figures of each section, as long as they fit, with their sizes in pixels."""
    left = MAX_PICTURES
    pictures: dict[str, list[dict[str, Any]]] = {name: [] for name in SECTIONS}
    for figure in drawn:
        svg = _existing(folder / f"{figure.name}.svg").read_bytes()
        points = re.findall(rb'(?:width|height)="([\d.]+)pt"', svg)[:2] or (0, 0)
        width, height = (round(float(length) * 4 / 3) for length in points)
        data = base64.b64encode(svg).decode()
        left -= len(data)
        about = {"name": figure.name, "caption": figure.caption, "text": figure.kind.text}
        pictures[figure.kind.section].append(
            about | {"svg": data if left >= 0 else "", "width": width, "height": height}
        )
    return pictures


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise StudyError(f"{path} is missing; make the tables and figures of this study first")
    return path


def _read_json(path: Path) -> Any:
    return json.loads(_existing(path).read_text(encoding="utf-8"))
