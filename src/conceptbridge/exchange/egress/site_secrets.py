"""What a site keeps to itself, read from its own files; what leaves is compared with it."""

import getpass
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.core.sql import literal
from conceptbridge.disclosure.suppress import enough_sql
from conceptbridge.exchange.egress.program_words import program_words, words
from conceptbridge.exchange.egress.released_file import FEW_HAVE

#: an id can be told from a count if fewer than one in this many numbers of as many digits is an id
SPARSE = 10_000
#: words of a private text that are searched for in longer texts
_MAX_WORDS = 12
#: a single word is searched for in other texts if it has this many characters, or a digit
_LONG_WORD = 12

_DATE = re.compile(
    r"(?<![\w.])(?:(?P<y>(?:19|20)\d\d)(?P<s>[-/.]?)(?P<m>\d\d)(?P=s)(?P<d>\d\d)"
    r"|(?P<d2>\d{1,2})(?P<s2>[-/.])(?P<m2>\d{1,2})(?P=s2)(?P<y2>(?:19|20)\d\d))(?=T\d|(?!\w|\.\d))"
)
#: a concept's number at the head of a token's key: it can look like a date or an id
_CONCEPT = re.compile(r"^([^/|]*/)?\d+\|")
#: the key of an unmapped concept: its site and domain, its text, its state
_UNMAPPED = re.compile(r"^([^/|]*/[^/|:]*):(.*)\|([^|]*)$", re.DOTALL)
_DIGITS = re.compile(r"(?<![\w.])\d{1,19}(?!\w|\.\d)|(?<=[A-Za-z_#:/|-])\d{1,19}(?!\w|\.\d)")
_PATH = re.compile(
    r"(?<![\w./<])(?:/(?:home|Users|root|tmp|mnt|srv|media|opt|var|data|scratch)/\S|[A-Za-z]:\\\w|\\\\\w)"
)


@dataclass(frozen=True)
class SiteSecrets:
    """What must not leave, and what the check needs to tell it from other values.

    ``ids`` are those of persons and visits, sorted. ``texts`` are those of few persons, case-folded; ``phrases`` are
    their word sequences, as far as no text that may leave has them. ``cohort_sizes`` are rows of cohorts, in all and by
    split. ``machine_names`` are names of this machine. ``public_dates`` are dates in the study's config. No count of
    the site exceeds ``max_count``. ``study_words`` are those of the study's config. ``origins`` say of a text in which
    column of the extract it stands.
    """

    ids: NDArray[np.int64]
    texts: frozenset[str]
    phrases: frozenset[tuple[str, ...]]
    cohort_sizes: frozenset[int]
    machine_names: tuple[str, ...]
    public_dates: frozenset[str]
    max_count: int
    min_cell_count: int
    study_words: frozenset[str] = frozenset()
    origins: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def distinguishable_digits(self) -> frozenset[int]:
        """The numbers of digits with which an id can be told from any other number up to ``max_count``."""
        bounds = np.array([0, *(10**digits for digits in range(1, 19))], dtype=np.int64)
        n = np.diff(np.append(np.searchsorted(self.ids, bounds), len(self.ids)))
        return frozenset(d for d, ids in enumerate(n.tolist(), 1) if ids > 0 and ids * SPARSE < 9 * 10 ** (d - 1))

    def holds_id(self, numbers: NDArray[Any]) -> bool:
        """Say whether one of ``numbers`` is an id, and not by coincidence.

        If a site numbers its persons 1, 2, 3, ..., every count equals an id; those say nothing. A number is taken for
        an id if no count of the site is as large, or if ids are so sparse among numbers of as many digits that a match
        by chance is unlikely.
        """
        if numbers.dtype.kind == "f":
            whole = numbers[np.isfinite(numbers) & (np.abs(numbers) < 2.0**63)]
            numbers = whole[whole == np.floor(whole)].astype(np.int64)
        elif numbers.dtype.kind == "u":
            numbers = numbers[numbers < 2**63].astype(np.int64)
        values = np.unique(numbers.astype(np.int64))
        if not len(values) or not len(self.ids):
            return False
        index = np.minimum(np.searchsorted(self.ids, values), len(self.ids) - 1)
        matches = values[self.ids[index] == values]
        return any(int(id_) > self.max_count or len(str(id_)) in self.distinguishable_digits for id_ in matches)

    def finding(self, text: str, program: bool = False) -> str | None:
        """Say what kind of thing in ``text`` must not leave; None if there is nothing.

        ``program`` says that only the program and the study's config write here: there a text of few persons is no
        finding if all its words are theirs.
        """
        if (private := self._private_in(text, program)) is not None:
            where = self.origins.get(private)
            return f"{FEW_HAVE} {self.min_cell_count} persons{f' (one is in {where})' if where else ''}"
        if any(day not in self.public_dates for day in dates_in(text)):
            return "a date"
        names = self.machine_names
        if _PATH.search(text) or any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names):
            return "a path or name of this machine"
        numbers = np.array([int(digits) for digits in _DIGITS.findall(text) if int(digits) < 2**63], dtype=np.int64)
        return "a person or visit id" if self.holds_id(numbers) else None

    def finding_in_key(self, key: str) -> str | None:
        """Say the same of a token's key, but for its concept's number, which may be somebody's id as well."""
        if unmapped := _UNMAPPED.match(key):
            place, text, state = unmapped.groups()
            return self.finding(text) or self.finding(place, True) or self.finding(state, True)
        return self.finding(_CONCEPT.sub("", key), bool(_CONCEPT.match(key)))

    def _private_in(self, text: str, program: bool) -> str | None:
        """Return the text of few persons that ``text`` is or holds, folded."""
        folded = text.casefold().strip()
        found = [folded] if folded in self.texts else []
        found += [" ".join(phrase) for phrase in _phrases(text, self._phrase_lengths) if phrase in self.phrases]
        if found and program:  # single digits and numbers tell nothing either: "fewer than 10 persons"
            own = program_words() | self.study_words
            found = [one for one in found if not all(word in own or word.isdigit() for word in words(one))]
        return found[0] if found else None

    @cached_property
    def _phrase_lengths(self) -> list[int]:
        return sorted({len(phrase) for phrase in self.phrases})


def dates_in(text: str) -> Iterator[str]:
    """Yield the dates in ``text`` as YYYY-MM-DD, however they are written (years 1900 to 2099)."""
    for match in _DATE.finditer(text):
        year, month, day = (match[a] or match[b] for a, b in (("y", "y2"), ("m", "m2"), ("d", "d2")))
        if match["d2"] and int(month) > 12:  # the American order
            month, day = day, month
        if 1 <= int(month) <= 12 and 1 <= int(day) <= 31:
            yield f"{year}-{int(month):02d}-{int(day):02d}"


def read_site_secrets(
    sites: Sequence[Path],
    cohorts: Sequence[Path],
    config: str,
    min_cell_count: int,
    folders: Iterable[Path] = (),
) -> SiteSecrets:
    """Read what must not leave.

    ``sites``: the folders ``<results>/sites/{site}`` of the sites whose rows lie here (``cdm/``,
    ``vocabulary.parquet``); ``cohorts``: ``cohort.parquet`` of their tasks; ``config``: the study's config as text,
    whose dates may be repeated; ``folders``: of this machine, in addition to the home and the working folder.

    Raises StudyError when a file is missing.
    """
    ids: list[NDArray[np.int64]] = []
    concepts: list[NDArray[np.int64]] = []
    private: set[str] = set()
    public: set[str] = set()
    origins: dict[str, str] = {}
    max_count = 0
    for site in sites:
        cdm, vocabulary = site / "cdm", existing(site / "vocabulary.parquet")
        for table, column in (("person", "person_id"), ("visit_occurrence", "visit_occurrence_id")):
            read = read_table(existing(cdm / f"{table}.parquet"), columns=[column])
            ids.append(read[column].drop_null().to_numpy())
        max_count += sum(pq.ParquetFile(file).metadata.num_rows for file in cdm.glob("*.parquet"))
        listed = read_table(vocabulary, columns=["concept_id", "name", "text", "private"])
        concepts.append(listed["concept_id"].to_numpy())
        for name in ("name", "text"):
            for is_private, texts in ((True, private), (False, public)):
                some = pc.filter(listed[name], pc.equal(listed["private"], is_private))
                texts.update(_folded(some.unique().drop_null().to_pylist()))
        for column, value, enough in _source_values(cdm, min_cell_count):
            (public if enough else private).update(_folded([value]))
            origins.setdefault(value.casefold().strip(), f"person.{column}")
    known = np.unique(np.concatenate([*concepts, np.zeros(1, np.int64)]))
    private -= public
    return SiteSecrets(
        ids=np.setdiff1d(np.concatenate([*ids, np.zeros(0, np.int64)]), known),
        texts=frozenset(private),
        phrases=private_phrases(private, public),
        cohort_sizes=frozenset(_cohort_sizes(cohorts)),
        machine_names=_machine_names(folders),
        public_dates=frozenset(dates_in(config)),
        max_count=max_count,
        min_cell_count=min_cell_count,
        study_words=frozenset(words(config)),
        origins={text: origins.get(text, "the names of local and unmapped concepts") for text in private},
    )


def existing(path: Path) -> Path:
    """Return ``path``. Raises StudyError if it does not exist."""
    if not path.exists():
        raise StudyError(f"{path} is missing; run the site's own study first: what leaves is checked against its files")
    return path


def _cohort_sizes(cohorts: Sequence[Path]) -> set[int]:
    sizes: set[int] = set()
    for cohort in cohorts:
        splits = read_table(existing(cohort), columns=["split"])["split"]
        counts = {one["values"]: one["counts"] for one in splits.value_counts().to_pylist()}
        sizes |= {len(splits), *counts.values(), len(splits) - counts.get("train", 0)}
    return sizes - {0}


def private_phrases(private: Iterable[str], public: Iterable[str]) -> frozenset[tuple[str, ...]]:
    """Return the word sequences of ``private`` texts that no ``public`` text has."""
    phrases = {phrase for text in private if (phrase := _whole_phrase(text))}
    lengths = sorted({len(phrase) for phrase in phrases})
    for text in public:
        phrases.difference_update(_phrases(text, lengths))
    return frozenset(phrases)


def _source_values(cdm: Path, min_cell_count: int) -> list[tuple[str, str, bool]]:
    """Return the source values of sex and race, with their column, and whether enough persons have them.

    Those of records are in the vocabulary.
    """
    person = literal(existing(cdm / "person.parquet"))
    with duckdb.connect() as connection:
        rows = connection.execute(
            " UNION ALL ".join(
                f"SELECT {literal(column)}, {column}, {enough_sql('count(DISTINCT person_id)', min_cell_count)} "
                f"FROM read_parquet({person}) WHERE trim({column}) <> '' GROUP BY ALL"
                for column in ("gender_source_value", "race_source_value")
            )
        )
        return [(str(column), str(value), bool(enough)) for column, value, enough in rows.fetchall()]


def _folded(texts: Iterable[str]) -> Iterator[str]:
    return (text.casefold().strip() for text in texts if text.strip())


def _whole_phrase(text: str) -> tuple[str, ...] | None:
    """The words of a private text; None if it is a common word that any other text may have."""
    whole = tuple(words(text)[:_MAX_WORDS])
    alone = len(whole) == 1 and len(whole[0]) < _LONG_WORD and not any(c.isdigit() for c in whole[0])
    return None if not whole or alone or (len(whole) == 1 and len(whole[0]) < 4) else whole


def _phrases(text: str, lengths: Sequence[int]) -> Iterator[tuple[str, ...]]:
    of_text = words(text) if lengths else []
    for length in lengths:
        yield from zip(*(of_text[start:] for start in range(length)), strict=False)


def _machine_names(folders: Iterable[Path]) -> tuple[str, ...]:
    """Names of this machine that are not ordinary words: its host name, and folders of more than one part."""
    paths = {Path.home(), Path.cwd(), *(Path(folder).expanduser() for folder in folders)}
    names = {str(path) for path in paths if path.is_absolute() and len(path.parts) > 2}
    names |= {f"{getpass.getuser()}@"} if os.environ.get("USER") or os.environ.get("LOGNAME") else set()
    host = socket.gethostname()
    names |= {host} if any(c.isdigit() or c in ".-" for c in host) and len(host) > 3 else set()
    return tuple(sorted(names))
