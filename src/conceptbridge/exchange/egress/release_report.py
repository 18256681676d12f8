"""The sheet: what leaves, for the person who has to agree to it; it stays at the site."""

from collections.abc import Sequence
from pathlib import Path

from conceptbridge.core.atomic_files import write_text
from conceptbridge.exchange.egress.check import Leaving
from conceptbridge.exchange.egress.site_secrets import Private


def write_sheet(package: str, purpose: str, leaving: Sequence[Leaving], private: Private, out: Path) -> None:
    """Write what leaves in ``package`` as Markdown: every file with its rows, columns and smallest count, the texts of
    the site's own concepts in full, and what was looked for."""
    write_text(sheet(package, purpose, leaving, private), out)


def sheet(package: str, purpose: str, leaving: Sequence[Leaving], private: Private) -> str:
    """Return the sheet's text."""
    files = [
        f"| {one.file} | {one.about} | {_number(one.rows)} | {', '.join(one.columns)} | {_number(one.smallest)} | "
        f"{one.texts or ''} |"
        for one in leaving
    ]
    local = sorted({_cell(text) for one in leaving for text in one.local})
    apart = sorted(private.distinguishable_digits)
    ids = f"any number above {private.most:,}, which no count of the site exceeds"
    ids += f", and those of {', '.join(map(str, apart))} digits" if apart else ""
    lines = [
        f"# What leaves in {package}",
        "",
        purpose,
        "",
        f"Every file was looked into before it was written. min_cell_count is {private.min_cell_count}.",
        "",
        "| file | what it is | rows | columns | smallest count | texts |",
        "| --- | --- | ---: | --- | ---: | ---: |",
        *files,
        "",
        "## Texts that this hospital may have written itself",
        "",
        f"Names of local and unmapped concepts, each of {private.min_cell_count} persons or more. Read them: no "
        "program knows what a text gives away.",
        "",
        *([f"- {text}" for text in local] or ["none"]),
        "",
        "## What was looked for",
        "",
        f"- ids of {len(private.ids):,} persons and visits, as columns by their names and as values: {ids}. Smaller "
        "ids cannot be told from counts; they are kept out by the list of columns that may leave.",
        "- dates, other than those of the study's settings",
        "- values of single rows: undeclared columns and arrays, several rows of one key, as many numbers as a cohort "
        "has rows",
        f"- counts under {private.min_cell_count}, told or left over from totals, steps, splits, subgroups, cuts and "
        "bins",
        f"- {len(private.texts):,} texts of fewer than {private.min_cell_count} persons",
        "- folders, host and user of this machine",
    ]
    return "\n".join(lines) + "\n"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
