"""The table of vectors that are learned from the training rows of sites."""

import logging
from collections.abc import Sequence
from pathlib import Path

from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.core.text import canonical
from conceptbridge.embed.vectors import vector_table
from conceptbridge.study.backends import SiteFiles
from conceptbridge.study.embeddings import Embedding

logger = logging.getLogger(__name__)


def write_learned(sites: Sequence[SiteFiles], embedding: Embedding, min_cell_count: int, out: Path) -> None:
    """Learn the embedding from the training rows of ``sites`` and write text and vector to ``out``, ordered by text.

    The table's metadata hold the embedding's spec and fingerprint.
    """
    texts, vectors = embedding.backend.learn(embedding.spec, sites, min_cell_count)
    logger.info("%s: %d texts have a vector", embedding.name, len(texts))
    metadata = {"spec": canonical(embedding.spec), "fingerprint": embedding.fingerprint}
    write_parquet(vector_table(texts, vectors).replace_schema_metadata(metadata), out)
