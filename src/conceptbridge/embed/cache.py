"""The cache of vectors: content-addressed and append-only, shared by all studies of a user.

``{folder}/{fingerprint of the embedding}/{SHA-256 of the file}.arrow`` are its parts: text and raw vector, uncompressed
Arrow. A part is written whole and never changed, so that two runs at once can only add; a part whose content is not
what its name says is set aside.
"""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conceptbridge.core.atomic_files import atomic_file
from conceptbridge.core.errors import StudyError
from conceptbridge.embed.vectors import Matrix, UnusableVectorsError, vector_table

logger = logging.getLogger(__name__)

#: part and row of a text's vector
Place = tuple[Path, int]


class VectorCache:
    """Vectors of one embedding, in parts under ``folder/{fingerprint}``."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder.expanduser() / fingerprint
        self._checked: set[Path] = set()

    def find(self, texts: Iterable[str]) -> dict[str, Place]:
        """Where the vectors of those of ``texts`` are that the cache has.

        A text that two runs computed at once is taken from the part whose name comes first.
        """
        wanted = pa.array(sorted(set(texts)), pa.string())
        found: dict[str, Place] = {}
        for path in sorted(self.folder.glob("*.arrow")):
            if not self._whole(path):
                continue
            with pa.memory_map(str(path)) as file:
                column = pa.ipc.open_file(file).get_batch(0)["text"]
                rows = np.flatnonzero(pc.is_in(column, value_set=wanted).to_numpy(zero_copy_only=False))
                for row, text in zip(rows, column.take(pa.array(rows)).to_pylist(), strict=True):
                    found.setdefault(text, (path, int(row)))
        return found

    def read(self, places: Sequence[Place]) -> Matrix:
        """The vectors at ``places``, in their order: shape (places, width). Only the rows asked for are read."""
        rows_of: dict[Path, list[int]] = {}
        for at, (path, _) in enumerate(places):
            rows_of.setdefault(path, []).append(at)
        vectors: Matrix | None = None
        for path, positions in rows_of.items():
            with pa.memory_map(str(path)) as file:
                column = pa.ipc.open_file(file).get_batch(0)["vector"]
                matrix = np.asarray(column.flatten()).reshape(len(column), -1)
                if vectors is None:
                    vectors = np.empty((len(places), matrix.shape[1]), np.float32)
                vectors[positions] = matrix[[places[at][1] for at in positions]]
                del column, matrix  # they are views of the file
        return np.empty((0, 0), np.float32) if vectors is None else vectors

    def add(self, texts: Sequence[str], vectors: Matrix) -> None:
        """Append a part.

        Raises UnusableVectorsError when a vector is not finite: it would spoil every model that sees it. The others are
        kept.
        """
        finite = np.asarray(np.isfinite(vectors).all(axis=1))
        if finite.any():
            self._append([text for text, one in zip(texts, finite, strict=True) if one], vectors[finite])
        if not finite.all():
            broken = [text for text, one in zip(texts, finite, strict=True) if not one]
            raise UnusableVectorsError(
                f"{len(broken)} of {len(texts)} vectors are not finite; the others are kept. Use another model, or "
                "dtype float32 where it is bfloat16",
                broken,
            )

    def _append(self, texts: Sequence[str], vectors: Matrix) -> None:
        table = vector_table(texts, vectors)
        stream = pa.BufferOutputStream()
        with pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table, max_chunksize=len(texts))
        content = stream.getvalue()
        try:
            with atomic_file(self.folder / f"{hashlib.sha256(content).hexdigest()}.arrow") as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise self._unwritable(error) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process fills this embedding, and keep others waiting: none pays for a text twice."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks: some texts may be computed twice
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def check_writable(self) -> None:
        """Raises StudyError where no part can be added: better known before a model runs, or a service is paid."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StudyError:
        return StudyError(
            f"the cache of vectors {self.folder.parent} cannot be written ({error.strerror}); make room there, or name "
            "another folder as `embedding_cache`. What it has is kept"
        )

    def _whole(self, path: Path) -> bool:
        if path in self._checked:
            return True
        try:
            with path.open("rb") as file:
                whole = hashlib.file_digest(file, "sha256").hexdigest() == path.stem
        except FileNotFoundError:  # another run has just set it aside
            return False
        except OSError as error:  # the disk's fault, or the rights'
            logger.warning("%s cannot be read (%s): its vectors are computed again", path, error.strerror)
            return False
        if not whole:
            with suppress(OSError):  # set aside already, or the cache is read-only
                path.rename(path.with_suffix(".corrupt"))
            logger.warning("%s is corrupt: set aside as .corrupt, its vectors are computed again", path)
        if whole:
            self._checked.add(path)
        return whole
