"""The table of a site's vectors, assembled from the cache or a published file. Nothing is computed here."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conceptbridge.core.atomic_files import atomic_file
from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import canonical
from conceptbridge.embed.cache import VectorCache
from conceptbridge.embed.vectors import Matrix, vector_table
from conceptbridge.study.embeddings import Embedding
from conceptbridge.vocabulary.texts import site_tokens

logger = logging.getLogger(__name__)

#: texts that are in memory at once
BLOCK = 10_000


class StoredVectors:
    """Where the vectors of ``tokens`` (text, concept_id, state) are: in the cache, or in a published file.

    ``known``: which tokens have one. A token that a published file lacks has none, unless the entry names another
    embedding for it.
    """

    def __init__(self, embedding: Embedding, tokens: pa.Table, data: Path, cache_folder: Path) -> None:
        published = embedding.backend.vectors == "published"
        self.texts: list[str] = tokens["text"].to_pylist()
        self.file = embedding.backend.open(embedding.spec, data) if published else None
        self.rows = np.full(len(self.texts), -1) if self.file is None else self.file.find(tokens)
        computed = embedding.fallback if published else embedding
        self.cache = VectorCache(cache_folder, computed.fingerprint) if computed else None
        lacking = [text for text, row in zip(self.texts, self.rows, strict=True) if row < 0]
        self.places = self.cache.find(lacking) if self.cache else {}
        cached = np.array([text in self.places for text in self.texts], np.bool_)
        self.known = cached | (self.rows >= 0)
        self.width: int = embedding.spec["width"]

    def read(self, first: int, count: int) -> tuple[list[str], Matrix]:
        """``count`` texts from the ``first`` on, and their vectors: zero where there is none."""
        texts, rows = self.texts[first : first + count], self.rows[first : first + count]
        vectors = np.zeros((len(texts), self.width), np.float32)
        if self.file is not None:
            vectors[rows >= 0] = self.file.vectors[rows[rows >= 0]]
        at = [i for i, text in enumerate(texts) if text in self.places]
        if at and self.cache is not None:
            vectors[at] = self.cache.read([self.places[texts[i]] for i in at])
        return texts, vectors


def write_site_table(
    vocabulary: Path, embedding: Embedding, data: Path, cache_folder: Path, local_text: bool, out: Path
) -> None:
    """Write the vectors of a site's texts to ``out`` (text, vector; ordered by text), one block of texts at a time.

    The table's metadata hold the embedding's spec and fingerprint. Raises StudyError when the cache lacks a text.
    """
    stored = StoredVectors(embedding, site_tokens(vocabulary, local_text or not embedding.remote), data, cache_folder)
    lacking = int((~stored.known).sum())
    if lacking and embedding.spec.get("missing") != "zero":
        # this file says that the cache has them; without it the next run fills the cache again
        out.with_suffix(".computed.json").unlink(missing_ok=True)
        raise StudyError(
            f"{embedding.name}: {lacking} texts are not in the cache {cache_folder}, which was emptied, moved or "
            "damaged since it was filled; start the run again: what is missing is then computed"
        )
    metadata = {"spec": canonical(embedding.spec), "fingerprint": embedding.fingerprint}
    schema = vector_table([], np.empty((0, stored.width), np.float32)).schema.with_metadata(metadata)
    with (
        atomic_file(out) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=False) as file,
    ):
        for first in range(0, len(stored.texts), BLOCK):
            file.write_table(vector_table(*stored.read(first, BLOCK)).replace_schema_metadata(metadata))
    logger.info("%s: %d texts", embedding.name, len(stored.texts))
