"""Whether a site's texts say anything to an embedding: codes, words it does not know, one vector for many texts."""

import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.vectors import Matrix
from conceptbridge.study.embeddings import Embedding

logger = logging.getLogger(__name__)

#: two texts have one vector from this cosine on
ONE_VECTOR = 0.999999
#: shares from which a reader is advised
MANY = {"without_text": 0.05, "codes": 0.05, "unknown_subwords": 0.05, "one_vector": 0.05}
ADVICE = {
    "without_text": "tokens have no name: give the study's `vocabulary` (an Athena download)",
    "codes": "names are codes: give the study's `vocabulary` (an Athena download), or the codes' names in the extract",
    "unknown_subwords": "the encoder does not know these words: take one for their language or script, such as a "
    "multilingual one",
    "one_vector": "different texts have one vector, so that a model cannot tell them apart: take another encoder, or "
    "another pooling",
}
_WORD = re.compile(r"[^\W\d_]{3}")
_DIGIT = re.compile(r"\d")


def check_texts(embedding: Embedding, tokens: pa.Table, texts: Sequence[str], vectors: Matrix) -> dict[str, Any]:
    """Measure what a site's texts say to an embedding; a share is None where it cannot be measured.

    ``tokens`` are the site's (column text), ``texts`` those that have a vector, ``vectors`` theirs, of norm 1:

    - ``without_text``: share of the tokens that have no text.
    - ``codes``: share of the texts that are codes: a digit, and no three letters in a row.
    - ``unknown_subwords``: share of the sub-words that a language model has no entry for.
    - ``one_vector``: share of the texts whose vector another text has, too.
    - ``advice``: what to do about the shares that are large; empty where none is.
    """
    all_texts = tokens["text"].to_pylist()
    named = sorted({text for text in all_texts if text is not None})
    shares = {
        "without_text": all_texts.count(None) / len(all_texts) if all_texts else None,
        "codes": float(np.mean([_is_code(text) for text in named])) if named else None,
        "unknown_subwords": unknown_subwords(embedding, texts),
        "one_vector": one_vector(vectors),
    }
    advice = [ADVICE[name] for name, share in shares.items() if share is not None and share >= MANY[name]]
    return {"texts": len(named), **shares, "advice": "; ".join(advice)}


def unknown_subwords(embedding: Embedding, texts: Sequence[str]) -> float | None:
    """The share of ``texts``' sub-words that the embedding's model does not know; None where it has no sub-words, or
    its files are not on this machine."""
    if not texts:
        return None
    try:
        return embedding.backend.unknown_subwords(embedding.spec, texts)
    except StudyError as error:
        logger.info("%s: unknown sub-words are not counted: %s", embedding.name, error)
        return None


def one_vector(unit: Matrix) -> float | None:
    """The share of vectors, of norm 1, that another one equals; None for fewer than two."""
    if len(unit) < 2:
        return None
    # equal vectors are neighbours along any direction
    direction = np.asarray(np.random.default_rng(0).normal(size=unit.shape[1]), np.float32)
    ordered = unit[np.argsort(unit @ direction, kind="stable")]
    same = (ordered[1:] * ordered[:-1]).sum(axis=1) >= ONE_VECTOR
    return float(np.mean(np.append(same, False) | np.append(False, same)))


def _is_code(text: str) -> bool:
    return bool(_DIGIT.search(text)) and not _WORD.search(text)
