"""The study's page: one HTML file that opens from disk, its first screen the answer for every target."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from markupsafe import Markup

from conceptbridge.core.atomic_files import write_text
from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.quality_report import shareable
from conceptbridge.report.answers import ARM, answers, describe, key_of
from conceptbridge.report.figures import BY_TASK, transfer_parts
from conceptbridge.study.strategies import strategy as find_strategy

NOTHING = "\N{EN DASH}"
TABLES = (
    "arms",
    "comparisons",
    "summary",
    "metrics",
    "subgroups",
    "unseen",
    "curves",
    "breakeven",
    "spent",
    "sites",
    "overlap",
    "attrition",
    "leaks",
    "embeddings",
)
MOST_ROWS = 1000
"""Of a table; what is left out is in the files beside the page, which has to open quickly."""
MOST_PICTURES = 1_500_000
"""Bytes of all pictures; one that no longer fits is named instead."""

SECTIONS = (
    ("answers", "Answers"),
    ("transfer", "Transfer"),
    ("curves", "Local data, tuning"),
    ("decisions", "Calibration, decisions"),
    ("arms", "All arms"),
    ("comparisons", "Comparisons"),
    ("summary", "Over all sites"),
    ("subgroups", "Subgroups"),
    ("sites", "Sites"),
    ("overlap", "Overlap"),
    ("attrition", "Attrition"),
    ("leaks", "Near the outcome"),
    ("embeddings", "Embeddings"),
    ("quality", "Data quality"),
    ("spent", "Spent"),
    ("provenance", "Provenance"),
    ("checklist", "Checklist"),
    ("reading", "How to read this"),
)
_TEXT = {
    "transfer": "Heat map of AUROC by embedding and strategy (rows), and target and source (columns). Its numbers are "
    "in the table of all arms.",
    "learning": "AUROC by labelled local events: local models against the recommended one; shaded: 95 % limits, and "
    "those of the break-even.",
    "depth": "AUROC by share of the tuning budget, mean over sources, one line an embedding.",
    "calibration": "Observed by predicted share; the grey line is perfect.",
    "roc": "Sensitivity by 1 - specificity above, PPV by sensitivity below.",
    "net-benefit": "Net benefit by threshold, beside alerting all rows and none.",
    "overlap": "Share of the target's tokens that the source has, by concept and by text.",
    "alignment": "Cosine of texts that the source lacks to the nearest one that it has.",
}
_PLACES = {"curves": ("learning", "depth"), "decisions": ("calibration", "roc", "net-benefit"), "overlap": ("overlap",)}


def write_page(
    tables: Path, figures: Path, sites: Path, provenance: Path, title: str, out: Path, min_cell_count: int = 10
) -> None:
    """Write the page to ``out``.

    ``tables`` holds the joint tables, ``figures`` their pictures, ``sites`` each site's ``quality.json``;
    of these no count under ``min_cell_count`` is shown. ``provenance`` is a JSON object that is shown as it is, and
    says by ``"simulated": true`` where the data are not of patients. Raises StudyError when one of them is missing.
    """
    joint = {name: pq.read_table(_existing(tables / f"{name}.parquet")) for name in TABLES}
    names = dict.fromkeys(joint["sites"]["site"].to_pylist())
    quality = {name: shareable(_read_json(sites / name / "quality.json"), min_cell_count) for name in names}
    pictures = _pictures(figures, joint["arms"], joint["curves"])
    shown = page(title, joint, pictures, quality, _read_json(provenance), min_cell_count)
    write_text(shown, out)


def page(
    title: str,
    tables: Mapping[str, pa.Table],
    pictures: Mapping[str, Sequence[Mapping[str, str]]],
    quality: Mapping[str, Any],
    provenance: Mapping[str, Any],
    least: int,
) -> str:
    """Return the page's HTML; ``pictures`` of each section have name, caption, text and SVG (base64)."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "count": lambda value: NOTHING if value is None else f"{value:,}",
        "share": lambda value: NOTHING if value is None else f"{100 * value:.1f} %",
        "decimal": lambda value: NOTHING if value is None else f"{value:.3f}",
        "round0": lambda value: NOTHING if value is None else f"{value:,.0f}",
        "p": lambda value: "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}",
    }
    beside = Path(__file__)
    template = environment.from_string(beside.with_name("page.html").read_text(encoding="utf-8"))
    rows = {name: table.to_pylist() for name, table in tables.items()}
    comparisons = [row for row in rows["comparisons"] if row["metric"] == "auroc"]
    found = list(answers(rows["arms"], comparisons, rows["sites"], rows["breakeven"]))
    named = _named(comparisons)
    first = sorted(
        comparisons, key=lambda row: (row["question"] in ("meaning", "borrowing"), -abs(row["difference"] or 0))
    )
    kept = {id(row) for row in first[:MOST_ROWS]}
    estimable = [answer.above_chance for answer in found if answer.above_chance is not None]
    return template.render(
        rows
        | {
            "title": title,
            "css": _inline(beside.with_name("page.css")),
            "js": _inline(beside.with_name("page.js")),
            "sections": SECTIONS,
            "answers": found,
            "nothing": bool(estimable) and not any(estimable),
            "reference": _reference(provenance),
            "pictures": pictures,
            "arms": rows["arms"][:MOST_ROWS],
            "arms_left_out": max(len(rows["arms"]) - MOST_ROWS, 0),
            "comparisons": [row for row in comparisons if id(row) in kept],
            "comparisons_left_out": max(len(comparisons) - MOST_ROWS, 0),
            "metrics": [row for row in rows["metrics"] if row["split"] == "test" and _at(row) in named][:MOST_ROWS],
            "subgroups": [row for row in rows["subgroups"] if _at(row) in named][:MOST_ROWS],
            "breakeven": rows["breakeven"][:MOST_ROWS],
            "spent": rows["spent"][:MOST_ROWS],
            "summary": rows["summary"][:MOST_ROWS],
            "describe": describe,
            "strategies": [find_strategy(name) for name in dict.fromkeys(row["strategy"] for row in rows["arms"])],
            "quality": quality,
            "provenance": provenance,
            "simulated": provenance.get("simulated") is True,
            "least": least,
            "checklist": checklist(provenance, least),
        }
    )


def checklist(provenance: Mapping[str, Any], least: int) -> list[dict[str, str | None]]:
    """Return the reporting checklist: item, about, and what the run knows, None where that is for the authors."""
    items = yaml.safe_load(Path(__file__).with_name("checklist.yaml").read_text(encoding="utf-8"))
    config = provenance.get("config", {})
    tasks, evaluation = config.get("tasks", {}), config.get("evaluation", {})

    def listed(values: Any) -> str:
        return ", ".join(map(str, values)) or "see Provenance"

    facts = {
        "sites": listed(config.get("sites", {})),
        "n_sites": len(config.get("sites", {})),
        "split": " ".join(f"{name}: split by {task['split']['by']}." for name, task in tasks.items()),
        "outcomes": "; ".join(_outcome(name, task["outcome"]) for name, task in tasks.items()) or "see Provenance",
        "embeddings": listed(provenance.get("embeddings", {})),
        "standardise": "yes" if config.get("standardise") else "no",
        "learners": listed(config.get("learners", {})),
        "strategies": listed(config.get("strategies", [])),
        "seeds": config.get("seeds", "the config's"),
        "thresholds": listed(evaluation.get("thresholds", [])),
        "alert_rates": listed(evaluation.get("alert_rates", [])),
        "commit": f"commit {provenance['commit']}" if provenance.get("commit") else "version in Provenance",
        "least": least,
    }
    return [
        {"item": one["item"], "about": one["about"], "known": one["known"].format(**facts) if "known" in one else None}
        for one in items
    ]


def _outcome(task: str, outcome: Mapping[str, Any]) -> str:
    first, last = outcome["days"]
    return f"{task}: {outcome['domain']} {outcome['concepts']}, day {first} to {last} after the index"


def _reference(provenance: Mapping[str, Any]) -> str:
    reference = provenance.get("config", {}).get("evaluation", {}).get("reference")
    if not reference:
        return "declared in the config"
    parts = [reference["strategy"], reference["learner"], reference["embedding"] and f"on {reference['embedding']}"]
    return " ".join(part for part in parts if part)


def _named(comparisons: Sequence[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    """Return (task, target, arm) of the recommended and the reference arms, and of the best local or borrowed ones."""
    named = set()
    for row in comparisons:
        if row["question"] in ("recommendation", "home", "abroad"):
            named |= {(row["task"], row["target"], *key_of(row, prefix)) for prefix in ("", "ref_")}
    return named


def _at(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["task"], row["target"], *(row[name] for name in ARM))


def _pictures(folder: Path, arms: pa.Table, curves: pa.Table) -> dict[str, list[dict[str, str]]]:
    left = MOST_PICTURES
    found: dict[str, list[dict[str, str]]] = {"transfer": [], **{place: [] for place in _PLACES}}
    drawn = {
        kind: curves[column].null_count < len(curves) for kind, column in (("learning", "size"), ("depth", "depth"))
    }
    for place, kind, name, caption in _figures(arms):
        if not drawn.get(kind, True):
            continue
        svg = base64.b64encode(_existing(folder / f"{name}.svg").read_bytes()).decode()
        left -= len(svg)
        shown = svg if left >= 0 else ""
        found[place].append({"name": name, "caption": caption, "text": _TEXT[kind], "svg": shown})
    return found


def _figures(arms: pa.Table) -> Iterator[tuple[str, str, str, str]]:
    for name, caption, _ in transfer_parts(arms):
        yield "transfer", "transfer", name, caption
    for place, kinds in _PLACES.items():
        for task in arms["task"].unique().to_pylist():
            for kind in kinds:
                yield place, kind, f"{kind}-{task}", f"{BY_TASK[kind]}, task {task}"
    yield "overlap", "alignment", "alignment", "Alignment of names that the source lacks"


def _inline(path: Path) -> Markup:
    return Markup(path.read_text(encoding="utf-8"))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise StudyError(f"{path} is missing: make the tables and figures of this study first")
    return path


def _read_json(path: Path) -> Any:
    return json.loads(_existing(path).read_text(encoding="utf-8"))
