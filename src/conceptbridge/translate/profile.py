"""A token's profile: what it keeps company with at a site, from suppressed counts of persons.

A person has a token if one of his training rows has it. Two tokens make a two-by-two table of persons; a profile is
its correlation phi with each anchor. The table of a pair is hidden where one of its cells is below ``min_cell_count``,
and where hidden cells could be worked out from what is shown. No label plays a part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from conceptbridge.disclosure.suppress import is_enough, is_small
from conceptbridge.disclosure.token_counts import shared_tokens

#: anchors of a site, at most: its tokens of the most persons
MAX_ANCHORS = 1000
#: the count of a pair that is hidden
HIDDEN = -1

Counts = NDArray[np.int64]
Matrix = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Profile:
    """What a site tells of its tokens: how many of its ``total`` persons have each, ``persons`` (tokens,), and how many
    have each pair of a token and an anchor, ``pairs`` (tokens, anchors), ``HIDDEN`` where that is not shown.

    ``anchors`` are positions among ``keys``. Tokens are in the order of their keys.
    """

    keys: list[str]
    persons: Counts
    total: int
    anchors: Counts
    pairs: Counts
    min_cell_count: int

    def correlations(self) -> Matrix:
        """Phi of each token with each anchor, (tokens, anchors); of a token with itself 0.

        A hidden pair is read as that possible table with a small cell which is nearest to independence.
        """
        own, anchor = self.persons[:, None].astype(np.float64), self.persons[self.anchors].astype(np.float64)
        expected = own * anchor / max(self.total, 1)
        least, greatest = np.maximum(0, own + anchor - self.total), np.minimum(own, anchor)
        reach = self.min_cell_count - 1
        low = np.clip(expected, least, np.minimum(least + reach, greatest))
        high = np.clip(expected, np.maximum(greatest - reach, least), greatest)
        nearest = np.where(np.abs(low - expected) <= np.abs(high - expected), low, high)
        both = np.where(self.pairs == HIDDEN, nearest, self.pairs)
        spread = np.sqrt(own * (self.total - own)) * np.sqrt(anchor * (self.total - anchor))
        with np.errstate(invalid="ignore", divide="ignore"):
            phi = np.where(spread > 0, (both * self.total - own * anchor) / spread, 0)
        phi[self.anchors, np.arange(len(self.anchors))] = 0
        return phi.astype(np.float32)

    def log_prevalence(self) -> NDArray[np.float64]:
        """The logarithm of each token's share of the persons: (tokens,)."""
        return np.log(self.persons / max(self.total, 1))


def count_profile(
    keys: Sequence[str],
    persons: NDArray[np.int64],
    tokens: NDArray[np.integer],
    total: int,
    min_cell_count: int,
    max_anchors: int = MAX_ANCHORS,
) -> Profile:
    """Count a site's profile: in a training row the person ``persons[i]`` has the token ``keys[tokens[i]]``, how often
    does not count. ``total``: persons with a training row, with or without a token.

    Tokens of fewer than ``min_cell_count`` persons are left out, and so are those whose count would tell of few others
    (``disclosure.token_counts``): of persons without the token, or without any of its concept's states.
    """
    named, number = np.unique(persons, return_inverse=True)
    ones = np.ones(len(tokens), np.int64)
    held = sparse.csr_array((ones, (number, tokens)), shape=(len(named), len(keys)))
    held.sum_duplicates()
    held.data[:] = 1
    of_token = np.asarray(held.sum(axis=0)).ravel().astype(np.int64)
    counted = pa.table({"key": list(keys), "rows": of_token, "at": np.arange(len(keys))})
    shared = shared_tokens(counted.sort_by("key"), total, min_cell_count)
    nearly_all = is_small(total - of_token[shared["at"].to_numpy()], min_cell_count)
    kept = shared.filter(pc.and_(pc.is_valid(shared["rows"]), pa.array(~nearly_all)))
    at = kept["at"].to_numpy()
    names, of_token, held = kept["key"].to_pylist(), of_token[at], held[:, at]
    # a stable sort: of equal counts the first key
    anchors = np.sort(np.argsort(-of_token, kind="stable")[:max_anchors])
    pairs = np.asarray((held.T @ held[:, anchors]).todense(), np.int64).reshape(len(at), len(anchors))
    shown = _enough(pairs, of_token, anchors, total, min_cell_count)
    _hide_remainders(shown, pairs, names, of_token, anchors, total, min_cell_count)
    _hide_what_tells(shown, pairs, of_token, anchors, total, min_cell_count)
    return Profile(names, of_token, total, anchors, np.where(shown, pairs, HIDDEN), min_cell_count)


def _enough(pairs: Counts, persons: Counts, anchors: Counts, total: int, min_cell_count: int) -> Mask:
    """Say which pairs have no cell below the minimum, (tokens, anchors); not a token with itself."""
    own, anchor = persons[:, None], persons[anchors]
    shown = np.ones(pairs.shape, np.bool_)
    for cell in (pairs, own - pairs, anchor - pairs, total - own - anchor + pairs):
        shown &= is_enough(cell, min_cell_count)
    return shown


def _hide_remainders(
    shown: Mask, pairs: Counts, keys: list[str], persons: Counts, anchors: Counts, total: int, min_cell_count: int
) -> None:
    """Hide pairs, in place, where the states of a concept leave a small count of the persons with an anchor, or without
    it: a reader can know that a person has one of them alone, as of sexes. The rarest is hidden first."""
    concept = [key.rpartition("|")[0] for key in keys]
    states: dict[str, list[int]] = {}
    for i, name in enumerate(concept):
        states.setdefault(name, []).append(i)
    of_anchor = persons[anchors]
    for members in states.values():
        for _ in members:
            inside = shown[members]
            with_it = of_anchor - np.where(inside, pairs[members], 0).sum(axis=0)
            without = (total - of_anchor) - np.where(inside, persons[members][:, None] - pairs[members], 0).sum(axis=0)
            tells = inside.any(axis=0) & (is_small(with_it, min_cell_count) | is_small(without, min_cell_count))
            if not tells.any():
                break
            rarest = np.where(inside, pairs[members], np.iinfo(np.int64).max).argmin(axis=0)
            shown[np.array(members)[rarest[tells]], np.flatnonzero(tells)] = False
    _agree(shown, anchors)


def _hide_what_tells(
    shown: Mask, pairs: Counts, persons: Counts, anchors: Counts, total: int, min_cell_count: int
) -> None:
    """Hide further pairs, in place, until no hidden one can be narrowed to fewer than ``min_cell_count`` values by the
    three pairs that it makes with any anchor.

    With the persons of i, a and b and of two of their pairs, the third pair of i and a has at least ``ib + ab - b`` and
    ``i + a + b - total - ib - ab`` persons, and at most ``i - ib + ab`` and ``a - ab + ib`` (Frechet's bounds of three
    events: all eight cells are 0 or more).
    """
    own, anchor = persons[:, None], persons[anchors]
    first, last = np.maximum(0, own + anchor - total), np.minimum(own, anchor)
    while True:
        low, high = first.copy(), last.copy()
        narrowest = np.full((2, *pairs.shape), -1)  # the anchor that tells most, from below and from above
        for b, with_b in enumerate(anchors):
            i, a = np.flatnonzero(shown[:, b]), np.flatnonzero(shown[with_b])
            if not len(i) or not len(a):
                continue
            cell, ib, ab, n_b = np.ix_(i, a), pairs[i, b][:, None], pairs[anchors[a], b], persons[with_b]
            n_i, n_a = own[i], anchor[a]
            for side, bound, better in (
                (0, np.maximum(ib + ab - n_b, n_i + n_a + n_b - total - ib - ab), np.greater),
                (1, np.minimum(n_i - ib + ab, n_a - ab + ib), np.less),
            ):
                so_far = low if side == 0 else high
                now = better(bound, so_far[cell])
                so_far[cell] = np.where(now, bound, so_far[cell])
                narrowest[side][cell] = np.where(now, b, narrowest[side][cell])
        # a reader may know which cell is small: a pair is then within a small count of one end of what persons allow
        few = min_cell_count - 1
        worked_out = np.zeros(shown.shape, np.bool_)
        for small, begin, end in (
            (pairs - first <= few, first, np.minimum(first + few, last)),
            (last - pairs <= few, np.maximum(last - few, first), last),
        ):
            left = np.minimum(high, end) - np.maximum(low, begin) + 1
            worked_out |= ~shown & small & (left < min_cell_count) & (narrowest >= 0).any(axis=0)
        worked_out[anchors, np.arange(len(anchors))] = False
        if not worked_out.any():
            return
        before = shown.sum()
        for side in (0, 1):
            i, a = np.nonzero(worked_out & (narrowest[side] >= 0))
            shown[i, narrowest[side][i, a]] = False
        _agree(shown, anchors)
        assert shown.sum() < before, "each round hides a pair"


def _agree(shown: Mask, anchors: Counts) -> None:
    """Hide a pair of two anchors, in place, in both of its places."""
    both = shown[anchors] & shown[anchors].T
    shown[anchors] = both
