"""Compute the vectors that the cache lacks, each once."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.cache import VectorCache
from conceptbridge.embed.vectors import Matrix, UnusableVectorsError
from conceptbridge.study.backends import Encoder, Spec, find_backend
from conceptbridge.study.embeddings import Embedding
from conceptbridge.vocabulary.texts import rated_terms, site_tokens, term_tokens

logger = logging.getLogger(__name__)


def compute_texts(
    embedding: Embedding,
    vocabularies: Sequence[Path],
    term_pairs: Sequence[Path],
    data: Path,
    cache_folder: Path,
    local_text: bool,
    threads: int = 1,
) -> dict[str, Any]:
    """Compute what the cache lacks of the texts of all sites and of the rated terms in ``term_pairs``.

    ``local_text``: whether a service elsewhere may see local and unmapped texts. Returns counts of texts: ``texts`` in
    all, ``cached`` before, ``computed`` now, and for a published file ``lacking`` in it.

    Raises StudyError when the model or file cannot be had, or a file lacks texts and its entry says `fail`.
    """
    if embedding.backend.vectors != "published":
        texts = _texts(embedding, vocabularies, term_pairs, local_text)
        try:
            return fill(embedding, texts, cache_folder, threads)
        except UnusableVectorsError as error:
            raise StudyError(f"{embedding.name}: {error} ({_examples(error.texts, vocabularies)})") from error
    file = embedding.backend.open(embedding.spec, data)
    seen: set[str] = set()
    lacking: set[str] = set()
    for path in vocabularies:
        tokens = site_tokens(path, local_text or not embedding.remote)
        seen |= set(tokens["text"].to_pylist())
        lacking |= set(tokens["text"].take(np.flatnonzero(file.find(tokens) < 0)).to_pylist())
    counts = {"texts": len(seen), "cached": len(seen) - len(lacking), "computed": 0, "lacking": len(lacking)}
    logger.info("%s has no vector for %d of %d texts", embedding.name, len(lacking), len(seen))
    if lacking and embedding.spec["missing"] == "fail":
        raise StudyError(
            f"{embedding.name}: its file has no vector for {len(lacking)} of {len(seen)} texts "
            f"({_examples(lacking, vocabularies)}); in the study, `{embedding.name}: {{missing: zero}}` gives them "
            "zero, `missing: {backend: NAME}` another embedding's vector"
        )
    if embedding.fallback is not None:
        terms = term_tokens(rated_terms(term_pairs))
        lacking |= set(terms["text"].take(np.flatnonzero(file.find(terms) < 0)).to_pylist())
        counts["computed"] = fill(embedding.fallback, sorted(lacking), cache_folder, threads)["computed"]
    return counts


def dry_run(
    embedding: Embedding, vocabularies: Sequence[Path], term_pairs: Sequence[Path], cache_folder: Path, local_text: bool
) -> dict[str, Any]:
    """What ``compute_texts`` would do: how many texts are missing, and for a service tokens, requests and cost.

    Raises StudyError when the embedding computes no text at all.
    """
    if embedding.backend.vectors != "computed":
        raise StudyError(f"{embedding.name} computes no texts: its backend is {embedding.spec['backend']}")
    texts = _texts(embedding, vocabularies, term_pairs, local_text)
    known = VectorCache(cache_folder, embedding.fingerprint).find(texts)
    missing = [text for text in texts if text not in known]
    estimate = embedding.backend.estimate(embedding.spec, missing)
    return {
        "embedding": embedding.name,
        "texts": len(texts),
        "cached": len(known),
        "missing": len(missing) if estimate is None else estimate,
    }


def fill(
    embedding: Embedding,
    texts: Sequence[str],
    cache_folder: Path,
    threads: int = 1,
    key: Callable[[str], str] = lambda text: text,
) -> dict[str, int]:
    """Compute the vectors of those of ``texts`` that the cache lacks; each part is in the cache before the next begins.

    The model is loaded only where something is missing. ``key`` says under what the cache has a text. Returns the
    counts ``texts``, ``cached`` and ``computed``.
    """
    cache = VectorCache(cache_folder, embedding.fingerprint)
    known = cache.find(map(key, texts))
    missing = [text for text in texts if key(text) not in known]
    logger.info("%s: %d texts, %d of them in the cache", embedding.name, len(texts), len(known))
    if missing:
        cache.check_writable()
        with cache.alone():
            # another run, or the job of another site, may have computed some meanwhile
            known = cache.find(map(key, texts))
            missing = [text for text in texts if key(text) not in known]
            _compute(embedding, missing, cache, threads, key)
    return {"texts": len(texts), "cached": len(known), "computed": len(missing)}


def fetch_models(specs: Iterable[Spec]) -> None:
    """Put the models of catalogue entries onto this machine, so that later runs need no network.

    Raises StudyError for the first model that cannot be had.
    """
    for spec in specs:
        find_backend(spec["backend"]).fetch(spec)


def load_encoder(spec: Spec, threads: int = 1) -> Encoder:
    """The encoder that a catalogue entry asks for.

    Raises StudyError when its model cannot be had, or its backend makes no vectors from texts.
    """
    return find_backend(spec["backend"]).load(spec, threads)


def encode_all(encoder: Encoder, texts: Sequence[str]) -> Matrix:
    """Vectors of ``texts`` (distinct ones) in their order: shape (texts, width)."""
    index = {text: i for i, text in enumerate(texts)}
    vectors: Matrix | None = None
    for some, computed in encoder.encode(texts):
        if vectors is None:
            vectors = np.empty((len(texts), computed.shape[1]), np.float32)
        vectors[[index[text] for text in some]] = computed
    return np.empty((0, 0), np.float32) if vectors is None else vectors


def _texts(
    embedding: Embedding, vocabularies: Sequence[Path], term_pairs: Sequence[Path], local_text: bool
) -> list[str]:
    own = (site_tokens(path, local_text or not embedding.remote)["text"].to_pylist() for path in vocabularies)
    return sorted({text for texts in own for text in texts} | set(rated_terms(term_pairs)))


def _examples(texts: Iterable[str], vocabularies: Sequence[Path]) -> str:
    """Some of ``texts``. A log may show standard names, and none that a hospital could have written."""
    standard = {text for path in vocabularies for text in site_tokens(path, False)["text"].to_pylist()}
    shown = ", ".join(repr(text) for text in sorted(set(texts) & standard)[:3])
    return f"such as {shown}" if shown else "all of them local"


def _compute(
    embedding: Embedding, missing: Sequence[str], cache: VectorCache, threads: int, key: Callable[[str], str]
) -> None:
    if missing:
        start = time.perf_counter()
        encoder = load_encoder(embedding.spec, threads)
        logger.info("%s: loaded in %.1f s", embedding.name, time.perf_counter() - start)
        start, done = time.perf_counter(), 0
        # a terminal gets a bar, a log file lines
        with tqdm(total=len(missing), desc=embedding.name, unit="text", disable=None) as bar:
            for some, vectors in encoder.encode(missing):
                if vectors.shape[1] != embedding.spec["width"]:
                    raise StudyError(
                        f"{embedding.name}: vectors of width {vectors.shape[1]}; the catalogue says "
                        f"{embedding.spec['width']}"
                    )
                cache.add([key(text) for text in some], vectors)
                done += len(some)
                bar.update(len(some))
                rate = done / (time.perf_counter() - start)
                logger.info(
                    "%s: %d of %d texts, %.0f texts/s, %.0f s left",
                    embedding.name,
                    done,
                    len(missing),
                    rate,
                    (len(missing) - done) / rate,
                )
        assert done == len(missing)
