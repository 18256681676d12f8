"""What a model looks at: how its prediction changes where one token of a row is left out. The same for every learner.

A token of a row that is left out is missing to the model, as one that was never recorded. What changes then is told in
log odds, the mean over the model's seeds. Of a regression on one-hot columns that is the token's coefficient times its
weight. Where several tokens say the same, a forest or a network may need only one of them: each by itself is then worth
little.

Gains and SHAP values of a forest are not told: both need how many training rows each split parts, which no saved model
has (``boosted_trees.Forest.save``).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.arm_files import TrainedModel
from conceptbridge.learn.rows import SiteRows, examples, offsets_of
from conceptbridge.learn.site import Site
from conceptbridge.vocabulary.states import SLOTS

#: rows looked at of each token: at most so many, spread evenly, and fewer where all tokens together have more rows than
#: ``PAIRS``, but ``FEWEST`` of each
MOST, FEWEST, PAIRS = 200, 20, 40_000
#: rows that are predicted at once
TOGETHER = 4_096
#: a saturated probability has no finite logit
SMALLEST = 1e-9


@dataclass(frozen=True)
class Looked:
    """What a model makes of each token of some rows: arrays (tokens,), in the order of ``SiteRows.keys``.

    ``effect``: by how much the token raises the log odds where it is there, the mean over the rows that have it; of a
    value, by how much one that is higher by 1 (one spread) does. ``share``: the token's share of all that tokens
    change, up or down, in all rows. ``persons`` with it in the rows; a token of too few has neither number (NaN).
    """

    effect: NDArray[np.float64]
    share: NDArray[np.float64]
    persons: NDArray[np.int64]


def look(trained: TrainedModel, site: Site, chosen: NDArray[np.int64], min_persons: int) -> Looked:
    """Leave each token out that at least ``min_persons`` persons of the ``chosen`` rows have.

    No label is read. The rows have to be as the model sees them (``windows.in_windows``).
    """
    rows = site.rows.take(chosen)
    token, row, weight = _pairs(rows)
    persons = _persons(rows, token, row)
    starts = np.searchsorted(token, np.arange(len(rows.keys) + 1))
    held = np.diff(starts)
    asked = np.flatnonzero(persons >= max(min_persons, 1))
    of_each = int(np.clip(PAIRS // max(len(asked), 1), FEWEST, MOST))
    at = [starts[t] + np.unique(np.linspace(0, held[t] - 1, min(held[t], of_each)).astype(np.int64)) for t in asked]
    pairs = np.concatenate(at) if at else np.zeros(0, np.int64)
    change = changes(trained, replace(site, rows=rows), row[pairs], token[pairs])
    effect, size = (np.full(len(rows.keys), np.nan) for _ in range(2))
    first, is_value = 0, values_among(rows)
    for t, own in zip(asked, at, strict=True):
        of_token = change[first : first + len(own)]
        first += len(own)
        effect[t] = _slope(weight[own], of_token) if is_value[t] else of_token.mean()
        size[t] = np.abs(of_token).mean() * held[t]
    total = float(np.nansum(size))
    return Looked(effect, size / total if total else np.where(np.isnan(size), np.nan, 0.0), persons)


def changes(trained: TrainedModel, site: Site, row: NDArray[np.int64], token: NDArray[np.int64]) -> NDArray[np.float64]:
    """By how much each of these tokens raises the log odds of its row: shape (pairs,), the mean over seeds."""
    asked, place = np.unique(row, return_inverse=True)
    placed = trained.space.draws(site.rows, site.table)

    def logits(some: SiteRows) -> NDArray[np.float64]:
        whole = np.arange(len(some.row_ids))
        given = [examples(some, vectors, index, whole, None, trained.space.place_width) for vectors, index in placed]
        probability = np.clip(trained.predict(given), SMALLEST, 1 - SMALLEST)
        return np.asarray(np.log(probability) - np.log1p(-probability))

    parts = [logits(site.rows.take(asked[i : i + TOGETHER])) for i in range(0, len(asked), TOGETHER)]
    before = np.concatenate(parts, axis=1) if parts else np.zeros((1, 0))
    change = np.empty(len(row))
    for i in range(0, len(row), TOGETHER):
        some = slice(i, i + TOGETHER)
        change[some] = (before[:, place[some]] - logits(_without(site.rows, row[some], token[some]))).mean(axis=0)
    return change


def two_digits(number: float) -> float:
    """A share or an effect as it may be told: more digits say nothing, and of few rows they could be worked out."""
    return float(f"{number:.1e}")


def values_among(rows: SiteRows) -> NDArray[np.bool_]:
    """Which tokens stand for a number, so that their weight counts: (tokens,)."""
    if rows.windows is None or not rows.windows.values:
        return np.zeros(len(rows.keys), np.bool_)
    return np.asarray(rows.slots >= len(rows.windows.days) * len(SLOTS), np.bool_)


def _pairs(rows: SiteRows) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Every token of every row once, by token, and its weight."""
    row_of = np.repeat(np.arange(len(rows.row_ids)), np.diff(rows.offsets))
    code, first = np.unique(rows.tokens * np.int64(max(len(rows.row_ids), 1)) + row_of, return_index=True)
    token, row = np.divmod(code, max(len(rows.row_ids), 1))
    weight = np.ones(len(code)) if rows.weights is None else rows.weights[first].astype(np.float64)
    return token, row, weight


def _persons(rows: SiteRows, token: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many persons have each token: (tokens,)."""
    _, person = np.unique(rows.person_ids, return_inverse=True)
    many = int(person.max(initial=0)) + 1
    return np.bincount(np.unique(token * many + person[row]) // many, minlength=len(rows.keys))


def _without(rows: SiteRows, row: NDArray[np.int64], token: NDArray[np.int64]) -> SiteRows:
    """These rows, each without one of its tokens."""
    some = rows.take(row)
    row_of = np.repeat(np.arange(len(row)), np.diff(some.offsets))
    kept = some.tokens != token[row_of]
    lengths = np.bincount(row_of[kept], minlength=len(row))
    return replace(some, tokens=some.tokens[kept], offsets=offsets_of(lengths), **some.of_events(kept))


def _slope(weight: NDArray[np.float64], change: NDArray[np.float64]) -> float:
    """By how much the change rises with the weight; where that is always the same, what it is per 1 of it."""
    apart = weight - weight.mean()
    if (apart**2).sum() > 1e-12:
        return float((apart * change).sum() / (apart**2).sum())
    mean = float(weight.mean())
    return float(change.mean()) / mean if abs(mean) > 1e-6 else 0.0
