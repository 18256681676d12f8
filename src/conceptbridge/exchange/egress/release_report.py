"""The release report lists what leaves, for the person who has to agree to it; the report itself stays at the site."""

from collections.abc import Sequence
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
    local = sorted({_cell(text) for file in released for text in file.local})
    digits = sorted(secrets.distinguishable_digits)
    ids = f"any number above {secrets.max_count:,}, which no count of the site exceeds"
    ids += f", and ids of {', '.join(map(str, digits))} digits" if digits else ""
    minimum = secrets.min_cell_count
    lines = [
        f"# What leaves in {package}",
        "",
        purpose,
        "",
        f"Every file was checked before it was written. min_cell_count is {minimum}.",
        "",
        "| file | what it is | rows | columns | smallest count | texts |",
        "| --- | --- | ---: | --- | ---: | ---: |",
        *files,
        "",
        "## Texts that this hospital may have written itself",
        "",
        f"Names of local and unmapped concepts, each of {minimum} persons or more. Read them: no program knows what a "
        "text gives away.",
        "",
        *([f"- {text}" for text in local] or ["none"]),
        "",
        "## What was checked",
        "",
        f"- ids of {len(secrets.ids):,} persons and visits, as columns by their names and as values: {ids}. Smaller "
        "ids cannot be told from counts; the list of columns that may leave keeps them out.",
        "- dates, other than those of the study's settings",
        "- values of single rows: undeclared columns and arrays, several rows of one key, as many numbers as a cohort "
        "has rows",
        f"- counts under {minimum}, shown or left over from totals, steps, splits, subgroups, cuts and bins",
        f"- {len(secrets.texts):,} texts of fewer than {minimum} persons",
        "- folders, host and user of this machine",
    ]
    return "\n".join(lines) + "\n"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
