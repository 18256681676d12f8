"""A source's one-hot model in the words of a target: nothing is trained, and no label is seen.

A target's token that the model has no column for is read as the source's tokens that it stands for. Where that is all
linear (a regression's score, what a network multiplies a token's vector by), the model gets a column for the token, the
mix of those that it has, and can be tuned like any other. Trees read the token as the one that it stands for most. A
target of the source's own vocabulary leaves the model as it is. A window of a token stands for the same window of
others, and a concept's value for the values of the concepts that its tokens stand for.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from conceptbridge.core.errors import StudyError
from conceptbridge.learn.arm_files import TrainedModel
from conceptbridge.learn.places import LAST, MEAN, Windows, concept_of, value_key, window_key
from conceptbridge.learn.rows import SiteRows
from conceptbridge.study.backends import find_backend
from conceptbridge.translate.translation import CORRECTED, SAME_CODE


def translate_model(trained: TrainedModel, translation: pa.Table) -> TrainedModel:
    """The model with what its target's tokens stand for (``translation.SCHEMA``).

    A token of equal code is read as itself, unless a clinician has said otherwise. Where one stands for others that the
    model has no column for, these count as nothing; a token that is left with nothing stays missing to it. Raises
    StudyError where the model is not one-hot.
    """
    return _translated(trained, _in_windows(translation, trained.space.windows))


def _translated(trained: TrainedModel, translation: pa.Table) -> TrainedModel:
    space = trained.space
    if find_backend(space.backend).vectors != "none":
        raise StudyError(f"a model of {space.embedding} cannot be translated: only one-hot columns are tokens")
    read_as = _corrected(space.names, translation)
    if read_as:
        space = replace(space, read_as=[read_as])
    keys, mix = mix_of(space.names, translation)
    if not keys:
        return replace(trained, space=space)
    [onehot] = space.projections
    model = trained.learner.translate(trained.model, mix, float(onehot.center[0]))
    if model is not None:
        return replace(trained, model=model, space=space.translated(keys))
    heaviest = {key: space.names[mix.indices[mix.indptr[i] : mix.indptr[i + 1]][mix[[i]].data.argmax()]]
                for i, key in enumerate(keys)}  # fmt: skip
    return replace(trained, space=replace(space, read_as=[read_as | heaviest]))


def translate_draws(trained: TrainedModel, translations: Sequence[pa.Table]) -> TrainedModel:
    """The model with one translation, or with one per draw of a control: the member of seed k with draw k.

    A token is read in every draw or in none.
    """
    if len(translations) == 1:
        return translate_model(trained, translations[0])
    names, windows = trained.space.names, trained.space.windows
    translations = [_in_windows(table, windows) for table in translations]
    read = set.intersection(*(set(mix_of(names, table)[0]) for table in translations))
    fixed = pa.array(sorted(read | set(names)), pa.string())
    tables = [table.filter(pc.is_in(table["token"], value_set=fixed)) for table in translations]
    members = trained.model.seeds
    each = [
        _translated(replace(trained, model=trained.model.take([i])), tables[seed - 1]) for i, seed in enumerate(members)
    ]
    first, read_as = each[0], [one.space.read_as[0] if one.space.read_as else {} for one in each]
    space = replace(first.space, read_as=read_as if any(read_as) else ())
    return replace(first, model=first.model.join([one.model for one in each[1:]]), space=space)


def read_as_tokens(rows: SiteRows, translation: pa.Table, hub_keys: Collection[str] = ()) -> SiteRows:
    """A site's rows in the words of a hub: each token as the one that it stands for most.

    One of ``hub_keys``, the hub's own tokens, is itself, also where the hub's profile does not tell of it; so is one
    that stands for none. A clinician's word goes before: what is nothing by it is missing.
    """
    first: dict[str, tuple[str | None, str]] = {}
    named = (translation[name].to_pylist() for name in ("token", "stands_for", "by"))
    for token, stands_for, by in zip(*named, strict=True):
        first.setdefault(token, (stands_for, by))
    place: dict[str, int] = {}
    origin: list[int] = []
    moved = np.full(len(rows.keys), -1, np.int32)
    for i, key in enumerate(rows.keys):
        stands_for, by = first.get(key, (None, ""))
        if stands_for is None and by == CORRECTED:
            continue
        hub = key if key in hub_keys and by != CORRECTED else stands_for or key
        if hub not in place:
            place[hub] = len(origin)
            origin.append(i)
        moved[i] = place[hub]
    tokens = moved[rows.tokens]
    known = tokens >= 0
    row_of = np.repeat(np.arange(len(rows.row_ids)), np.diff(rows.offsets))[known]
    lengths = np.bincount(row_of, minlength=len(rows.row_ids))
    read = replace(
        rows,
        keys=list(place),
        texts=[rows.texts[i] for i in origin],
        slots=rows.slots[origin],
        tokens=tokens[known],
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        **rows.of_events(known),
    )
    return read.trained_on(read.of("train"))


def readings(translation: pa.Table, windows: Windows | None) -> dict[str, str]:
    """What each token, and each value in ``windows``, is read as most, but for those that are read as themselves."""
    heaviest: dict[str, tuple[float, str]] = {}
    for line in _in_windows(translation, windows).to_pylist():
        token, other = line["token"], line["stands_for"]
        other_code = other not in (None, token) and line["by"] != SAME_CODE
        if other_code and line["weight"] > heaviest.get(token, (0.0, ""))[0]:
            heaviest[token] = line["weight"], other
    return {token: stands_for for token, (_, stands_for) in heaviest.items()}


def _in_windows(translation: pa.Table, windows: Windows | None) -> pa.Table:
    """What the tokens of each window stand for: the same tokens of that window. A concept's value stands for those of
    other concepts with the mean of what its tokens do."""
    if windows is None:
        return translation
    lines = translation.select(["token", "stands_for", "weight", "by"]).to_pylist()
    number = range(len(windows.days))
    result = [
        line
        | {
            "token": window_key(line["token"], w),
            "stands_for": None if line["stands_for"] is None else window_key(line["stands_for"], w),
        }
        for line in lines
        for w in number
    ]
    if windows.values:
        tokens: dict[str, set[str]] = {}
        parts: dict[tuple[str, str, str], float] = {}
        for line in lines:
            concept = concept_of(line["token"])
            tokens.setdefault(concept, set()).add(line["token"])
            if line["stands_for"] is not None:
                pair = (concept, concept_of(line["stands_for"]), line["by"])
                parts[pair] = parts.get(pair, 0.0) + line["weight"]
        result += [
            {
                "token": value_key(concept, kind, w),
                "stands_for": value_key(other, kind, w),
                "weight": weight / len(tokens[concept]),
                "by": by,
            }
            for (concept, other, by), weight in parts.items()
            for w in number
            for kind in (LAST, MEAN)
        ]
    fields = [translation.schema.field(name) for name in ("token", "stands_for", "weight", "by")]
    return pa.Table.from_pylist(result, schema=pa.schema(fields))


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
