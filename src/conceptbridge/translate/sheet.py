"""The review sheet: what each of a target's tokens is read as, for a clinician to correct."""

import csv
from io import StringIO

import pandas as pd
import pyarrow as pa

from conceptbridge.translate.corrections import COLUMNS
from conceptbridge.translate.translation import Words

#: readings that are shown of a token: what it is read as, and the runners-up
SHOWN = 3


def review_sheet(translation: pa.Table, target: tuple[str, Words], source: tuple[str, Words]) -> str:
    """The sheet as CSV: tokens of the most persons first, those of hidden counts last, each with what it is read as.

    ``stands_for`` is for the clinician to fill in, with a key that the sheet shows or any other token of the source, or
    with "nothing"; the sheet is then a file of corrections (``corrections.read_corrections``). ``target`` and
    ``source`` are the two sites' names and words. Persons are those of the target's profile: no count is shown that the
    profile hides.
    """
    profile = target[1].profile
    persons = dict(zip(profile.keys, profile.persons.tolist(), strict=True)) if profile is not None else {}
    texts = dict(zip(source[1].keys, source[1].texts, strict=True))
    header = [*COLUMNS[:3], "text", "persons", "by"]
    for n in range(1, SHOWN + 1):
        header += [f"reading_{n}", f"reading_{n}_text", f"weight_{n}"]
    header += ["name_cosine", "agreement", COLUMNS[3]]
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
        rows.append([*row, _rounded(first["name_cosine"]), _rounded(first["agreement"]), ""])
    rows.sort(key=lambda row: (-(row[4] or 0), row[2]))
    file = StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()


def shares_of_records(translation: pa.Table, persons: dict[str, int]) -> dict[str, float]:
    """The share of records that are read by the same code, translated, corrected or left out, by ``by``.

    ``persons``: how often each token is recorded. Sums to 1; empty where nothing is.
    """
    first = translation.to_pandas().drop_duplicates("token")
    counts = first["token"].map(persons).fillna(0).groupby(first["by"]).sum()
    return {str(by): float(n / counts.sum()) for by, n in counts.items()} if counts.sum() else {}


def _rounded(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"
