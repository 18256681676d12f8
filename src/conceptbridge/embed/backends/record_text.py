"""A row's record as text, read by a text embedding."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from conceptbridge.study.backends import Backend, Schema, SiteFiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from conceptbridge.study.embeddings import Embedding


class RecordText(Backend):
    """The names in each window, the most recent first, as one text per window; its vectors stand side by side."""

    name = "record-text"
    vectors = "rows"
    fields: ClassVar[Mapping[str, Schema]] = {
        "parent": {
            "type": "string",
            "description": "the text embedding that reads the record, on this machine; what is beyond its `max_length` "
            "is not read",
        }
    }
    required = ("parent",)
    shared = ("parent", "width", "licence")

    def represent(
        self,
        parent: "Embedding | None",
        rows: SiteFiles,
        file: Path | None,
        windows: Sequence[tuple[int, int]],
        cache: Path,
        threads: int,
    ) -> "NDArray[np.float32]":
        """Write each row as text, and let the parent read what the cache lacks."""
        from conceptbridge.embed.record_text import embed_records

        assert parent is not None
        return embed_records(parent, rows, windows, cache, threads)
