"""What a learner sees: rows of tokens, the tokens' vectors, and labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.errors import StudyError


@dataclass(frozen=True)
class SiteRows:
    """The rows of a task at a site, in row_id order; ``tokens[offsets[i]:offsets[i + 1]]`` are those of row i."""

    keys: list[str]  # of the site's tokens, by position
    texts: list[str | None]
    training_rows: NDArray[np.int64]  # training rows that hold the token, by position
    row_ids: NDArray[np.int64]
    labels: NDArray[np.int8]
    split: NDArray[Any]
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """Rows with vectors: tokens index ``vectors`` (shape (tokens, width)); a token without a vector is left out."""

    vectors: NDArray[np.float32]
    tokens: NDArray[np.int64]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row: shape (rows,)."""
        return np.diff(self.offsets)


def read_rows(cohort: Path, tokens: Path, sequences: Path) -> SiteRows:
    """Read the rows of a task at a site.

    Raises StudyError when the sequences are not those of the cohort.
    """
    people = pq.read_table(cohort, columns=["row_id", "label", "split"])
    table = pq.read_table(tokens, columns=["key", "text", "rows"])
    order = pq.read_table(sequences, columns=["row_id", "tokens"])
    if not people["row_id"].equals(order["row_id"]):
        raise StudyError(f"{sequences}: its rows are not those of {cohort}; delete both and run again")
    lists = order["tokens"].combine_chunks()
    return SiteRows(
        keys=table["key"].to_pylist(),
        texts=table["text"].to_pylist(),
        training_rows=table["rows"].to_numpy(),
        row_ids=people["row_id"].to_numpy(),
        labels=people["label"].to_numpy(),
        split=people["split"].to_numpy(zero_copy_only=False),
        tokens=lists.flatten().to_numpy(zero_copy_only=False),
        offsets=np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))]).astype(np.int64),
    )


def examples(
    rows: SiteRows, vectors: NDArray[np.float32], known: NDArray[np.bool_], split: str | tuple[str, ...]
) -> Examples:
    """The rows of one split or several, in row_id order. Missing is masked: tokens not ``known`` are left out."""
    chosen = np.isin(rows.split.astype(str), split)
    row_of = np.repeat(np.arange(len(rows.row_ids)), np.diff(rows.offsets))
    keep = chosen[row_of] & known[rows.tokens]
    lengths = np.bincount(row_of[keep], minlength=len(rows.row_ids))[chosen]
    return Examples(
        vectors=vectors,
        tokens=rows.tokens[keep].astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=rows.labels[chosen],
    )
