"""A published file of vectors: its layouts, and looking tokens up in it by text, concept id or code."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa

from conceptbridge.core.errors import StudyError
from conceptbridge.core.read_parquet import read_table
from conceptbridge.embed.vectors import Matrix

#: a code before the text, as in the published HDF5 files: `C0010200 Not cough`, `C0424781_A low grade`, `group_65 old`
CODE = re.compile(r"(?:[A-Z]{1,4}[0-9]{5,}\w*|[^\W_]+_\w*[0-9]\w*)[ :]+")


class VectorFile:
    """A file of vectors. ``find`` looks up a text, a concept id or a code, as the entry's ``key`` says.

    By text, letter case, punctuation and kinds of space do not count, nor does a code before a key's text. By concept
    id, keys are ``ID`` or ``ID|state``; a key without a state is the concept in every state that has no key of its own.
    By code, a key's first word is a concept code, and its second ``Not`` where the concept is absent (``C0010200 Not
    cough``): nothing else of the key counts, so that punctuation and kinds of space don't.
    Raises StudyError when the file cannot be read, is not the pinned one, or its vectors are not of the stated width.
    """

    def __init__(self, spec: Mapping[str, Any], data: Path) -> None:
        self.key: str = spec["key"]
        path = data / Path(spec["file"]).expanduser()
        if not path.is_file():
            raise StudyError(f"{path}: there is no such file; a precomputed embedding needs it")
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != spec["file_sha256"]:
            raise StudyError(f"{path}: its SHA-256 is {sha256}, not {spec['file_sha256']} as pinned")
        try:
            keys, vectors = read_file(path)
            if len(keys) != len(vectors):
                raise ValueError(f"{len(keys)} keys, {len(vectors)} vectors")
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, pa.ArrowInvalid) as error:
            raise StudyError(f"{path}: no vectors can be read from it: {error}") from error
        width = spec.get("width", vectors.shape[1])
        if vectors.shape[1] != width or not np.isfinite(vectors).all():
            raise StudyError(f"{path}: vectors of width {vectors.shape[1]}, expected {width} and finite numbers")
        self.vectors = vectors
        self._row: dict[str, int] = {}
        for row, key in enumerate(keys):
            self._row.setdefault(_NORMAL[self.key](key), row)
        if self.key == "text":
            for row, key in enumerate(keys):
                self._row.setdefault(plain(CODE.sub("", key, count=1) if CODE.match(key) else key), row)

    def find(self, tokens: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The row in ``vectors`` of each token (text, concept_id, concept_code, state), -1 where the file lacks it."""
        if self.key == "text":
            return np.array([self._row.get(plain(text), -1) for text in tokens["text"].to_pylist()], np.int64)
        if self.key == "code":
            coded = zip(tokens["concept_code"].to_pylist(), tokens["state"].to_pylist(), strict=True)
            return np.array([self._row.get(f"{code}|{state}", -1) for code, state in coded], np.int64)
        pairs = zip(tokens["concept_id"].to_pylist(), tokens["state"].to_pylist(), strict=True)
        return np.array(
            [self._row.get(f"{concept}|{state}", self._row.get(str(concept), -1)) for concept, state in pairs],
            np.int64,
        )


def plain(text: str) -> str:
    """``text`` as it is compared: in lower case, words and numbers one space apart."""
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text))).casefold()


def code_and_state(key: str) -> str:
    """``CODE|present`` or ``CODE|absent``: what a published key ``CODE [Not ]text`` is about."""
    code, *words = unicodedata.normalize("NFKC", key).split() or [""]
    return f"{code.rstrip(':')}|{'absent' if words and words[0].casefold() == 'not' else 'present'}"


#: an entry's ``key`` -> how the file's keys are compared
_NORMAL: dict[str, Callable[[str], str]] = {"text": plain, "concept_id": str, "code": code_and_state}


def read_file(path: Path) -> tuple[Sequence[str], Matrix]:
    """Keys and vectors, shape (keys, width), of a file by its suffix.

    ``.h5``, ``.hdf5``: one data set per key, of shape (width,) or (1, width), or data sets ``keys`` and ``vectors``.
    ``.npz``: arrays ``keys`` and ``vectors``. ``.parquet``: the first column is the key, the vector a list column or
    all other columns. ``.txt``, ``.vec``: word2vec text, one line per key, spaces in keys as ``_`` or as they are.

    Raises OSError, EOFError, ValueError, KeyError, TypeError or BadZipFile when the file is not of that form.
    """
    suffix = path.suffix.lower()
    if suffix in (".h5", ".hdf5"):
        return _read_hdf5(path)
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return [str(key) for key in arrays["keys"]], _matrix(arrays["vectors"])
    if suffix == ".parquet":
        table = read_table(path).combine_chunks()
        keys = [str(key) for key in table.column(0).to_pylist()]
        rest = table.columns[1:]
        if len(rest) == 1 and (pa.types.is_list(rest[0].type) or pa.types.is_fixed_size_list(rest[0].type)):
            return keys, _matrix(np.array(rest[0].to_pylist(), np.float32))
        return keys, _matrix(np.column_stack([column.to_numpy() for column in rest]))
    if suffix in (".txt", ".vec"):
        return _read_word2vec(path)
    raise ValueError("its suffix is none of .h5, .hdf5, .npz, .parquet, .txt, .vec")


def _read_hdf5(path: Path) -> tuple[Sequence[str], Matrix]:
    import h5py

    with h5py.File(path) as file:
        names = list(file)
        if set(names) >= {"keys", "vectors"}:
            return [str(key) for key in file["keys"].asstr()[:]], _matrix(file["vectors"][:])
        return names, _matrix(np.stack([np.asarray(file[name][()]).reshape(-1) for name in names]))


def _read_word2vec(path: Path) -> tuple[Sequence[str], Matrix]:
    with path.open(encoding="utf-8") as file:
        header = file.readline().split()
        if len(header) != 2:
            raise ValueError("the first line of word2vec text is the number of words and the width")
        count, width = int(header[0]), int(header[1])
        keys: list[str] = []
        vectors: list[Matrix] = []
        for line in file:
            key, *numbers = line.rstrip().rsplit(" ", width)
            keys.append(key.replace("_", " "))
            vectors.append(np.array(numbers, np.float32))
            if len(numbers) != width:
                raise ValueError(f"line {len(keys) + 1} has {len(numbers)} numbers, not {width}")
    if len(keys) != count:
        raise ValueError(f"it has {len(keys)} words and says {count}")
    return keys, _matrix(np.array(vectors))


def _matrix(values: Any) -> Matrix:
    matrix = np.asarray(values, np.float32)
    if matrix.ndim != 2:
        raise ValueError("its vectors are not of one width")
    return matrix
