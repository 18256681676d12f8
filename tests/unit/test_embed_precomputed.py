"""Published vectors: every file layout, looked up by text or concept, and what a text gets that the file lacks."""

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.compute import compute_texts
from conceptbridge.embed.precomputed import plain
from conceptbridge.embed.tables import write_site_table
from conceptbridge.embed.vectors import read_vectors
from conceptbridge.study.embeddings import Embedding, find_embedding
from embedding_service import WIDTH, same
from tiny_model import write_vocabulary

KEYS = ["C0010200 cough", "C0010200 Not cough", "C0015967 high\u00a0grade fever"]
TEXTS = ["Cough", "High-grade fever", "Not cough"]
VECTORS = np.arange(3 * WIDTH, dtype=np.float32).reshape(3, WIDTH)
OF_TEXTS = VECTORS[[0, 2, 1]]


def embedding(path: Path, key: str = "text", missing: Any = "fail", **more: Any) -> Embedding:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = {"backend": "precomputed", "file": path.name, "file_sha256": sha256, "key": key, "missing": missing}
    catalogue = {
        "real": {"backend": "transformers", "model": ".", "weights_sha256": "0" * 64, "width": WIDTH},
        "random": {"backend": "random", "parent": "real"},
        "published": entry | {"width": WIDTH} | more,
    }
    return find_embedding("published", catalogue, "test")


def write(path: Path, keys: list[str]) -> Path:
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for key, vector in zip(keys, VECTORS, strict=True):
                file[key] = vector[None]
    elif path.suffix == ".hdf5":
        with h5py.File(path, "w") as file:
            file["keys"], file["vectors"] = keys, VECTORS
    elif path.suffix == ".npz":
        np.savez(path, keys=np.array(keys), vectors=VECTORS)
    elif path.name == "wide.parquet":
        columns = {f"x{i}": VECTORS[:, i] for i in range(WIDTH)}
        pq.write_table(pa.table({"concept": keys} | columns), path)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"concept": keys, "vector": VECTORS.tolist()}), path)
    else:
        lines = [f"{key.replace(' ', '_')} {' '.join(map(str, v))}\n" for key, v in zip(keys, VECTORS, strict=True)]
        path.write_text(f"{len(keys)} {WIDTH}\n" + "".join(lines), encoding="utf-8")
    return path


def made(tmp_path: Path, published: Embedding, site: Path) -> tuple[dict[str, Any], list[str], Any]:
    counts = compute_texts(published, [site], [], tmp_path, tmp_path / "cache", False)
    write_site_table(site, published, tmp_path, tmp_path / "cache", False, tmp_path / "table.parquet")
    return counts, *read_vectors(tmp_path / "table.parquet")


@pytest.mark.parametrize("name", ["a.h5", "a.hdf5", "a.npz", "a.parquet", "wide.parquet", "a.txt", "a.vec"])
def test_every_layout_by_text(tmp_path: Path, name: str) -> None:
    published = embedding(write(tmp_path / name, KEYS))
    counts, texts, vectors = made(tmp_path, published, write_vocabulary(tmp_path / "site.parquet", TEXTS))
    assert (counts["lacking"], texts) == (0, TEXTS)
    assert np.array_equal(vectors, OF_TEXTS)


def test_by_concept_and_state(tmp_path: Path) -> None:
    published = embedding(write(tmp_path / "a.npz", ["254761", "254761|absent", "437663"]), key="concept_id")
    concepts = {"concept_id": [254761, 437663, 254761], "state": ["present", "high", "absent"]}
    _, texts, vectors = made(tmp_path, published, write_vocabulary(tmp_path / "site.parquet", TEXTS, **concepts))
    assert texts == TEXTS
    assert np.array_equal(vectors, OF_TEXTS)


def test_what_the_file_lacks_is_the_studys_choice(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", KEYS)
    site = write_vocabulary(tmp_path / "site.parquet", [*TEXTS, "Pain"])
    with pytest.raises(StudyError, match=r"published: its file has no vector for 1 of 4 texts \(such as 'Pain'\)"):
        made(tmp_path, embedding(file), site)
    counts, texts, vectors = made(tmp_path, embedding(file, missing="zero"), site)
    assert (counts["lacking"], texts) == (1, [*TEXTS, "Pain"])
    assert np.array_equal(vectors, np.vstack([OF_TEXTS, np.zeros((1, WIDTH))]))
    counts, _, vectors = made(tmp_path, embedding(file, missing={"backend": "random"}), site)
    assert (counts["lacking"], counts["computed"]) == (1, 1)
    assert np.array_equal(vectors[:3], OF_TEXTS)
    assert same(vectors[3:], ["Pain"])


def test_the_choice_and_the_file_are_the_identity(tmp_path: Path) -> None:
    file = write(tmp_path / "a.h5", KEYS)
    ids = {embedding(file, missing=choice).id for choice in ("fail", "zero", {"backend": "random"})}
    assert len(ids) == 3
    assert embedding(file).id == embedding(write(tmp_path / "a.h5", KEYS), licence="CC0").id
    assert embedding(file, file_sha256="0" * 64).id not in ids


def test_a_file_that_is_not_as_stated_is_one_line(tmp_path: Path) -> None:
    site = write_vocabulary(tmp_path / "site.parquet", TEXTS)
    file = write(tmp_path / "a.npz", KEYS)
    with pytest.raises(StudyError, match="its SHA-256 is"):
        made(tmp_path, embedding(file, file_sha256="0" * 64), site)
    with pytest.raises(StudyError, match="vectors of width 8, expected 9"):
        made(tmp_path, embedding(file, width=9), site)
    with pytest.raises(StudyError, match="there is no such file"):
        made(tmp_path, embedding(file, file="b.npz"), site)
    text = tmp_path / "a.txt"
    text.write_text("cough 1 2 3\n")
    with pytest.raises(StudyError, match="no vectors can be read from it: the first line of word2vec text"):
        made(tmp_path, embedding(text), site)


BROKEN = {
    "more.txt": b"1 2\na 1 2\nb 1 2\n",
    "narrow.txt": b"1 2\na 1\n",
    "cut.npz": b"PK\x03\x04nonsense",
    "empty.npz": b"",
    "text.npz": b"nonsense",
    "cut.parquet": b"PAR1",
    "text.h5": b"nonsense",
    "bytes.vec": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("name", [*BROKEN, "groups.h5", "uneven.npz"])
def test_a_broken_file_is_one_line(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name == "groups.h5":
        with h5py.File(file, "w") as nested:
            nested["group/vector"] = VECTORS[0]
    elif name == "uneven.npz":
        np.savez(file, keys=np.array(KEYS), vectors=VECTORS[:2])
    else:
        file.write_bytes(BROKEN[name])
    with pytest.raises(StudyError, match=rf"{name}: no vectors can be read from it: ."):
        made(tmp_path, embedding(file, width=2), write_vocabulary(tmp_path / "site.parquet", TEXTS))


def test_no_local_text_is_shown_of_what_the_file_lacks(tmp_path: Path) -> None:
    site = write_vocabulary(tmp_path / "site.parquet", ["Cough", "a canary"], concept_id=[1, 2_000_000_001])
    with pytest.raises(StudyError, match=r"no vector for 1 of 2 texts \(all of them local\)"):
        made(tmp_path, embedding(write(tmp_path / "a.h5", KEYS)), site)


def test_texts_are_compared_by_their_words() -> None:
    assert plain("lab positive vrp   pathogen\u00a0not specified") == plain("Lab-positive VRP: pathogen, not specified")
    assert plain("Not cough") != plain("cough")
    assert plain("COVID19 vaccine") == "covid19 vaccine"


def test_by_code_and_state(tmp_path: Path) -> None:
    keys = ["C01 a cough (dry)", "C01 Not\u00a0a cough  (dry)", "age_65 elderly"]
    published = embedding(write(tmp_path / "a.h5", keys), key="code")
    codes = {"concept_code": ["C01", "C01", "age_65"], "state": ["present", "absent", "present"]}
    site = write_vocabulary(tmp_path / "site.parquet", ["a cough", "Not a cough", "Elderly"], **codes)
    counts, texts, _ = made(tmp_path, published, site)
    assert (counts["lacking"], len(texts)) == (0, 3)
