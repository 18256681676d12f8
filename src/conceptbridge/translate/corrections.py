"""A clinician's word on what a target's token stands for, in a CSV file: it overrides the translation."""

import csv
from collections.abc import Sequence
from pathlib import Path

from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import nearest
from conceptbridge.vocabulary.states import SLOTS, slots_of

#: the file's columns: a token of the target, and the source's token that it stands for, or ``NOTHING``
COLUMNS = ("token", "stands_for")
NOTHING = "nothing"


def read_corrections(file: Path, target: Sequence[str], source: Sequence[str]) -> dict[str, str | None]:
    """What each token of the file stands for, None for nothing; a row without ``stands_for`` says nothing yet.

    ``target`` and ``source`` are the keys of the two sites' tokens. Raises StudyError, with the line, for a token that
    is not among them, one that is named twice, or one whose state is another.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{file}: these translations cannot be read ({error})") from error
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
    if missing:
        raise StudyError(f"{file}: has no column {missing[0]!r}; its columns are to be {', '.join(COLUMNS)}")
    result: dict[str, str | None] = {}
    at_target, at_source = set(target), set(source)
    for row in reader:
        token, stands_for = ((row[name] or "").strip() for name in COLUMNS)
        where = f"{file}: line {reader.line_num}"
        if not stands_for:
            continue
        if token not in at_target:
            raise StudyError(f"{where}: the target has no token {token!r}{nearest(token, target)}")
        if token in result:
            raise StudyError(f"{where}: {token!r} is named twice; keep one of the lines")
        if stands_for == NOTHING:
            result[token] = None
            continue
        if stands_for not in at_source:
            raise StudyError(
                f"{where}: the source has no token {stands_for!r}{nearest(stands_for, source)}; "
                f"write {NOTHING!r} to leave the token out"
            )
        slots = slots_of([key.rpartition("|")[2] for key in (token, stands_for)])
        if slots[0] != slots[1]:
            mine, theirs = (list(SLOTS)[slot] for slot in slots)
            raise StudyError(f"{where}: {token!r} is of the state {mine}, and {stands_for!r} of {theirs}")
        result[token] = stands_for
    return result
