"""Measure an embedding without patients: rated pairs, opposite states, alignment of sites, shape of the space."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from conceptbridge.core.read_parquet import read_table
from conceptbridge.disclosure.suppress import keep_enough
from conceptbridge.embed.tables import StoredVectors
from conceptbridge.embed.text_checks import check_texts
from conceptbridge.embed.vectors import Matrix, read_vectors
from conceptbridge.study.embeddings import Embedding
from conceptbridge.vocabulary.texts import rated_pairs, rated_terms, term_tokens

#: states that say the opposite of each other
OPPOSITES = (("present", "absent"), ("positive", "negative"), ("low", "high"))
#: texts per site that are measured, chosen by a hash: enough for two digits, and quick for any vocabulary
SAMPLE = 5_000
#: with fewer rated pairs no correlation is reported
MIN_PAIRS = 30


class Site(NamedTuple):
    """A site's name, vocabulary and table of vectors."""

    name: str
    vocabulary: Path
    table: Path


def measure(
    embedding: Embedding,
    sites: Sequence[Site],
    term_pairs: Sequence[Path],
    data: Path,
    cache_folder: Path,
    min_cell_count: int = 1,
) -> dict[str, Any]:
    """Measure an embedding on the concepts that at least ``min_cell_count`` persons of a site have.

    - ``term_pairs``: file name -> Spearman correlation of cosine with the raters' mean, pairs with both vectors, pairs.
    - ``shape``: of all sites' texts: width; mean, standard deviation, least and largest norm; effective dimension
      (``effective_dimension``); mean cosine of two different texts.
    - ``polarity``: how far opposite states of a concept are apart, as a share of how far two texts are: 1 - cosine of
      the one over 1 - mean cosine; 0 says that "Not X" is X. Null where no site has such a pair.
    - ``alignment``: for each source and target, the share of the target's concepts that the source has, and the mean
      over the target's texts of the cosine to the nearest text at the source, over all and those the source lacks.
    - ``said``: of each site, whether its texts say anything to this embedding (``check_texts``).

    A null is what cannot be measured. Zero vectors, which a published file may leave, are no vectors here. At most
    ``SAMPLE`` texts of a site are looked at, the same in every run.
    """
    units: dict[str, tuple[list[str], Matrix]] = {}
    raw: dict[str, Matrix] = {}
    said: list[dict[str, Any]] = []
    tokens = {site.name: _tokens(site.vocabulary, min_cell_count) for site in sites}
    for site in sites:
        texts, vectors = _with_vector(*read_vectors(site.table), set(tokens[site.name]["text"].to_pylist()))
        row = {text: i for i, text in enumerate(texts)}
        # the sample of all texts is within the sites' samples
        raw |= {text: vectors[row[text]].copy() for text in _sample(texts)}
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # in place: tables can be large
        units[site.name] = (texts, vectors)
        rows = [row[text] for text in _sample(texts)]
        said.append(
            {"site": site.name}
            | check_texts(embedding, tokens[site.name], [texts[i] for i in rows], np.asarray(vectors[rows]))
        )
    chosen = _sample(sorted(raw))
    shape = _shape(np.stack([raw[text] for text in chosen])) if chosen else None
    return {
        "embedding": embedding.name,
        "fingerprint": embedding.fingerprint,
        "backend": embedding.spec["backend"],
        "dtype": embedding.spec.get("dtype", "float32"),
        "texts": len(set().union(*(texts for texts, _ in units.values()))),
        "shape": shape,
        "term_pairs": {path.stem: _rated(embedding, path, data, cache_folder) for path in term_pairs},
        "polarity": _polarity(tokens, units, shape),
        "said": said,
        "alignment": [
            {"source": source, "target": target} | _alignment(source, target, tokens, units)
            for source, target in permutations(tokens, 2)
        ],
    }


def effective_dimension(vectors: Matrix) -> float:
    """Participation ratio of the covariance's eigenvalues, (sum l)^2 / sum l^2: between 1 and the width."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    covariance = centred.T @ centred
    total = float(np.trace(covariance)) ** 2
    return total / float((covariance**2).sum()) if total > 0 else 0.0


def _shape(vectors: Matrix) -> dict[str, Any]:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    unit = _unit(vectors).astype(np.float64)
    # sum over i <> j of u_i u_j = |sum u|^2 - sum |u_i|^2
    pairs = len(unit) * (len(unit) - 1)
    together = float((unit.sum(axis=0) ** 2).sum() - (unit**2).sum())
    return {
        "width": vectors.shape[1],
        "norm_mean": float(norms.mean()),
        "norm_sd": float(norms.std()),
        "norm_least": float(norms.min()),
        "norm_largest": float(norms.max()),
        "effective_dimension": effective_dimension(vectors),
        "mean_cosine": together / pairs if pairs else None,
    }


def _rated(embedding: Embedding, file: Path, data: Path, cache_folder: Path) -> dict[str, Any]:
    pairs = rated_pairs(file)
    terms = rated_terms([file])
    stored = StoredVectors(embedding, term_tokens(terms), data, cache_folder)
    unit = _unit(stored.read(0, len(terms))[1])
    index = {term: i for i, term in enumerate(terms)}
    first, second = (np.array([index[term] for term in pairs[name].to_pylist()]) for name in ("Term1", "Term2"))
    known = stored.known[first] & stored.known[second]
    cosine = (unit[first[known]] * unit[second[known]]).sum(axis=1)
    rating = pairs["Mean"].to_numpy()[known]
    correlation = None
    if known.sum() >= MIN_PAIRS:
        from scipy.stats import spearmanr  # slow to import, and few studies have rated pairs

        correlation = float(spearmanr(cosine, rating).statistic)
    return {"spearman": correlation, "pairs_used": int(known.sum()), "pairs": len(pairs)}


def _tokens(vocabulary: Path, min_cell_count: int) -> pa.Table:
    """Tokens of concepts of enough persons; in a vocabulary that was shared their number is blank."""
    table = read_table(vocabulary, columns=["key", "concept_id", "state", "text", "persons"])
    return keep_enough(table, "persons", min_cell_count)


def _polarity(
    of_site: Mapping[str, pa.Table], units: dict[str, tuple[list[str], Matrix]], shape: dict[str, Any] | None
) -> dict[str, Any]:
    cosines: dict[tuple[str, str], float] = {}
    for site, tokens in of_site.items():
        concept = [key.rpartition("|")[0] for key in tokens["key"].to_pylist()]
        text_of = dict(
            zip(zip(concept, tokens["state"].to_pylist(), strict=True), tokens["text"].to_pylist(), strict=True)
        )
        index = {text: i for i, text in enumerate(units[site][0])}
        unit = units[site][1]
        for (name, state), text in text_of.items():
            for one, other in OPPOSITES:
                opposite = text_of.get((name, other)) if state == one else None
                if text in index and opposite in index and text != opposite:
                    cosines[(text, opposite)] = float(unit[index[text]] @ unit[index[opposite]])
    if not cosines or shape is None or shape["mean_cosine"] is None:
        return {"pairs": len(cosines), "cosine": None, "polarity": None}
    cosine = float(np.mean(list(cosines.values())))
    return {"pairs": len(cosines), "cosine": cosine, "polarity": (1 - cosine) / (1 - shape["mean_cosine"])}


def _alignment(
    source: str, target: str, tokens: Mapping[str, pa.Table], units: dict[str, tuple[list[str], Matrix]]
) -> dict[str, Any]:
    (theirs, at_source), (ours, at_target) = units[source], units[target]
    concepts = [{concept for concept in tokens[at]["concept_id"].to_pylist() if concept} for at in (source, target)]
    shared = len(concepts[0] & concepts[1]) / len(concepts[1]) if concepts[1] else None
    known = set(theirs)
    rows = {text: i for i, text in enumerate(ours)}
    chosen = _sample(ours)
    if not chosen or not theirs:
        return {"shared_concepts": shared, "nearest": None, "nearest_unshared": None, "unshared": 0}
    nearest = np.empty(len(chosen))
    for first in range(0, len(chosen), 512):
        block = at_target[[rows[text] for text in chosen[first : first + 512]]]
        nearest[first : first + 512] = (block @ at_source.T).max(axis=1)
    new = np.array([text not in known for text in chosen])
    return {
        "shared_concepts": shared,
        "nearest": float(nearest.mean()),
        "nearest_unshared": float(nearest[new].mean()) if new.any() else None,
        "unshared": int(new.sum()),
    }


def _with_vector(texts: list[str], vectors: Matrix, wanted: set[str]) -> tuple[list[str], Matrix]:
    has = np.asarray(vectors.any(axis=1)) & np.array([text in wanted for text in texts], np.bool_)
    return [text for text, one in zip(texts, has, strict=True) if one], vectors[has]


def _unit(vectors: Matrix) -> Matrix:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0), np.float32)


def _sample(texts: Sequence[str]) -> list[str]:
    if len(texts) <= SAMPLE:
        return list(texts)
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())[:SAMPLE]
