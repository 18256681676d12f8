"""A row's record as text, and its vectors: one text per window, read by a text embedding.

A text is ``NAME, STATE; NAME; ...``, the most recent first, each once. The cache holds the vector under a hash of the
text, so that no record is in it, and the same text is read once.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conceptbridge.core.read_parquet import read_table
from conceptbridge.embed.cache import VectorCache
from conceptbridge.embed.compute import fill
from conceptbridge.embed.vectors import Matrix
from conceptbridge.study.backends import SiteFiles
from conceptbridge.study.embeddings import Embedding
from conceptbridge.vocabulary.states import with_state

logger = logging.getLogger(__name__)

#: where the cache keeps vectors of records, apart from those of names
RECORDS = "records"


def embed_records(
    parent: Embedding, rows: SiteFiles, windows: Sequence[tuple[int, int]], cache: Path, threads: int = 1
) -> Matrix:
    """The vectors of a cohort's rows: those of its windows, side by side; zeros for a window without a record."""
    texts = record_texts(rows, windows)
    distinct = sorted({text for of_row in texts for text in of_row} - {""})
    records = cache.expanduser() / RECORDS
    fill(parent, distinct, records, threads, key=_hash)
    known = VectorCache(records, parent.fingerprint)
    width = parent.spec["width"]
    result = np.zeros((len(texts), len(windows), width), np.float32)
    if distinct:
        hashes = [_hash(text) for text in distinct]
        places = known.find(hashes)
        vectors = known.read([places[name] for name in hashes])
        at = {text: i for i, text in enumerate(distinct)}
        for row, of_row in enumerate(texts):
            for window, text in enumerate(of_row):
                if text:
                    result[row, window] = vectors[at[text]]
    return result.reshape(len(texts), len(windows) * width)


def record_texts(rows: SiteFiles, windows: Sequence[tuple[int, int]]) -> list[list[str]]:
    """The text of each window of each row; empty where nothing is recorded.

    Age and sex, which are of no day, begin the first window's.
    """
    _, tokens, sequences = rows
    named = read_table(tokens, columns=["key", "text", "domain"]).to_pydict()
    words = [
        with_state(text or key, key.rpartition("|")[2]) for key, text in zip(named["key"], named["text"], strict=True)
    ]
    personal = np.array([domain == "demographic" for domain in named["domain"]], np.bool_)
    return [
        [_text(words, *of_window) for of_window in _in_windows(token, day, personal, windows)]
        for token, day in _rows(sequences)
    ]


def _rows(sequences: Path) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int16]]]:
    """Tokens and days of each row, the most recent first."""
    table = read_table(sequences, columns=["tokens", "days"])
    lists = table["tokens"].combine_chunks()
    ends = np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))
    tokens = lists.flatten().to_numpy(zero_copy_only=False)
    days = table["days"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    for first, end in zip([0, *ends], ends, strict=False):
        order = np.argsort(-days[first:end].astype(np.int64), kind="stable")
        yield tokens[first:end][order], days[first:end][order]


def _in_windows(
    token: NDArray[np.int32], day: NDArray[np.int16], personal: NDArray[np.bool_], windows: Sequence[tuple[int, int]]
) -> Iterator[tuple[list[int], list[int]]]:
    """Of each window the tokens that are of no day, and those of its days, in their order."""
    of_person = personal[token]
    for number, (first, last) in enumerate(windows):
        inside = (day >= first) & (day <= last) & ~of_person
        yield token[of_person].tolist() if number == 0 else [], token[inside].tolist()


def _text(words: Sequence[str], of_person: Sequence[int], of_days: Sequence[int]) -> str:
    return "; ".join(dict.fromkeys(words[token] for token in (*of_person, *of_days)))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
