"""What a site keeps to itself, read from its own files, so that what leaves can be compared with it."""

import getpass
import os
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import literal
from conceptbridge.disclosure.suppress import enough_sql

#: a number is told from an id where fewer than one in so many numbers of as many digits is an id
SPARSE = 10_000
#: words of a private text that are looked for in a longer one
_MOST_WORDS = 12
#: a single word is looked for within other texts where it is as long, or has a digit
_LONG_WORD = 12

_WORD = re.compile(r"\w+")
_DATE = re.compile(
    r"(?<![\w.])(?:(?P<y>(?:19|20)\d\d)(?P<s>[-/.]?)(?P<m>\d\d)(?P=s)(?P<d>\d\d)"
    r"|(?P<d2>\d{1,2})(?P<s2>[-/.])(?P<m2>\d{1,2})(?P=s2)(?P<y2>(?:19|20)\d\d))(?=T\d|(?!\w|\.\d))"
)
_DIGITS = re.compile(r"(?<![\w.])\d{1,19}(?!\w|\.\d)|(?<=[A-Za-z_#:/|-])\d{1,19}(?!\w|\.\d)")
_PATH = re.compile(
    r"(?<![\w./<])(?:/(?:home|Users|root|tmp|mnt|srv|media|opt|var|data|scratch)/\S|[A-Za-z]:\\\w|\\\\\w)"
)


@dataclass(frozen=True)
class Private:
    """What must not leave: ``ids`` of persons and visits (sorted), ``texts`` of few persons (case-folded) and their
    word sequences (``phrases``, as far as no text that may leave has them), ``lengths`` (rows of cohorts, in all and by
    split), names of this ``machine``. ``said`` are dates that the study's config has, which are no secret; ``most``
    is a number that no count of the site can exceed."""

    ids: NDArray[np.int64]
    texts: frozenset[str]
    phrases: frozenset[tuple[str, ...]]
    lengths: frozenset[int]
    machine: tuple[str, ...]
    said: frozenset[str]
    most: int
    min_cell_count: int

    @cached_property
    def distinguishable_digits(self) -> frozenset[int]:
        """Numbers of digits with which an id can be told from any other number up to ``most``."""
        bounds = np.array([0, *(10**digits for digits in range(1, 19))], dtype=np.int64)
        n = np.diff(np.append(np.searchsorted(self.ids, bounds), len(self.ids)))
        return frozenset(d for d, ids in enumerate(n.tolist(), 1) if ids > 0 and ids * SPARSE < 9 * 10 ** (d - 1))

    def holds_id(self, numbers: NDArray[Any]) -> bool:
        """Whether one of ``numbers`` is an id, and not by coincidence.

        A site that numbers its persons 1, 2, 3, ... has ids that every count equals; those say nothing. A number is
        taken for an id where no count of the site is as large, or where ids are so sparse among numbers of as many
        digits that to meet one by chance is unlikely.
        """
        if numbers.dtype.kind == "f":
            whole = numbers[np.isfinite(numbers) & (np.abs(numbers) < 2.0**63)]
            numbers = whole[whole == np.floor(whole)].astype(np.int64)
        elif numbers.dtype.kind == "u":
            numbers = numbers[numbers < 2**63].astype(np.int64)
        values = np.unique(numbers.astype(np.int64))
        if not len(values) or not len(self.ids):
            return False
        at = np.minimum(np.searchsorted(self.ids, values), len(self.ids) - 1)
        found = values[self.ids[at] == values]
        return any(int(one) > self.most or len(str(one)) in self.distinguishable_digits for one in found)

    def finding(self, text: str, dates: bool = True) -> str | None:
        """Say what kind of thing in ``text`` must not leave, None where there is nothing."""
        folded = text.casefold().strip()
        if folded in self.texts or any(phrase in self.phrases for phrase in _phrases(text, self._lengths_of_phrases)):
            return f"a text of fewer than {self.min_cell_count} persons"
        if dates and any(day not in self.said for day in dates_in(text)):
            return "a date"
        if _PATH.search(text) or any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in self.machine):
            return "a path or name of this machine"
        numbers = np.array([int(one) for one in _DIGITS.findall(text) if int(one) < 2**63], dtype=np.int64)
        return "a person or visit id" if self.holds_id(numbers) else None

    @cached_property
    def _lengths_of_phrases(self) -> list[int]:
        return sorted({len(phrase) for phrase in self.phrases})


def dates_in(text: str) -> Iterator[str]:
    """The dates in ``text``, as YYYY-MM-DD, however they are written (years 1900 to 2099)."""
    for found in _DATE.finditer(text):
        year, month, day = (found[a] or found[b] for a, b in (("y", "y2"), ("m", "m2"), ("d", "d2")))
        if found["d2"] and int(month) > 12:  # the American order
            month, day = day, month
        if 1 <= int(month) <= 12 and 1 <= int(day) <= 31:
            yield f"{year}-{int(month):02d}-{int(day):02d}"


def read_private(
    sites: Sequence[Path], cohorts: Sequence[Path], said: str, min_cell_count: int, folders: Iterable[Path] = ()
) -> Private:
    """Read what must not leave.

    ``sites``: the folders ``<results>/sites/{site}`` of the sites whose rows lie here (``cdm/``,
    ``vocabulary.parquet``); ``cohorts``: ``cohort.parquet`` of their tasks; ``said``: the study's config as text, whose
    dates may be repeated; ``folders``: of this machine, beside the home and the working folder.
    Raises StudyError when a file is missing.
    """
    ids: list[NDArray[np.int64]] = []
    concepts: list[NDArray[np.int64]] = []
    private: set[str] = set()
    public: set[str] = set()
    most = 0
    for site in sites:
        cdm, vocabulary = site / "cdm", _existing(site / "vocabulary.parquet")
        for table, column in (("person", "person_id"), ("visit_occurrence", "visit_occurrence_id")):
            read = pq.read_table(_existing(cdm / f"{table}.parquet"), columns=[column])
            ids.append(read[column].drop_null().to_numpy())
        most += sum(pq.ParquetFile(file).metadata.num_rows for file in cdm.glob("*.parquet"))
        listed = pq.read_table(vocabulary, columns=["concept_id", "name", "text", "private"])
        concepts.append(listed["concept_id"].to_numpy())
        for name in ("name", "text"):
            for secret, into in ((True, private), (False, public)):
                some = pc.filter(listed[name], pc.equal(listed["private"], secret))
                into.update(_folded(some.unique().drop_null().to_pylist()))
        private.update(_folded(_few_source_values(cdm, min_cell_count)))
    known = np.unique(np.concatenate([*concepts, np.zeros(1, np.int64)]))
    lengths: set[int] = set()
    for cohort in cohorts:
        splits = pq.read_table(_existing(cohort), columns=["split"])["split"]
        counts = {one["values"]: one["counts"] for one in splits.value_counts().to_pylist()}
        lengths |= {len(splits), *counts.values(), len(splits) - counts.get("train", 0)}
    private -= public
    wanted = {phrase for text in private if (phrase := _whole_phrase(text))}
    sizes = sorted({len(phrase) for phrase in wanted})
    for text in public:
        wanted.difference_update(_phrases(text, sizes))
    return Private(
        ids=np.setdiff1d(np.concatenate([*ids, np.zeros(0, np.int64)]), known),
        texts=frozenset(private),
        phrases=frozenset(wanted),
        lengths=frozenset(lengths - {0}),
        machine=_machine(folders),
        said=frozenset(dates_in(said)),
        most=most,
        min_cell_count=min_cell_count,
    )


def _few_source_values(cdm: Path, min_cell_count: int) -> list[str]:
    """Source values of a person's sex and race that few persons have; those of records are in the vocabulary."""
    person = literal(_existing(cdm / "person.parquet"))
    with duckdb.connect() as connection:
        found = connection.execute(
            " UNION ".join(
                f"SELECT {column} FROM read_parquet({person}) WHERE trim({column}) <> '' GROUP BY ALL "
                f"HAVING NOT {enough_sql('count(DISTINCT person_id)', min_cell_count)}"
                for column in ("gender_source_value", "race_source_value")
            )
        )
        return [str(value) for (value,) in found.fetchall()]


def _folded(texts: Iterable[str]) -> Iterator[str]:
    return (text.casefold().strip() for text in texts if text.strip())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _whole_phrase(text: str) -> tuple[str, ...] | None:
    """The words of a private text, None where it is a common word that any other text may have."""
    words = tuple(_words(text)[:_MOST_WORDS])
    alone = len(words) == 1 and len(words[0]) < _LONG_WORD and not any(c.isdigit() for c in words[0])
    return None if not words or alone or (len(words) == 1 and len(words[0]) < 4) else words


def _phrases(text: str, lengths: Sequence[int]) -> Iterator[tuple[str, ...]]:
    words = _words(text) if lengths else []
    for length in lengths:
        yield from zip(*(words[start:] for start in range(length)), strict=False)


def _machine(folders: Iterable[Path]) -> tuple[str, ...]:
    """Names of this machine that are no ordinary words: its host name, and folders of more than one part."""
    paths = {Path.home(), Path.cwd(), *(Path(folder).expanduser() for folder in folders)}
    names = {str(path) for path in paths if path.is_absolute() and len(path.parts) > 2}
    names |= {f"{getpass.getuser()}@"} if os.environ.get("USER") or os.environ.get("LOGNAME") else set()
    host = socket.gethostname()
    names |= {host} if any(c.isdigit() or c in ".-" for c in host) and len(host) > 3 else set()
    return tuple(sorted(names))


def _existing(path: Path) -> Path:
    if not path.exists():
        raise StudyError(f"{path} is missing: run the site's own study first, what leaves is compared with its rows")
    return path
