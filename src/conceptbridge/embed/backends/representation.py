"""Vectors of persons that another model has made, from a file: CLMBR, MOTOR, a language model that read the record."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from conceptbridge.study.backends import Backend, Schema, SiteFiles

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from conceptbridge.study.embeddings import Embedding


class Representation(Backend):
    """A file that rows are looked up in, by person and day."""

    name = "representation"
    vectors = "rows"
    fields: ClassVar[Mapping[str, Schema]] = {
        "file": {
            "type": "string",
            "minLength": 1,
            "description": "Parquet below the study's `data`, with `{task}` and `{site}` in its name; one row per "
            "prediction, with person_id or subject_id, index_date or prediction_time, and the vector as a list column "
            "or as columns of floating-point numbers ([docs/doors.md](../docs/doors.md))",
        },
        "made_by": {
            "type": "string",
            "minLength": 1,
            "description": "name and version of the model that made the vectors, for the record",
        },
    }
    required = ("file",)
    identity = ("made_by",)

    def represent(
        self,
        parent: "Embedding | None",
        rows: SiteFiles,
        file: Path | None,
        windows: Sequence[tuple[int, int]],
        cache: Path,
        threads: int,
    ) -> "NDArray[np.float32]":
        """Look up the rows in the file."""
        from conceptbridge.embed.representations import read_representations

        assert file is not None
        return read_representations(file, rows[0])
