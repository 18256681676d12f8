"""The review sheet: what each of a target's tokens is read as, for a clinician to correct."""

import csv
from io import StringIO
from pathlib import Path

import pandas as pd
import pyarrow as pa

from conceptbridge import layout
from conceptbridge.core.atomic_files import atomic_folder, write_text
from conceptbridge.translate.corrections import COLUMNS, NOTHING, TASK
from conceptbridge.translate.run_translation import read_translations, read_words
from conceptbridge.translate.translation import CORRECTED, LEFT_OUT, Words
from conceptbridge.translate.translation_job import TranslationJob

#: readings that are shown of a token: what it is read as, and the runners-up
SHOWN = 3


def write_sheets(job: TranslationJob, results: Path, embedding: str, out: Path) -> None:
    """Write the review sheets of a target's translations, in the folder ``embedding``, to ``out``: ``{source}.csv``."""
    folder = layout.place(layout.TRANSLATIONS, task=job.task, embedding=embedding, target=job.target)
    target = read_words(job, results, job.target, at_home=True)
    with atomic_folder(out) as sheets:
        for source in job.sources:
            there = read_words(job, results, source, at_home=False)
            [table] = read_translations(results / folder / f"{source}.parquet")
            sheet = review_sheet(table, job.task, (job.target, target), (source, there))
            write_text(sheet, sheets / f"{source}.csv")


def review_sheet(translation: pa.Table, task: str, target: tuple[str, Words], source: tuple[str, Words]) -> str:
    """The sheet as CSV: tokens of the most persons first, those of hidden counts and then those that are left out last,
    each with what it is read as.

    ``stands_for`` is for the clinician to fill in, with a key that the sheet shows or any other token of the source, or
    with "nothing"; the sheet is then a file of corrections (``corrections.read_corrections``) for its ``task``. What
    was said before is filled in. ``target`` and ``source`` are the two sites' names and words. Persons are those of the
    target's profile: no count is shown that the profile hides.
    """
    profile = target[1].profile
    persons = dict(zip(profile.keys, profile.persons.tolist(), strict=True)) if profile is not None else {}
    texts = dict(zip(source[1].keys, source[1].texts, strict=True))
    header = [*COLUMNS[:3], "text", "persons", "by"]
    for n in range(1, SHOWN + 1):
        header += [f"reading_{n}", f"reading_{n}_text", f"weight_{n}"]
    header += ["name_cosine", "agreement", TASK, COLUMNS[3]]
    rows = []
    for key, readings in translation.to_pandas().groupby("token", sort=False):
        first, count = readings.iloc[0], persons.get(str(key))
        row = [target[0], source[0], key, first["text"] or "", "" if count is None else count, first["by"]]
        for n in range(SHOWN):
            reading = readings.iloc[n] if n < len(readings) and pd.notna(readings.iloc[n]["stands_for"]) else None
            if reading is None:
                row += ["", "", ""]
            else:
                row += [reading["stands_for"], texts.get(reading["stands_for"]) or "", _rounded(reading["weight"])]
        said = (row[6] or NOTHING) if first["by"] == CORRECTED else ""
        rows.append([*row, _rounded(first["name_cosine"]), _rounded(first["agreement"]), task, said])
    rows.sort(key=lambda row: (row[5] == LEFT_OUT, -(row[4] or 0), row[2]))
    file = StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()


def _rounded(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"
