"""A clinician's word on what a target's token stands for, in CSV files: it overrides the translation."""

import csv
import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import nearest
from conceptbridge.vocabulary.states import SLOTS, slots_of

#: a file's columns: two sites, a token of the target, and the source's token that it stands for, or ``NOTHING``
COLUMNS = ("target", "source", "token", "stands_for")
NOTHING = "nothing"
#: a further column, which a file may have: the task that a line is for. A line without one is for all tasks
TASK = "task"


class Correction(NamedTuple):
    """A line of a file; ``where`` names it in messages."""

    where: str
    target: str
    source: str
    token: str
    stands_for: str
    task: str


def corrections(files: Sequence[Path]) -> Iterator[Correction]:
    """Yield the lines that say something: a line without ``stands_for`` says nothing yet.

    Raises StudyError for a file that cannot be read, or lacks a column.
    """
    for file in files:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError(f"{file}: these translations cannot be read ({error})") from error
        reader = csv.DictReader(text.splitlines())
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            raise StudyError(f"{file}: has no column {missing[0]!r}; its columns are to be {', '.join(COLUMNS)}")
        for row in reader:
            values = [(row.get(name) or "").strip() for name in (*COLUMNS, TASK)]
            if values[3]:
                yield Correction(f"{file}: line {reader.line_num}", *values)


def check_sites(
    files: Sequence[Path], sites: Collection[str], sources: Collection[str], tasks: Collection[str]
) -> None:
    """Raise StudyError, with the line, where a file names a task, site or source that there is not, or one as both
    sites."""
    for line in corrections(files):
        if line.task and line.task not in tasks:
            raise StudyError(f"{line.where}: the task {line.task!r} is no task of the study{nearest(line.task, tasks)}")
        for what, site in (("target", line.target), ("source", line.source)):
            if site not in sites:
                raise StudyError(f"{line.where}: the {what} {site!r} is no site of the study{nearest(site, sites)}")
        if line.source not in sources:
            raise StudyError(
                f"{line.where}: {line.source} is no source of the study, so nothing is read as one of its tokens"
            )
        if line.target == line.source:
            raise StudyError(f"{line.where}: target and source are both {line.target!r}")


def digest_of(files: Sequence[Path], task: str, target: str) -> str | None:
    """A digest of what the files say of this target's tokens of a task; None where they say nothing of them."""
    said = sorted(line[1:5] for line in corrections(files) if line.target == target and line.task in ("", task))
    return hashlib.sha256(repr(said).encode()).hexdigest() if said else None


def read_corrections(
    files: Sequence[Path], task: str, target: tuple[str, Sequence[str]], source: tuple[str, Sequence[str]]
) -> dict[str, str | None]:
    """What each token of the files stands for in a task, None for nothing.

    ``target`` and ``source`` are the two sites' names and their tokens' keys; lines of other sites or tasks are passed
    over.
    Raises StudyError, with the line, for a token that is not among them, one that is named twice, or one whose state is
    another.
    """
    result: dict[str, str | None] = {}
    (at_target, tokens), (at_source, known) = ((name, dict.fromkeys(keys)) for name, keys in (target, source))
    for where, its_target, its_source, token, stands_for, its_task in corrections(files):
        if (its_target, its_source) != (at_target, at_source) or its_task not in ("", task):
            continue
        if token not in tokens:
            raise StudyError(f"{where}: {at_target} has no token {token!r}{nearest(token, tokens)}")
        if token in result:
            raise StudyError(f"{where}: {token!r} is named twice; keep one of the lines")
        if stands_for == NOTHING:
            result[token] = None
            continue
        if stands_for not in known:
            raise StudyError(
                f"{where}: {at_source} has no token {stands_for!r}{nearest(stands_for, known)}; "
                f"write {NOTHING!r} to leave the token out"
            )
        slots = slots_of([key.rpartition("|")[2] for key in (token, stands_for)])
        if slots[0] != slots[1]:
            mine, theirs = (list(SLOTS)[slot] for slot in slots)
            raise StudyError(f"{where}: {token!r} is of the state {mine}, and {stands_for!r} of {theirs}")
        result[token] = stands_for
    return result
