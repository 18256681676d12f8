"""A source's one-hot model in the words of a target: nothing is trained, and no label is seen.

A target's token that the model has no column for is read as the source's tokens that it stands for. Where that is all
linear (a regression's score, what a network multiplies a token's vector by), the model gets a column for the token, the
mix of those that it has, and can be tuned like any other. Trees read the token as the one that it stands for most. A
target of the source's own vocabulary leaves the model as it is.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.vectors import Matrix
from conceptbridge.learn.arm_files import TrainedModel
from conceptbridge.learn.input_space import Table
from conceptbridge.learn.rows import SiteRows
from conceptbridge.study.backends import find_backend
from conceptbridge.translate.profile import MAX_ANCHORS, Profile, count_profile
from conceptbridge.translate.translation import CORRECTED, Words


def profile_of(rows: SiteRows, min_cell_count: int, max_anchors: int = MAX_ANCHORS) -> Profile:
    """A site's profile from its training rows of a task; see ``profile.count_profile``."""
    training = rows.take(rows.of("train"))
    person = np.repeat(training.person_ids, np.diff(training.offsets))
    total = len(np.unique(training.person_ids))
    return count_profile(rows.keys, person, training.tokens, total, min_cell_count, max_anchors)


def words_of(rows: SiteRows, known: Sequence[str], table: Table | None, profile: Profile | None) -> Words:
    """A site's tokens that others may know of, those in ``known``, as translation sees them.

    ``table``: texts and vectors of their names; None where names play no part, as ``profile`` where behaviour does not.
    """
    chosen = set(known)
    at = [i for i, key in enumerate(rows.keys) if key in chosen]
    texts = [rows.texts[i] for i in at]
    return Words([rows.keys[i] for i in at], texts, None if table is None else _vectors(texts, table), profile)


def translate_model(trained: TrainedModel, translation: pa.Table) -> TrainedModel:
    """The model with what its target's tokens stand for (``translation.SCHEMA``).

    A token of equal code is read as itself, unless a clinician has said otherwise. Where one stands for others that the
    model has no column for, these count as nothing; a token that is left with nothing stays missing to it. Raises
    StudyError where the model is not one-hot.
    """
    space = trained.space
    if find_backend(space.backend).vectors != "none":
        raise StudyError(f"a model of {space.embedding} cannot be translated: only one-hot columns are tokens")
    read_as = _corrected(space.names, translation)
    if read_as:
        space = replace(space, read_as=read_as)
    keys, mix = mix_of(space.names, translation)
    if not keys:
        return replace(trained, space=space)
    [onehot] = space.projections
    model = trained.learner.translate(trained.model, mix, float(onehot.center[0]))
    if model is not None:
        return replace(trained, model=model, space=space.translated(keys))
    heaviest = {key: space.names[mix.indices[mix.indptr[i] : mix.indptr[i + 1]][mix[[i]].data.argmax()]]
                for i, key in enumerate(keys)}  # fmt: skip
    return replace(trained, space=replace(space, read_as=read_as | heaviest))


def _corrected(columns: Sequence[str], translation: pa.Table) -> dict[str, str]:
    """The tokens of equal code that a clinician says are something else: the key of its column, or of none."""
    known = set(columns)
    named = (translation[name].to_pylist() for name in ("token", "stands_for", "by"))
    return {
        token: stands_for or ""
        for token, stands_for, by in zip(*named, strict=True)
        if by == CORRECTED and token in known and stands_for != token
    }


def mix_of(columns: Sequence[str], translation: pa.Table) -> tuple[list[str], sparse.csr_array]:
    """The tokens that have no column and stand for some that have one, by key, and their weights: (tokens, columns)."""
    column_of = {key: i for i, key in enumerate(columns)}
    parts: dict[str, list[tuple[int, float]]] = {}
    named = (translation[name].to_pylist() for name in ("token", "stands_for", "weight"))
    for token, stands_for, weight in zip(*named, strict=True):
        if token not in column_of and stands_for in column_of and weight > 0:
            parts.setdefault(token, []).append((column_of[stands_for], weight))
    keys = sorted(parts)
    ends = np.cumsum([0, *(len(parts[key]) for key in keys)])
    flat = [part for key in keys for part in parts[key]]
    data = np.array([weight for _, weight in flat], np.float64)
    indices: NDArray[np.int64] = np.array([column for column, _ in flat], np.int64)
    return keys, sparse.csr_array((data, indices, ends), shape=(len(keys), len(columns)))


def _vectors(texts: Sequence[str | None], table: Table) -> Matrix:
    index = {text: i for i, text in enumerate(table[0])}
    result = np.zeros((len(texts), table[1].shape[1]), np.float32)
    for i, text in enumerate(texts):
        if text is not None and text in index:
            result[i] = table[1][index[text]]
    return result
