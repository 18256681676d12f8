"""The release report lists what leaves, for the person who has to agree to it; the report itself stays at the site."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from conceptbridge.core.atomic_files import write_text
from conceptbridge.exchange.egress.released_file import ReleasedFile
from conceptbridge.exchange.egress.site_secrets import SiteSecrets


def write_release_report(
    package: str, purpose: str, released: Sequence[ReleasedFile], secrets: SiteSecrets, out: Path
) -> None:
    """Write what leaves in ``package`` as Markdown.

    The report has every file with its rows, columns and smallest count, the texts of the site's own concepts in full,
    and what was checked.
    """
    write_text(_report(package, purpose, released, secrets), out)


def _report(package: str, purpose: str, released: Sequence[ReleasedFile], secrets: SiteSecrets) -> str:
    files = [
        f"| {file.file} | {file.about} | {_number(file.rows)} | {', '.join(file.columns)} | {_number(file.smallest)} | "
        f"{file.texts or ''} |"
        for file in released
    ]
    local = {text: key for file in released for text, key in file.local.items()}
    digits = sorted(secrets.distinguishable_digits)
    ids = f"any number above {secrets.max_count:,}, which no count of the site exceeds"
    ids += f", and ids of {', '.join(map(str, digits))} digits" if digits else ""
    minimum = secrets.min_cell_count
    smallest = min((file.smallest for file in released if file.smallest is not None), default=None)
    lines = [
        f"# What leaves in {package}",
        "",
        purpose,
        "",
        "## In short",
        "",
        f"- {len(released)} files and a manifest leave. None of them has a row, an id or a date of a person.",
        f"- The smallest count in them is {_number(smallest) or 'not given: they have no counts'}; "
        f"counts under {minimum} are blank (`min_cell_count`).",
        f"- They hold {max((file.texts for file in released), default=0):,} names of concepts. {len(local):,} of these "
        f"may be this hospital's own words, each of {minimum} persons or more.",
        "- Every file was checked before it was written; nothing that was looked for was found (the last section).",
        "- To do: read the hospital's own words below. If they may leave, send the zip; keep this report.",
        "",
        "## The hospital's own words",
        "",
        *(_own_words(local) if local else ["none"]),
        "",
        "## The files",
        "",
        "| file | what it is | rows | columns | smallest count | texts |",
        "| --- | --- | ---: | --- | ---: | ---: |",
        *files,
        "",
        "## What was checked",
        "",
        f"- ids of {len(secrets.ids):,} persons and visits, as columns by their names and as values: {ids}. Smaller "
        "ids cannot be told from counts; the list of columns that may leave keeps them out.",
        "- dates, other than those of the study's settings",
        "- values of single rows: undeclared columns and arrays, several rows of one key, as many numbers as a cohort "
        "has rows",
        f"- counts under {minimum}, shown or left over from totals, steps, splits, subgroups, cuts and bins",
        f"- {len(secrets.texts):,} texts of fewer than {minimum} persons. A text that is also a word of the program or "
        "of the study's settings ('other') is let through where only they write.",
        "- folders, host and user of this machine",
    ]
    return "\n".join(lines) + "\n"


def _own_words(local: Mapping[str, str]) -> list[str]:
    """Return a table of local and unmapped concepts: what is written, and what it is."""
    names = sorted((text, key) for text, key in local.items() if not text.isdigit())
    codes = sorted((text, key) for text, key in local.items() if text.isdigit())
    head = ["| as it leaves | concept |", "| --- | --- |"]
    lines = ["Read them: no program knows what a text gives away.", ""] if names else []
    if names:
        lines += [*head, *(f"| {_cell(text)} | {_concept(key)} |" for text, key in names)]
    if codes:
        lines += [
            *([""] if names else []),
            "These are numbers alone: codes, such as SNOMED's or RxNorm's, which the extract does not map to standard "
            "concepts and has no name for. A number that is somebody's id, or a date, would have stopped the package.",
            "",
            *head,
            *(f"| {text} | {_concept(key)} |" for text, key in codes),
        ]
    return lines


def _concept(key: str) -> str:
    """Say in words what concept a local token's key names."""
    concept, _, state = key.rpartition("|")
    _, _, local = concept.partition("/")
    domain, unmapped, _ = local.partition(":")
    return _cell(f"{f'unmapped, {domain}' if unmapped else f'local concept {local}'} ({state})")


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
