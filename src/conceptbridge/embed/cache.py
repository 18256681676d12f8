"""The cache of vectors: content-addressed and append-only, shared by all studies of a user."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conceptbridge.embed.vectors import vector_table
from conceptbridge.files import write_parquet


class VectorCache:
    """Vectors of one embedding, in parts under ``folder/{fingerprint}``; two writers at once do no harm."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder.expanduser() / fingerprint

    def read(self, texts: Sequence[str]) -> pa.Table:
        """Columns text and vector of those of ``texts`` that are cached, each once."""
        wanted = pa.array(texts, pa.string())
        parts = []
        for path in sorted(self.folder.glob("*.parquet")):
            part = pq.read_table(path)
            parts.append(part.filter(pc.is_in(part["text"], value_set=wanted)))
        if not parts:
            return vector_table([], np.empty((0, 1), np.float32))
        found = pa.concat_tables(parts)
        first = np.unique(found["text"].to_numpy(zero_copy_only=False), return_index=True)[1]
        return found.take(np.sort(first))

    def add(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Append a part; its name is the hash of its texts, so that the same part is written once."""
        name = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:24]
        write_parquet(vector_table(texts, vectors), self.folder / f"{name}.parquet")
