"""Write the feasibility page: what each site has for each task, and what sites have in common, before any training."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.compute as pc

from conceptbridge.core.atomic_files import write_text
from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.quality_report import shareable
from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.tasks.cohort import LOOKS_AHEAD
from conceptbridge.tasks.prevalence import warning
from conceptbridge.tasks.set_warnings import check_index_events, read_sets, study_warnings
from conceptbridge.vocabulary.text_checks import text_shares, text_warnings

MISSING = "\N{EN DASH}"
PAGE = "feasibility.html"


def write_feasibility(
    tasks_folder: Path,
    sites_folder: Path,
    tasks: Sequence[str],
    sites: Sequence[str],
    title: str,
    min_cell_count: int,
    out: Path,
    warnings: Sequence[str] = (),
) -> None:
    """Write the page to ``out`` from aggregates alone, and the ``warnings`` of the whole study."""
    check_index_events(tasks_folder, tasks, sites)
    vocabularies = {site: _vocabulary(sites_folder / site / "vocabulary.parquet") for site in sites}
    texts = {site: text_shares(sites_folder / site / "vocabulary.parquet", min_cell_count) for site in sites}
    told_of_texts = [text for site in sites for text in text_warnings(site, texts[site])]
    quality = {site: shareable(_read_json(sites_folder / site / "quality.json"), min_cell_count) for site in sites}
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["count"] = lambda value: MISSING if value is None else f"{value:,}"
    environment.filters["share"] = lambda value: MISSING if value is None else f"{100 * value:.1f} %"
    template = environment.from_string(Path(__file__).with_name(PAGE).read_text(encoding="utf-8"))
    page = template.render(
        title=title,
        min_cell_count=min_cell_count,
        tasks=[
            {"name": task, "sites": [_task_at_site(tasks_folder / task / site, site) for site in sites]}
            for task in tasks
        ],
        sets=[
            {"task": task, "site": site, "part": part, **told}
            for task in tasks
            for site, sets in read_sets(tasks_folder, task, sites).items()
            for part, told in sets.items()
            if "concepts" in told
        ],
        set_warnings=[*warnings, *told_of_texts, *study_warnings(tasks_folder, tasks, sites)],
        read=[
            {"site": site, "table": table, **counts}
            for site in sites
            for table, counts in quality[site]["tables"].items()
            if counts["read"] != 0
        ],
        texts=texts,
        concepts=[_concepts(site, vocabularies[site], min_cell_count) for site in sites],
        overlap=[
            _overlap(source, target, vocabularies[source], vocabularies[target])
            for target in sites
            for source in sites
            if source != target
        ],
        units=[{"site": site, **_read_json(sites_folder / site / "units.json")} for site in sites],
    )
    write_text(page, out)


def _task_at_site(folder: Path, site: str) -> dict[str, Any]:
    with (folder / "attrition.csv").open(newline="", encoding="utf-8") as file:
        steps = [
            {key: value if key == "step" else int(value) if value else None for key, value in row.items()}
            for row in csv.DictReader(file)
        ]
    lines = read_table(folder / "splits.parquet").to_pylist()
    told: dict[str, Any] = {"prevalence": {line["split"]: line for line in lines}, "warning": warning(lines)}
    told["looks_ahead"] = any(str(step["step"]).endswith(LOOKS_AHEAD) for step in steps)
    return {"site": site, "attrition": steps, **told, **_read_json(folder / "survey.json")}


def _vocabulary(path: Path) -> dict[int | str, dict[str, Any]]:
    """Return a concept's key -> what is known of it, without private tokens and demographics."""
    table = read_table(path, columns=["key", "concept_id", "domain", "name", "named_by", "records", "private"])
    chosen = pc.and_(pc.invert(table["private"]), pc.not_equal(table["domain"], "demographic"))
    return {row["key"].rsplit("|", 1)[0]: row for row in table.filter(chosen).to_pylist()}


def _concepts(site: str, vocabulary: dict[Any, dict[str, Any]], min_cell_count: int) -> dict[str, Any]:
    domains = []
    for domain in sorted({row["domain"] for row in vocabulary.values()}):
        rows = [row for row in vocabulary.values() if row["domain"] == domain]
        records = sum(row["records"] for row in rows)
        named = [row for row in rows if row["named_by"] == "concept"]
        mapped = sum(row["records"] for row in rows if row["concept_id"] != 0)
        domains.append(
            {
                "domain": domain,
                "concepts": len(rows),
                "records": records if is_enough(records, min_cell_count) else None,
                "named": len(named) / len(rows),
                "named_by_records": sum(row["records"] for row in named) / records,
                "mapped_by_records": mapped / records,
            }
        )
    return {"site": site, "domains": domains}


def _overlap(source: str, target: str, theirs: dict[Any, dict[str, Any]], ours: dict[Any, dict[str, Any]]) -> Any:
    names = {row["name"].casefold() for row in theirs.values() if row["name"]}
    records = sum(row["records"] for row in ours.values())

    def shares(matches: list[dict[str, Any]]) -> tuple[float | None, float | None]:
        if not ours:
            return None, None
        return len(matches) / len(ours), sum(row["records"] for row in matches) / records

    codes = shares([row for key, row in ours.items() if key in theirs])
    named = shares([row for row in ours.values() if row["name"] and row["name"].casefold() in names])
    return {"source": source, "target": target, "concepts": len(ours), "codes": codes, "names": named}


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
