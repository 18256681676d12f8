"""Read a target's tokens as tokens of a source, by their names and by what they keep company with, without a label.

A token of the same key is itself. Any other token t stands for the source's tokens s of its state slot, with weights
that are the softmax over s of ``S(t, s) / TEMPERATURE``, where

    S = cosine of the names' vectors + cosine of the profiles - 0.1 * (difference of log prevalence)^2 / 2.

A part that a token has no vector, or no profile, for is zero; a token that has neither is left out. Nothing is
thresholded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from conceptbridge.translate.profile import Profile
from conceptbridge.vocabulary.states import slots_of

#: what S is divided by, before the softmax
TEMPERATURE = 0.1
#: weight of the profiles' cosine, and of the squared difference of log prevalence
PROFILES, PREVALENCE = 1.0, 0.1
#: anchors that two sites need; where they share fewer, tokens whose names are nearest to each other serve as well
MIN_SHARED, SAME_NAME = 20, 0.6
#: of a token's weights, as many are kept as make up this mass, and no more than so many
MASS, MOST = 0.999, 50
#: scores that are worked out at once
BLOCK = 20_000_000

#: why a token stands for what it does
SAME_CODE, TRANSLATED, CORRECTED, LEFT_OUT = "same code", "translated", "corrected", "left out"

Matrix = NDArray[np.float32]

#: one row: a token of the target and one that it stands for (null: it is left out), heaviest first
SCHEMA = pa.schema(
    [
        ("token", pa.string()),
        ("text", pa.string()),
        ("stands_for", pa.string()),
        ("by", pa.string()),  # SAME_CODE, TRANSLATED, CORRECTED (a clinician's word) or LEFT_OUT
        ("weight", pa.float32()),
        ("name_cosine", pa.float32()),  # null where one of the two has no vector
        ("profile_cosine", pa.float32()),  # null where one of the two has no profile
        # the share of the slot's other tokens whose profiles are less like the token's: 1 if behaviour says so too
        ("agreement", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Words:
    """A site's tokens as translation sees them: their keys, their texts, and their names' ``vectors`` (tokens, width),
    zeros where there is none, or None where names play no part; and its ``profile``, None where behaviour plays none.
    ``behaves_as``: of a control, the token whose profile each has.
    """

    keys: Sequence[str]
    texts: Sequence[str | None]
    vectors: Matrix | None
    profile: Profile | None
    behaves_as: Mapping[str, str] = field(default_factory=dict)

    @property
    def slots(self) -> NDArray[np.int64]:
        """The state slot of each token: (tokens,)."""
        return slots_of([key.rpartition("|")[2] for key in self.keys])


def words_of(
    keys: Sequence[str],
    texts: Sequence[str | None],
    known: Sequence[str],
    table: tuple[Sequence[str], Matrix] | None,
    profile: Profile | None,
) -> Words:
    """The tokens ``keys`` of a site, with their ``texts``, as far as others may know of them: those in ``known``.

    ``table``: texts and vectors of their names; None where names play no part, as ``profile`` where behaviour does not.
    """
    chosen = set(known)
    at = [i for i, key in enumerate(keys) if key in chosen]
    named = [texts[i] for i in at]
    vectors = None
    if table is not None:
        place = {text: i for i, text in enumerate(table[0])}
        vectors = np.zeros((len(at), table[1].shape[1]), np.float32)
        for i, text in enumerate(named):
            if text is not None and text in place:
                vectors[i] = table[1][place[text]]
    return Words([keys[i] for i in at], named, vectors, profile)


@dataclass(frozen=True)
class _Seen:
    """What two sites compare: unit vectors of names and of profiles, zeros where there are none; log prevalence, nan
    where unknown; and at which of the anchors that are compared each token stands itself, -1 at none."""

    names: Matrix
    profiles: Matrix
    prevalence: NDArray[np.float32]
    own_anchor: NDArray[np.int64]


def translate(target: Words, source: Words, corrections: Mapping[str, str | None] | None = None) -> pa.Table:
    """The translation (``SCHEMA``) of each token of ``target``, by key, into tokens of ``source``.

    ``corrections`` override it (``corrections.read_corrections``): the token that one stands for, or None for nothing.
    Neither the order of tokens nor any label plays a part. Takes memory for ``BLOCK`` scores at a time.
    """
    corrections = corrections or {}
    target, source = _by_key(target), _by_key(source)
    there, here = _see(target, source)
    target_slots, source_slots = target.slots, source.slots
    place = {key: i for i, key in enumerate(source.keys)}
    fixed = np.array([place.get(corrections.get(key) or key, -1) for key in target.keys], np.int64)
    fixed[[key in corrections and corrections[key] is None for key in target.keys]] = _NOTHING
    rows: list[_Row] = []
    for slot in np.unique(target_slots):
        mine, theirs = np.flatnonzero(target_slots == slot), np.flatnonzero(source_slots == slot)
        step = max(1, BLOCK // max(len(theirs), 1))
        for first in range(0, len(mine), step):
            rows += _read(mine[first : first + step], theirs, there, here, fixed)
    token, stands_for, weight, name, profile, agreement = (
        (list(column) for column in zip(*rows, strict=True)) if rows else ([] for _ in range(6))
    )

    def why(t: int, s: int) -> str:
        if target.keys[t] in corrections:
            return CORRECTED
        return LEFT_OUT if s < 0 else SAME_CODE if target.keys[t] == source.keys[s] else TRANSLATED

    order = np.argsort(np.array(token, np.int64), kind="stable")
    columns = [
        pa.array([target.keys[token[i]] for i in order], pa.string()),
        pa.array([target.texts[token[i]] for i in order], pa.string()),
        pa.array([None if stands_for[i] < 0 else source.keys[stands_for[i]] for i in order], pa.string()),
        pa.array([why(token[i], stands_for[i]) for i in order], pa.string()),
        *(
            pa.array([float(column[i]) for i in order], pa.float32(), from_pandas=True)
            for column in (weight, name, profile, agreement)
        ),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


#: in place of a token of the source: a clinician says that the target's token stands for none
_NOTHING = -2
#: token, what it stands for, weight, name's and profile's cosine, agreement
_Row = tuple[int, int, float, float, float, float]


def _read(
    tokens: NDArray[np.int64], candidates: NDArray[np.int64], there: _Seen, here: _Seen, fixed: NDArray[np.int64]
) -> list[_Row]:
    """The rows of these target's tokens, all of one slot, whose ``candidates`` are the source's tokens of it."""
    nan = float("nan")
    if not len(candidates):
        return [(int(t), -1, nan, nan, nan, nan) for t in tokens]
    with threadpool_limits(1):
        names = there.names[tokens] @ here.names[candidates].T
        profiles = _profile_cosine(tokens, candidates, there, here)
    apart = there.prevalence[tokens][:, None] - here.prevalence[candidates]
    scores = names + np.float32(PROFILES) * profiles
    scores -= np.nan_to_num(np.float32(PREVALENCE / 2) * apart * apart)
    del apart
    named, named_s = _is_there(there.names[tokens]), _is_there(here.names[candidates])
    known, known_s = _is_there(there.profiles[tokens]), _is_there(here.profiles[candidates])
    at = {int(s): i for i, s in enumerate(candidates)}
    rows: list[_Row] = []
    for i, t in enumerate(tokens):
        unknown = fixed[t] < 0 and not named[i] and not known[i]
        if fixed[t] == _NOTHING or unknown:
            rows.append((int(t), -1, nan, nan, nan, nan))
            continue
        if fixed[t] >= 0:
            chosen, weights = np.array([at[int(fixed[t])]]), np.ones(1, np.float32)
        else:
            chosen, weights = _softmax(scores[i])
        others = np.sort(profiles[i][known_s])
        for j, weight in zip(chosen, weights, strict=True):
            both = bool(known[i] and known_s[j])
            less = np.searchsorted(others, profiles[i, j], side="left")
            rows.append(
                (
                    int(t),
                    int(candidates[j]),
                    float(weight),
                    float(names[i, j]) if named[i] and named_s[j] else nan,
                    float(profiles[i, j]) if both else nan,
                    float(less / (len(others) - 1)) if both and len(others) > 1 else nan,
                )
            )
    return rows


def _softmax(scores: Matrix) -> tuple[NDArray[np.int64], Matrix]:
    """Which of the candidates to keep, heaviest first (of equal ones the first), and their weights, of sum 1."""
    weights = np.exp((scores - scores.max()).astype(np.float64) / TEMPERATURE)
    weights /= weights.sum()
    if len(weights) > MOST:  # those of the lightest kept one's weight too, so that the first of equals is kept
        lightest = np.partition(weights, len(weights) - MOST)[len(weights) - MOST]
        candidates = np.flatnonzero(weights >= lightest)
    else:
        candidates = np.arange(len(weights))
    order = candidates[np.argsort(-weights[candidates], kind="stable")][:MOST]
    enough = int(np.searchsorted(np.cumsum(weights[order]), MASS)) + 1
    kept = order[:enough]
    return kept, (weights[kept] / weights[kept].sum()).astype(np.float32)


def _profile_cosine(tokens: NDArray[np.int64], candidates: NDArray[np.int64], there: _Seen, here: _Seen) -> Matrix:
    """The cosine of profiles, (tokens, candidates). Where one of the two is an anchor itself, that anchor is left out
    of both: a token is no company to itself."""
    mine, theirs = there.profiles[tokens], here.profiles[candidates]
    cosine: Matrix = mine @ theirs.T
    own_t, own_s = there.own_anchor[tokens], here.own_anchor[candidates]
    # the norms of the others without that anchor, in which the token's own profile has a zero
    at = np.flatnonzero(own_s >= 0)
    cosine[:, at] /= np.sqrt(np.maximum(1 - mine[:, own_s[at]] ** 2, 1e-6))
    at = np.flatnonzero(own_t >= 0)
    cosine[at] /= np.sqrt(np.maximum(1 - theirs[:, own_t[at]].T ** 2, 1e-6))
    return np.clip(cosine, -1, 1, out=cosine)


def _by_key(words: Words) -> Words:
    order = sorted(range(len(words.keys)), key=lambda i: words.keys[i])
    vectors = None if words.vectors is None else _unit(np.asarray(words.vectors, np.float32)[order])
    return replace(words, keys=[words.keys[i] for i in order], texts=[words.texts[i] for i in order], vectors=vectors)


def _see(target: Words, source: Words) -> tuple[_Seen, _Seen]:
    by_name = target.vectors is not None and source.vectors is not None
    none = [np.zeros((len(words.keys), 1), np.float32) for words in (target, source)]
    names = [words.vectors if by_name and words.vectors is not None else zero
             for words, zero in zip((target, source), none, strict=True)]  # fmt: skip
    if target.profile is None or source.profile is None:
        unknown = [np.full(len(words.keys), np.nan, np.float32) for words in (target, source)]
        nowhere = [np.full(len(words.keys), -1) for words in (target, source)]
        there, here = (_Seen(*one) for one in zip(names, none, unknown, nowhere, strict=True))
        return there, here
    columns = _anchors(target, source, names if by_name else None)
    there, here = (
        _profiled(words, vectors, at) for words, vectors, at in zip((target, source), names, columns, strict=True)
    )
    return there, here


def _profiled(words: Words, names: Matrix, columns: list[str]) -> _Seen:
    """The tokens of a site with their profiles on these anchors, by key."""
    profile = words.profile
    assert profile is not None
    at_key = {key: i for i, key in enumerate(profile.keys)}
    behaves_as = [words.behaves_as.get(key, key) for key in words.keys]
    at = np.array([at_key.get(key, -1) for key in behaves_as], np.int64)
    known = at >= 0
    of_anchor = {profile.keys[i]: n for n, i in enumerate(profile.anchors)}
    phi = profile.correlations()[:, [of_anchor[key] for key in columns]]
    profiles = np.zeros((len(words.keys), max(len(columns), 1)), np.float32)
    prevalence = np.full(len(words.keys), np.nan, np.float32)
    profiles[known, : len(columns)] = phi[at[known]]
    prevalence[known] = profile.log_prevalence()[at[known]]
    place = {key: n for n, key in enumerate(columns)}
    return _Seen(names, _unit(profiles), prevalence, np.array([place.get(key, -1) for key in behaves_as], np.int64))


def _anchors(target: Words, source: Words, names: list[Matrix] | None) -> tuple[list[str], list[str]]:
    """The anchors that are compared, as keys at the target and at the source: those that both have; where these are
    fewer than ``MIN_SHARED``, also tokens of one slot whose names are each other's nearest, by ``SAME_NAME`` or more.
    """
    assert target.profile is not None and source.profile is not None
    mine, theirs = ([p.keys[i] for i in p.anchors] for p in (target.profile, source.profile))
    shared = sorted(set(mine) & set(theirs))
    if len(shared) >= MIN_SHARED or names is None:
        return shared, shared
    both = [(key, key) for key in shared]
    place_t, place_s = ({key: i for i, key in enumerate(words.keys)} for words in (target, source))
    left_t = [place_t[key] for key in mine if key in place_t and key not in place_s]
    left_s = [place_s[key] for key in theirs if key in place_s and key not in place_t]
    slots_t, slots_s = target.slots, source.slots
    for slot in np.unique(slots_t):
        t = np.array([i for i in left_t if slots_t[i] == slot], np.int64)
        s = np.array([i for i in left_s if slots_s[i] == slot], np.int64)
        if not len(t) or not len(s):
            continue
        with threadpool_limits(1):
            cosine = names[0][t] @ names[1][s].T
        best_s, best_t = cosine.argmax(axis=1), cosine.argmax(axis=0)
        both += [
            (target.keys[t[i]], source.keys[s[j]])
            for i, j in enumerate(best_s)
            if best_t[j] == i and cosine[i, j] >= SAME_NAME
        ]
    return [one for one, _ in both], [other for _, other in both]


def _unit(vectors: Matrix) -> Matrix:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Matrix = np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)
    return result


def _is_there(vectors: Matrix) -> NDArray[np.bool_]:
    return np.asarray((vectors != 0).any(axis=1))
