"""Quality without patients: each number is the one that its definition gives on vectors made for it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from conceptbridge.core.atomic_files import write_json, write_parquet
from conceptbridge.embed.cache import VectorCache
from conceptbridge.embed.quality import Site, effective_dimension, measure
from conceptbridge.embed.quality_tables import write_quality
from conceptbridge.embed.vectors import Matrix, vector_table
from conceptbridge.study.embeddings import find_embedding
from tiny_model import save_model, write_vocabulary

CATALOGUE = {
    "real": {"backend": "transformers", "model": ".", "weights_sha256": "0" * 64, "width": 4},
    "random": {"backend": "random", "parent": "real"},
}
RANDOM = find_embedding("random", CATALOGUE, "test")
AXES = np.eye(4, dtype=np.float32)


def site(folder: Path, name: str, texts: list[str], vectors: Matrix, **columns: Any) -> Site:
    vocabulary = write_vocabulary(folder / name / "vocabulary.parquet", texts, **columns)
    write_parquet(vector_table(texts, vectors), folder / name / "table.parquet")
    return Site(name, vocabulary, folder / name / "table.parquet")


def measured(folder: Path, sites: list[Site], term_pairs: list[Path] | None = None) -> dict[str, Any]:
    return measure(RANDOM, sites, term_pairs or [], folder, folder / "cache")


def test_effective_dimension() -> None:
    random = np.random.default_rng(0).normal(size=(4000, 8)).astype(np.float32)
    assert effective_dimension(random) == pytest.approx(8, rel=0.01)
    assert effective_dimension(random * [1, 0, 0, 0, 0, 0, 0, 0]) == pytest.approx(1)
    assert effective_dimension(np.ones((5, 3), np.float32)) == 0


def test_a_concept_of_few_persons_counts_for_nothing_and_one_of_a_shared_vocabulary_does(tmp_path: Path) -> None:
    own = site(tmp_path, "own", ["a", "b"], AXES[:2], persons=[9, 10])
    shared = site(tmp_path, "shared", ["b", "c"], AXES[1:3], concept_id=[2, 3], persons=[None, None])
    found = measure(RANDOM, [own, shared], [], tmp_path, tmp_path / "cache", 10)
    assert found["texts"] == 2
    assert [pair["shared_concepts"] for pair in found["alignment"]] == [0.5, 1]


def test_alignment_is_the_nearest_text_at_the_source(tmp_path: Path) -> None:
    north = site(tmp_path, "north", ["a", "b"], AXES[:2], concept_id=[1, 2])
    near = np.array([[0.6, 0.8, 0, 0], [1, 0, 0, 0], [0, 0, 5, 0]], np.float32)
    south = site(tmp_path, "south", ["c", "a", "d"], near, concept_id=[3, 1, 0])
    to_south = measured(tmp_path, [north, south])["alignment"][0]
    assert (to_south["source"], to_south["target"], to_south["unshared"]) == ("north", "south", 2)
    assert to_south["nearest"] == pytest.approx((0.8 + 1 + 0) / 3)
    assert to_south["nearest_unshared"] == pytest.approx(0.4)
    assert to_south["shared_concepts"] == pytest.approx(1 / 2)


def test_polarity_is_the_distance_of_opposites_in_units_of_that_of_any_two(tmp_path: Path) -> None:
    texts = ["X", "Not X", "Y", "Z"]
    keys = {"key": ["1|present", "1|absent", "2|present", "3|low"], "state": ["present", "absent", "present", "low"]}
    same = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], np.float32)
    one = measured(tmp_path, [site(tmp_path, "same", texts, same, **keys)])["polarity"]
    assert one == {"pairs": 1, "cosine": pytest.approx(1), "polarity": pytest.approx(0)}
    other = measured(tmp_path, [site(tmp_path, "apart", texts, AXES, **keys)])["polarity"]
    assert other["polarity"] == pytest.approx(1)
    none = measured(tmp_path, [site(tmp_path, "none", ["X", "Y"], AXES[:2])])["polarity"]
    assert none == {"pairs": 0, "cosine": None, "polarity": None}


def test_shape_leaves_zero_vectors_out(tmp_path: Path) -> None:
    vectors = np.array([[3, 0, 0, 0], [0, 5, 0, 0], [0, 0, 0, 0]], np.float32)
    found = measured(tmp_path, [site(tmp_path, "one", ["a", "b", "c"], vectors)])
    assert found["texts"] == 2
    shape = found["shape"]
    assert (shape["norm_mean"], shape["norm_sd"], shape["norm_least"], shape["norm_largest"]) == (4, 1, 3, 5)
    assert shape["mean_cosine"] == pytest.approx(0)


def test_rated_pairs_are_ranked_by_cosine_and_pairs_without_vector_are_counted(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    terms = [f"t{i}" for i in range(60)]
    vectors = random.normal(size=(60, 4)).astype(np.float32)
    VectorCache(tmp_path / "cache", RANDOM.fingerprint).add(terms, vectors)
    pairs = [(terms[i], terms[(7 * i + 1) % 60], float(i % 13)) for i in range(60)]
    rows = "".join(f'{mean},1,"{one}","{two}","C1","C2"\n' for one, two, mean in [*pairs, ("t1", "unknown", 3.0)])
    file = tmp_path / "UMNSRS_similarity.csv"
    file.write_text('"Mean","Stdev","Term1","Term2","CUI1","CUI2"\n' + rows)
    found = measured(tmp_path, [site(tmp_path, "one", ["a"], AXES[:1])], [file])["term_pairs"]["UMNSRS_similarity"]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = [float(unit[int(a[1:])] @ unit[int(b[1:])]) for a, b, _ in pairs]
    assert found["spearman"] == pytest.approx(spearmanr(cosine, [mean for *_, mean in pairs]).statistic)
    assert (found["pairs_used"], found["pairs"]) == (60, 61)


def said(folder: Path, texts: list[str], vectors: Matrix, **columns: Any) -> dict[str, Any]:
    one: dict[str, Any] = measured(folder, [site(folder, "one", texts, vectors, **columns)])["said"][0]
    return one


def test_names_that_are_codes_and_tokens_without_a_name_are_counted(tmp_path: Path) -> None:
    texts = ["224290", "E11.9", "Vitamin B12", "Cough"]
    found = said(tmp_path, texts, AXES)
    assert (found["site"], found["texts"], found["codes"], found["without_text"]) == ("one", 4, 0.5, 0)
    assert (found["one_vector"], found["unknown_subwords"]) == (0, None)
    assert "names are codes: give the study's `vocabulary`" in found["advice"]
    vocabulary = write_vocabulary(tmp_path / "v.parquet", ["Cough", None, None, "Fever"])  # type: ignore[list-item]
    write_parquet(vector_table(["Cough", "Fever"], AXES[:2]), tmp_path / "table.parquet")
    found = measured(tmp_path, [Site("two", vocabulary, tmp_path / "table.parquet")])["said"][0]
    assert (found["texts"], found["without_text"]) == (2, 0.5)
    assert found["advice"].startswith("tokens have no name")


def test_different_texts_with_one_vector_are_counted(tmp_path: Path) -> None:
    vectors = np.repeat(AXES, [3, 1, 2, 1], axis=0) * np.arange(1, 8, dtype=np.float32)[:, None]
    found = said(tmp_path, [f"name {i}" for i in range(7)], vectors)
    assert found["one_vector"] == pytest.approx(5 / 7)
    assert found["advice"].startswith("different texts have one vector")
    apart = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    assert said(tmp_path, [f"name of {i}" for i in range(500)], apart)["one_vector"] == 0
    assert said(tmp_path, ["name"], AXES[:1])["one_vector"] is None


def test_words_that_an_encoder_does_not_know_are_counted(tmp_path: Path) -> None:
    entry = {"backend": "transformers", "model": str(save_model(tmp_path / "model")), "weights_sha256": "0" * 64}
    entry |= {"pooling": "mean", "max_length": 64, "normalize": False, "dtype": "float32", "width": 4}
    mine = find_embedding("mine", {"mine": entry}, "test")
    texts = ["acute cough", "Husten", "\u043a\u0430\u0448\u0435\u043b\u044c", "left lung"]
    one = site(tmp_path, "one", texts, AXES)
    found = measure(mine, [one], [], tmp_path, tmp_path / "cache")["said"][0]
    assert found["unknown_subwords"] == pytest.approx(2 / 6)
    assert "the encoder does not know these words" in found["advice"]
    gone = find_embedding("mine", {"mine": entry | {"model": "/no/folder"}}, "test")
    assert measure(gone, [one], [], tmp_path, tmp_path / "cache")["said"][0]["unknown_subwords"] is None


def test_the_tables_and_the_figure_say_what_was_not_measured(tmp_path: Path) -> None:
    sites = [site(tmp_path, name, [name, "a"], AXES[[i, 3]]) for i, name in enumerate(("north", "south"))]
    write_json(measured(tmp_path, sites), tmp_path / "quality.json")
    for folder in ("one", "two"):
        write_quality([tmp_path / "quality.json"], tmp_path / folder, tmp_path / folder)
    table = pq.read_table(tmp_path / "one/embeddings.parquet").to_pylist()
    assert table[0]["embedding"] == "random"
    assert table[0]["similarity"] is None
    assert table[0]["nearest"] == pytest.approx(0.5)
    assert pq.read_table(tmp_path / "one/alignment.parquet").num_rows == 2
    assert pq.read_table(tmp_path / "one/texts.parquet")["site"].to_pylist() == ["north", "south"]
    assert "not measured" in (tmp_path / "one/embeddings.svg").read_text()
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_no_embedding_at_all_is_an_empty_table(tmp_path: Path) -> None:
    write_quality([], tmp_path, tmp_path)
    assert pq.read_table(tmp_path / "embeddings.parquet").num_rows == 0
