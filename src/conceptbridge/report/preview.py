"""What a study will have, before it runs: the definition of each task in words, counts per site, and what is estimable.

The counts are those of the run: the tables that a cohort needs are read by the same code, from the extract into a
folder that is gone afterwards, and the cohort is made by the same code, with its rule of small counts.
"""

import csv
import json
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from conceptbridge.core.read_parquet import read_table
from conceptbridge.report.definition import definition
from conceptbridge.sites.cdm import DOMAINS
from conceptbridge.sites.extract import tables_of
from conceptbridge.sites.ingest import ingest
from conceptbridge.study.embeddings import Embedding
from conceptbridge.study.study import Study
from conceptbridge.tasks.cohort import make_cohort

#: tables that a cohort can need beside those of its events, and those that name concepts
_ALSO = ("cdm_source", "death", "visit_occurrence", "concept", "concept_ancestor")
#: CPU seconds of a job, and more per row of the largest task: 2.3 in the tutorial's run, of 2,200 rows
_JOB, _JOB_ROWS, _DEMO_ROWS = 2.0, 1e-4, 8000
#: characters of a line in a terminal
_WIDTH = 110
#: items of a concept set that are named
_NAMED = 4


@dataclass(frozen=True)
class SiteCounts:
    """What a site's extract has for one task; counts that are small, or give a small one away, are None."""

    #: what the concept sets match, by part (``tasks.resolve``)
    sets: Mapping[str, Mapping[str, Any]]
    #: persons, rows and events after the last step of inclusion
    last: Mapping[str, int | None]
    #: split -> persons, rows, events and more (``tasks.prevalence.SCHEMA``)
    splits: Mapping[str, Mapping[str, Any]]
    #: whether the task's minimum of events, and of rows without, is reached in training
    trains: bool
    #: persons with and without the event among the test rows, the fewer of them; only to be compared with a minimum
    test_persons: int


@dataclass(frozen=True)
class Preview:
    """Counts by task, and the names of the concepts that the extract has."""

    tasks: Mapping[str, SiteCounts]
    names: list[str]


def preview(study: Study, site: str, threads: int) -> Preview:
    """Count what a site with rows has for each task of a study. The site must not be simulated.

    Raises StudyError for an extract that cannot be read.
    """
    tasks = study.config["tasks"]
    wanted = [*_ALSO, *(table for task in tasks.values() for table in tables_of(task))]
    if any(task[part]["codes"] for task in tasks.values() for part in ("index", "outcome")):
        wanted.append(DOMAINS["observation"].table)  # where codes of MEDS sites are
    with tempfile.TemporaryDirectory(prefix="conceptbridge-") as temporary:
        folder = Path(temporary)
        extract, reading = Path(study.extract(site)), json.loads(study.reading(site))
        if converter := study.converter(site):
            extract = folder / "extract"
            extract.mkdir()
            converter.convert(converter.only(converter.told(study.conversion(site)), wanted), extract)
        vocabulary = Path(study.vocabulary) if study.vocabulary else None
        ingest(extract, folder / "cdm", folder / "quality.json", reading, vocabulary, threads, wanted=wanted)
        names = read_table(folder / "cdm/concept.parquet", columns=["concept_name"])["concept_name"]
        counts = {name: _count(study, site, name, folder, threads) for name in tasks}
    return Preview(counts, pc.unique(names.drop_null()).to_pylist())


def _count(study: Study, site: str, name: str, folder: Path, threads: int) -> SiteCounts:
    task = study.config["tasks"][name]
    settings = json.loads(study.cohort_settings(name, site)) | {"on_few_events": "report"}
    cohort, attrition, splits, sets = (
        folder / part for part in ("cohort.parquet", "steps.csv", "splits.parquet", "sets")
    )
    few = study.config["min_cell_count"]
    make_cohort(folder / "cdm", site, settings, few, cohort, attrition, splits, threads, concepts=sets)
    rows = read_table(cohort, columns=["person_id", "label", "split"]).to_pandas()
    training, test = rows[rows["split"] == "train"], rows[rows["split"] == "test"]
    of_class = [test.loc[test["label"] == label, "person_id"].nunique() for label in (0, 1)]
    fewest = min((training["label"] == label).sum() for label in (0, 1))
    with attrition.open(newline="", encoding="utf-8") as file:
        *_, last = csv.DictReader(file)
    return SiteCounts(
        json.loads(sets.read_text(encoding="utf-8")),
        {key: int(last[key]) if last[key] else None for key in ("persons", "rows", "events")},
        {line["split"]: line for line in read_table(splits).to_pylist()},
        bool(fewest >= task["min_events"]),
        min(of_class),
    )


def described(
    study: Study, cores: int, count: bool, started: Callable[[str], object], arms: int, jobs: int
) -> Iterator[str]:
    """Yield the lines of what a study will have: the definition of each task, its sites, and what that costs.

    ``count``: whether extracts are read; ``started`` is called with the name of a site before its is. ``arms``, and
    ``jobs`` to run, are the study's.

    Raises StudyError for an extract that cannot be read.
    """
    found: dict[str, Preview] = {}
    why: dict[str, str] = {}
    for site in study.sites:
        if site in study.own and not study.simulated(site) and count:
            started(site)
            found[site] = preview(study, site, cores)
        else:
            why[site] = _why_not(study, site)
    for name, task in study.config["tasks"].items():
        sets = [one.tasks[name].sets for one in found.values()]
        yield f"Your definition of {name}"
        yield textwrap.fill(definition(task, sets), _WIDTH, initial_indent="  ", subsequent_indent="  ")
        for part in ("index", "outcome"):
            yield from _set_lines(part, task[part], sets)
        yield f"  split      {_split(task['split'])}"
        for site, one in found.items():
            yield from (f"  {line}" for line in _site_lines(study, task, site, one.tasks[name]))
        for site, text in why.items():
            yield f"  {site}: {text}"
        yield ""
    yield f"study      {', '.join(study.sites)}: {arms} arm{'s' * (arms != 1)}, {jobs} job{'s' * (jobs != 1)} to run"
    for key, names in (("embeddings", study.embeddings), ("learners", study.config["learners"])):
        yield f"{key:<10} {', '.join(names)}"
    yield f"{'strategies':<10} {', '.join(study.strategies)}"
    yield from _cost(study, found)
    yield f"time       {_time(jobs, found, cores)}"


def _why_not(study: Study, site: str) -> str:
    if study.simulated(site):
        return "simulated, so there is no extract to count yet; the run makes it"
    if site in study.own:
        return "not counted"
    kind = "its models" if site in study.bundled else "its results" if site in study.reported else "patients to score"
    return f"not counted, since only {kind} are here"


def _set_lines(part: str, spec: Mapping[str, Any], sets: list[Mapping[str, Any]]) -> Iterator[str]:
    """The concepts of a set by name, as the first site names them that can."""
    told: Mapping[str, Any] = next((one[part] for one in sets if one[part].get("items")), {"items": []})
    items = told["items"]
    if spec["domain"] in ("cohort", "death"):
        yield f"  {part:<10} {'a handed-in cohort' if spec['domain'] == 'cohort' else 'death'}"
        return
    if not items:
        asked = spec["concepts"] if isinstance(spec["concepts"], str) else ", ".join(map(str, spec["concepts"]))
        yield f"  {part:<10} {spec['domain']} {asked}, {'with' if spec['descendants'] else 'without'} descendants"
        return
    many = f"{told['concepts']:,} concepts" if told["concepts"] != 1 else "1 concept"
    yield f"  {part:<10} {spec['domain']}, {many} in all:"
    for item in items[:_NAMED]:
        below = f"and {item['descendants']:,} descendants" if item["descendants"] else "no descendant"
        yield f"  {'':<10} {item['concept_id']} {item['name'] or '(no name in the extract)'}, {below}"
    if len(items) > _NAMED:
        yield f"  {'':<10} and more"


def _split(split: Mapping[str, Any]) -> str:
    if split["by"] == "time":
        return f"training before {split['validation']}, validation before {split['test']}, testing from then on"
    if split["by"] == "hash":
        train, validation, test = (f"{100 * share:.0f} %" for share in split["shares"])
        return f"{train} of the persons train, {validation} validate, {test} test"
    return "as the handed-in cohort says"


def _site_lines(study: Study, task: Mapping[str, Any], site: str, counts: SiteCounts) -> Iterator[str]:
    few, claims = study.config["min_cell_count"], study.config["evaluation"]["min_persons"]
    yield f"{site}"
    for part in ("index", "outcome"):
        told = counts.sets[part]
        if "records" in told:
            about = [_about(told[key], few) for key in ("records", "persons")]
            yield f"  {part:<10} {about[0]} records of {about[1]} persons"
        for text in told["warnings"]:
            yield textwrap.fill(f"warning: {site} {text}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
    rows, persons, events = (counts.last[key] for key in ("rows", "persons", "events"))
    share = f" ({100 * events / rows:.1f} %)" if rows and events is not None else ""
    yield (
        f"  predicted  {_count_of(rows)} rows of {_count_of(persons)} persons, {_count_of(events)} rows with the "
        f"outcome{share}"
    )
    train, test = (_count_of(counts.splits[split]["events"]) for split in ("train", "test"))
    role = study.config["sites"][site]["role"]
    if counts.trains:
        yield f"  training   estimable: {train} rows with the outcome, of which {task['min_events']} are needed"
    else:
        yield f"  training   not estimable: fewer than {task['min_events']} rows with, or without, the outcome"
    if role == "source":
        yield "  testing    none: the site is a source"
    elif counts.test_persons >= max(claims, few):
        yield f"  testing    estimable: {test} rows with the outcome, for which {max(claims, few)} persons are needed"
    else:
        yield f"  testing    not estimable: fewer than {max(claims, few)} persons with, or without, the outcome"


def _about(count: int | None, few: int) -> str:
    return f"fewer than {few}" if count is None else "no" if count == 0 else f"about {count:,}"


def _count_of(count: int | None) -> str:
    return "(not shown)" if count is None else f"{count:,}"


def _cost(study: Study, found: Mapping[str, Preview]) -> Iterator[str]:
    """What services charge for the names of the concepts, at most."""
    names = sorted({name for one in found.values() for name in one.names})
    remote: dict[str, Embedding] = {e.id: e for e in study.by_id.values() if e.remote}
    for e in remote.values():
        estimate = e.backend.estimate(e.spec, names) if names else None
        if estimate is None or estimate.get("dollars") is None:
            yield f"cost       {e.name}: the service charges per token; nothing is known of it yet"
        else:
            yield f"cost       {e.name}: at most {estimate['dollars']:.2f} USD for {len(names):,} names of concepts"
    if not remote:
        yield "cost       none: no embedding is computed by a service"


def _time(jobs: int, found: Mapping[str, Preview], cores: int) -> str:
    """Roughly how long the jobs take, from the rows of the largest task; training grows with rows."""
    rows = [counts.last["rows"] or 0 for one in found.values() for counts in one.tasks.values()]
    minutes = jobs * (_JOB + _JOB_ROWS * max(rows, default=_DEMO_ROWS)) / cores / 60
    low, high = round(minutes / 2), round(minutes * 2)
    if not jobs:
        return "none: all is up to date"
    told = f"{low / 60:.0f} to {high / 60:.0f} hours" if low > 90 else f"{low} to {high} minutes"
    where = f"on {cores} cores of this machine, language models aside"
    return f"roughly {told if high > 2 else 'a minute or two'} {where}"
