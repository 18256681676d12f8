"""Vectors from what occurs together in training rows: right by formula, blind to other rows, no small count used."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.sparse import coo_array

from conceptbridge.embed.cooccurrence import factorise, read_persons
from conceptbridge.embed.learned import write_learned
from conceptbridge.embed.vectors import read_vectors
from conceptbridge.study.backends import SiteFiles
from conceptbridge.study.embeddings import find_embedding

LEARNED = find_embedding("cooccurrence", {"cooccurrence": {"backend": "cooccurrence", "width": 4}}, "test")


def write_site(folder: Path, texts: list[str | None], rows: list[tuple[int, str, list[int]]]) -> SiteFiles:
    """Files of a task at a site; ``rows``: person, split, tokens."""
    folder.mkdir(parents=True)
    paths = tuple(folder / f"{name}.parquet" for name in ("cohort", "tokens", "sequences"))
    persons, splits, tokens = zip(*rows, strict=True)
    ids = list(range(len(rows)))
    pq.write_table(pa.table({"row_id": ids, "person_id": list(persons), "split": list(splits)}), paths[0])
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), paths[1])
    pq.write_table(pa.table({"row_id": ids, "tokens": pa.array(tokens, pa.list_(pa.int32()))}), paths[2])
    return paths[0], paths[1], paths[2]


#: fever and cough go together, so do fall and fracture; 12 persons each
ROWS = [(i, "train", [0, 1, 1]) for i in range(12)] + [(i, "train", [2, 3]) for i in range(12, 24)]
TEXTS: list[str | None] = ["fever", "cough", "fall", "fracture"]


def test_what_goes_together_is_near(tmp_path: Path) -> None:
    site = write_site(tmp_path / "a", TEXTS, ROWS)
    write_learned([site], LEARNED, 10, tmp_path / "out.parquet")
    texts, vectors = read_vectors(tmp_path / "out.parquet")
    assert texts == ["cough", "fall", "fever", "fracture"]
    together = vectors @ vectors.T
    # 12 of 24 persons have both, and each: log(12 * 24 / (12 * 12)) = log 2, halved by dropping the negative eigenvalue
    assert np.allclose(together[0], [np.log(2) / 2, 0, np.log(2) / 2, 0], atol=1e-6)
    assert np.allclose(together[1], [0, np.log(2) / 2, 0, np.log(2) / 2], atol=1e-6)


def test_other_rows_play_no_part(tmp_path: Path) -> None:
    other = [(i, split, [0, 3]) for i in range(24, 90) for split in ("validation", "test")]
    for name, rows in (("a", ROWS), ("b", ROWS + other)):
        site = write_site(tmp_path / name, TEXTS, rows)
        write_learned([site], LEARNED, 10, tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("rows", [[(1, "train", [0, 1])], [(1, "train", [])], [(1, "test", [0, 1])]])
def test_too_few_rows_leave_a_table_without_texts(tmp_path: Path, rows: list[tuple[int, str, list[int]]]) -> None:
    site = write_site(tmp_path / "a", TEXTS, rows)
    write_learned([site], LEARNED, 10, tmp_path / "out.parquet")
    texts, vectors = read_vectors(tmp_path / "out.parquet")
    assert (texts, vectors.shape) == ([], (0, 4))


def test_persons_count_not_rows_and_few_of_them_count_as_none(tmp_path: Path) -> None:
    """Nine persons with twenty rows each are nine persons."""
    rows = ROWS + [(100 + i, "train", [0, 3]) for i in range(9)] * 20
    with_few = write_site(tmp_path / "a", TEXTS, rows)
    texts, persons = read_persons([with_few])
    assert persons.shape == (33, 4)
    counts = (persons.T @ persons).toarray()
    assert counts[texts.index("fever"), texts.index("fracture")] == 9
    write_learned([with_few], LEARNED, 10, tmp_path / "out.parquet")
    found, vectors = read_vectors(tmp_path / "out.parquet")
    assert abs((vectors @ vectors.T)[found.index("fever"), found.index("fracture")]) < 1e-6


def test_several_sites_share_texts_not_positions(tmp_path: Path) -> None:
    turned = [(i, split, [3 - t for t in tokens]) for i, split, tokens in ROWS]
    here = write_site(tmp_path / "a", TEXTS, ROWS)
    there = write_site(tmp_path / "b", TEXTS[::-1], turned)
    for name, sites in (("one", [here]), ("both", [here, there])):
        write_learned(sites, LEARNED, 10, tmp_path / f"{name}.parquet")
    one, both = (read_vectors(tmp_path / f"{name}.parquet") for name in ("one", "both"))
    assert one[0] == both[0]
    assert np.allclose(one[1] @ one[1].T, both[1] @ both[1].T, atol=1e-6)


def test_a_token_without_text_or_company_has_no_vector(tmp_path: Path) -> None:
    rows = ROWS + [(i, "train", [4, 5]) for i in range(30, 50)] + [(i, "train", [5]) for i in range(50, 60)]
    site = write_site(tmp_path / "a", [*TEXTS, None, "alone"], rows)
    write_learned([site], LEARNED, 10, tmp_path / "out.parquet")
    assert read_vectors(tmp_path / "out.parquet")[0] == ["cough", "fall", "fever", "fracture"]


def test_the_sparse_way_is_the_dense_way() -> None:
    random = np.random.default_rng(0)
    persons = (random.random((800, 600)) < random.uniform(0.02, 0.3, 600)).astype(float)
    counts = coo_array(persons.T @ persons)
    sparse, used = factorise(counts, 800, 8, 1)
    wide, _ = factorise(counts, 800, 600, 1)
    assert used.all()
    assert np.allclose(sparse @ sparse.T, wide[:, :8] @ wide[:, :8].T, atol=1e-3)
    assert np.array_equal(sparse, factorise(counts, 800, 8, 1)[0])
