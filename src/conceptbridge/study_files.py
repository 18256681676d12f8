"""The files that a study names: what of them is there before a run, and what is wrong with them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError, named_by
from conceptbridge.exchange.receive.find_aggregates import find_aggregates
from conceptbridge.exchange.receive.find_bundles import find_bundles
from conceptbridge.sites.extract import check_needs, extract_files, find_tables
from conceptbridge.study.study import Study
from conceptbridge.translate.corrections import check_sites


def mistakes(study: Study) -> list[str]:
    """Return one message per mistake in the files that a study names; none if it can run."""
    checks: list[Callable[[], Any]] = [
        partial(data_folder, study),
        *(partial(row_files, study, site) for site in with_files(study)),
        *(partial(aggregates_of, study, site) for site in study.reported),
        *(partial(bundles_of, study, site) for site in study.bundled),
        *(partial(check_file, study.patients(site), site) for site in study.scored),
        partial(files_of_models, study),
        partial(vocabulary_files, study),
        partial(check_sites, study.translations, study.sites, study.sources, study.config["tasks"]),
        lambda: study.term_pairs,
    ]
    messages = []
    for check in checks:
        try:
            check()
        except StudyError as error:
            messages.append(str(error))
    return messages


def data_folder(study: Study) -> None:
    """Raise StudyError if the folder that all other paths are below does not exist."""
    data = Path(study.config["data"]).expanduser()
    if with_files(study) and not data.is_dir():
        raise StudyError(f"config: data: the folder {data} does not exist; give the one that the extracts are in")


def with_files(study: Study) -> list[str]:
    """The sites whose rows come from files that exist before the run."""
    return [site for site in study.own + study.scored if not study.simulated(site)]


def row_files(study: Study, site: str) -> list[str]:
    """The files that a site's rows are read from. Raises StudyError if one is missing, or no task can use it."""
    if converter := study.converter(site):
        converter.check(study.conversion(site), site)
        return list(converter.inputs(study.conversion(site)))
    extract = Path(study.extract(site))
    with named_by(f"sites.{site}.extract"):
        tables = find_tables(extract)
    check_needs(site, extract, tables, study.config["tasks"])
    return [str(file) for file in extract_files(tables)]


def aggregates_of(study: Study, site: str) -> dict[str, Any]:
    """The manifest of a site's aggregate results file. Raises StudyError if it belongs to another study."""
    role = study.config["sites"][site]["role"]
    return find_aggregates(Path(study.results_file(site)), site, role, study.compared())


def bundles_of(study: Study, site: str) -> dict[tuple[str, str, str], Path]:
    """The bundles that a site has sent for the study's models. Raises StudyError if one does not fit them."""
    models = {
        (task, e.name, learner): study.model(site, task, e, learner)
        for task in study.config["tasks"]
        for e in study.embeddings.values()
        if not e.translated and not e.of_rows
        for learner in study.config["learners"]
    }
    return find_bundles(study.bundles(site), site, models)


def vocabulary_files(study: Study) -> list[str]:
    if not study.vocabulary:
        return []
    with named_by("vocabulary"):
        return [str(file) for file in extract_files(find_tables(Path(study.vocabulary)))]


def files_of_models(study: Study) -> None:
    """Raise StudyError if a file of another model's predictions or vectors is missing, or stands for several
    cohorts."""
    targets = [site for site in study.targets if site in study.own]
    for name in study.external:
        _one_file_each(f"external.{name}", study, targets, study.config["external"][name])
    for e in study.embeddings.values():
        if e.of_rows and "file" in e.spec:
            _one_file_each(f"embeddings.{e.name}.file", study, study.own, e.spec["file"])


def _one_file_each(key: str, study: Study, sites: list[str], pattern: str) -> None:
    files: dict[str, str] = {}
    for task in study.config["tasks"]:
        for site in sites:
            file, cohort = study.of_cohort(pattern, task, site), f"{task} at {site}"
            if not Path(file).is_file():
                raise StudyError(f"{file}: there is no such file (config: {key}, {cohort})")
            if (other := files.setdefault(file, cohort)) != cohort:
                raise StudyError(
                    f"config: {key}: {cohort} and {other} have the same file, {file}; put {{task}} and {{site}} into "
                    "its name"
                )


def check_file(file: str, site: str) -> None:
    if not Path(file).is_file():
        raise StudyError(f"{file}: there is no such file (config: sites.{site})")
