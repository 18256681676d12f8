"""The table of a site's vectors: what the cache has, and what only now has to be computed."""

import logging
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from conceptbridge.catalogue import Embedding, canonical
from conceptbridge.embed.backends import load_backend
from conceptbridge.embed.cache import VectorCache
from conceptbridge.files import write_parquet

logger = logging.getLogger(__name__)

#: texts whose vectors are lost at most when a run is killed
PART = 2_000


def embed_site(vocabulary: Path, embedding: Embedding, cache_folder: Path, out: Path, threads: int = 1) -> int:
    """Write the vectors of a site's texts to ``out`` (text, vector; ordered by text) and return how many were computed.

    A text is embedded unless its token is private: local or unmapped, and of fewer than ``min_cell_count`` persons.
    The table's metadata hold the embedding's spec and fingerprint.
    """
    tokens = pq.read_table(vocabulary, columns=["text", "private"])
    shared = tokens.filter(pc.and_(pc.invert(tokens["private"]), pc.is_valid(tokens["text"])))
    texts = sorted(set(shared["text"].to_pylist()))
    cache = VectorCache(cache_folder, embedding.fingerprint)
    known = set(cache.read(texts)["text"].to_pylist())
    missing = [text for text in texts if text not in known]
    logger.info("%d texts, %d of them in the cache", len(texts), len(known))
    if missing:
        backend = load_backend(embedding.spec, threads)
        start = time.perf_counter()
        for first in range(0, len(missing), PART):
            part = missing[first : first + PART]
            cache.add(part, backend.encode(part))
            done = first + len(part)
            logger.info(
                "embedded %d of %d texts, %.0f texts/s",
                done,
                len(missing),
                done / (time.perf_counter() - start),
            )
    found = cache.read(texts)
    order = pc.sort_indices(found["text"])
    table = found.take(order)
    assert table["text"].to_pylist() == texts
    metadata = {"spec": canonical(embedding.spec), "fingerprint": embedding.fingerprint}
    write_parquet(table.replace_schema_metadata(metadata), out)
    return len(missing)
