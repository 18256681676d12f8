"""Check a task's settings beyond what a schema can express. Every plan of the workflow runs this."""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.tasks.concepts import concept_items
from conceptbridge.tasks.windows import check_windows

#: days are stored as 16-bit integers
MAX_DAYS = 32_000


def check_task(name: str, task: Mapping[str, Any], sites: Iterable[str], with_splits: Iterable[str] = ()) -> None:
    """Raise StudyError, naming task and key, if the settings of a task, with defaults filled in, make no sense.

    ``with_splits`` are the ``sites`` whose input has a split for each person.
    """
    at = f"config: tasks.{name}"
    index, outcome, split = task["index"], task["outcome"], task["split"]
    for key, spec in (("index", index), ("outcome", outcome)):
        _check_event(f"{at}.{key}", spec, sites, file_needed=key == "index")
    _check_windows(at, task)
    if task["predictors"]["windows"] != "none":
        check_windows(f"{at}.predictors.windows", task["predictors"]["windows"], task["predictors"]["days"])
    if outcome["domain"] == "cohort" and outcome["file"] is None and index["domain"] != "cohort":
        raise StudyError(
            f"{at}: outcome.domain `cohort` without `file` reads labels from the index cohort, but index.domain is "
            f"`{index['domain']}`. Set index.domain: cohort, or give outcome.file."
        )
    if index["at"] == "end" and index["domain"] != "visit":
        raise StudyError(f"{at}.index.at: only a visit has an end, but index.domain is `{index['domain']}`")
    for key in ("period", "age"):
        if index[key] and index[key][1] < index[key][0]:
            raise StudyError(f"{at}.index.{key}: {index[key]} ends before it begins")
    for day in index["period"] or []:
        check_date(f"{at}.index.period", day)
    if task["min_time_at_risk"] is not None and task["censoring"] == "keep":
        raise StudyError(
            f"{at}.min_time_at_risk: has no effect with `censoring: keep`; use `drop` or `drop-unless-dead`"
        )
    if split["by"] == "given" and index["domain"] != "cohort" and (others := set(sites) - set(with_splits)):
        raise StudyError(
            f"{at}.split.by: `given` reads the split from a handed-in cohort, but index.domain is "
            f"`{index['domain']}`, and {min(others)} is no MEDS data set with subject_splits"
        )
    if "shares" in split and abs(sum(split["shares"]) - 1) > 1e-9:
        raise StudyError(
            f"{at}.split.shares: training, validation and test must add up to 1, not {sum(split['shares'])}"
        )
    if split["by"] == "time":
        for key in ("validation", "test"):
            check_date(f"{at}.split.{key}", split[key])
        if split["test"] <= split["validation"]:
            raise StudyError(f"{at}.split: the test period must begin after the validation period")
        if split["persons"] == "returning" and "shares" in split:
            raise StudyError(
                f"{at}.split.shares: persons are drawn only with `persons: apart`; add it, or remove shares"
            )


def cohort_file(pattern: str, site: str) -> Path:
    """Return the file of the cohort handed in for ``site``; {site} in ``pattern`` stands for the site."""
    return Path(pattern.replace("{site}", site))


def _check_event(at: str, spec: Mapping[str, Any], sites: Iterable[str], file_needed: bool) -> None:
    domain, value = spec["domain"], spec["value"]
    if domain == "cohort":
        if spec["file"] is None and file_needed:
            raise StudyError(
                f"{at}: the key 'file' is missing; give the file of the handed-in cohort, with {{site}} in its name"
            )
        if spec["file"] and "{site}" not in spec["file"] and len(list(sites)) > 1:
            raise StudyError(f"{at}.file: every site would read the cohort {spec['file']}; put {{site}} in its name")
        for site in sites if spec["file"] else ():
            file = cohort_file(spec["file"], site)
            if not file.is_file():
                raise StudyError(f"{at}.file: the cohort {file} of the site {site} does not exist")
    elif spec["definition"] is not None:
        raise StudyError(f"{at}.definition: needs `domain: cohort`, but the domain is `{domain}`")
    elif spec["file"] is not None:
        raise StudyError(f"{at}.file: needs `domain: cohort`, but the domain is `{domain}`")
    elif domain != "death" and not spec["concepts"] and not spec["codes"]:
        raise StudyError(
            f"{at}: the key 'concepts' is missing; give concept ids, or the file of a concept set, or `codes` of "
            "MEDS sites"
        )
    if spec["codes"] and domain in ("death", "cohort"):
        raise StudyError(f"{at}.codes: the domain `{domain}` is found without codes; remove them")
    if spec["concepts"]:
        try:
            concept_items(spec)
        except StudyError as error:
            raise StudyError(f"{at}.concepts: {error}") from error
    for key in ("concepts", "exclude", "visits"):
        if not isinstance(spec[key], str) and 0 in spec[key]:
            raise StudyError(f"{at}.{key}: 0 is no concept: it stands for all records that have none; remove it")
    if spec["visits"] and domain in ("visit", "death", "cohort"):
        raise StudyError(f"{at}.visits: records of the domain {domain} do not belong to a visit")
    if value:
        if domain not in ("measurement", "observation"):
            raise StudyError(f"{at}.value: records of the domain {domain} have no value")
        limited = value["at_least"] is not None or value["at_most"] is not None
        if not limited and not value["states"]:
            raise StudyError(f"{at}.value: give `at_least`, `at_most` or `states`")
        if None not in (value["at_least"], value["at_most"]) and value["at_most"] < value["at_least"]:
            raise StudyError(f"{at}.value: at_least is {value['at_least']}, above at_most ({value['at_most']})")
        if limited and value["unit"] is None:
            raise StudyError(f'{at}.value.unit: a limit needs a unit (UCUM, "" if the values have none)')


def _check_windows(at: str, task: Mapping[str, Any]) -> None:
    outcome, predictors = task["outcome"]["days"], task["predictors"]["days"]
    for key, (first, last) in (("outcome", outcome), ("predictors", predictors)):
        if last < first:
            raise StudyError(f"{at}.{key}.days: the window [{first}, {last}] ends before it begins")
    if predictors[1] > 0:
        raise StudyError(
            f"{at}.predictors.days: the window ends {predictors[1]} days after the index; it must not end after day 0"
        )
    if predictors[0] < -MAX_DAYS:
        raise StudyError(
            f"{at}.predictors.days: the window begins {-predictors[0]} days before the index; at most {MAX_DAYS}"
        )
    if outcome[0] <= predictors[1]:
        raise StudyError(
            f"{at}.outcome.days: the outcome window begins on day {outcome[0]}, not after the predictors' last day "
            f"({predictors[1]}). Events within a day have no order, so begin it on day {predictors[1] + 1}."
        )
    if outcome[0] < 0:
        raise StudyError(
            f"{at}.outcome.days: the outcome window begins {-outcome[0]} days before the index; it must not begin "
            "before day 0"
        )
    same = task["index"]["domain"] == task["outcome"]["domain"] and task["index"]["domain"] not in ("cohort", "death")
    if outcome[0] == 0 and same and _set(task["index"]) == _set(task["outcome"]):
        raise StudyError(f"{at}.outcome.days: on day 0 the index event would be its own outcome; begin on day 1")


def _set(event: Mapping[str, Any]) -> tuple[Any, Any]:
    return event["concepts"], event["codes"]


def check_date(at: str, value: str) -> None:
    """Raise StudyError, which begins with ``at``, if ``value`` is not an ISO date."""
    try:
        date.fromisoformat(value)
    except ValueError as error:
        raise StudyError(f"{at}: {value!r} is not a date ({error})") from error
