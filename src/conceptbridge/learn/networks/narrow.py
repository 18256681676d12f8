"""The paper's network with filters of width 1, compiled: all that a filter does with a token is one number, and what a
step adds to a filter is a sum of the vectors of those tokens that were its maximum somewhere in the batch."""

import math

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.networks.compiled import Records, Shape, compiled
from conceptbridge.learn.networks.network import Matrix, Weights
from conceptbridge.learn.search import Rows

FILTERS, BIAS = "filters-1", "filter_bias-1"


def _pool(weights: Weights, table: Matrix, records: Records, rows: Rows) -> Matrix:
    return _highest(rows, table, weights[BIAS][0], records.tokens, records.begin)


def _logits(weights: Weights, pooled: Matrix) -> Matrix:
    made: Matrix = pooled @ weights["head"] + weights["head_bias"]
    return made


@compiled
def _highest(
    rows: NDArray[np.int64], table: Matrix, bias: Matrix, tokens: NDArray[np.int32], begin: NDArray[np.int64]
) -> Matrix:
    """ReLU of the highest number of each filter among a row's tokens; zeros for a row without any."""
    made = np.zeros((len(rows), table.shape[1]), np.float32)
    for i in range(len(rows)):
        first, end = begin[rows[i]], begin[rows[i] + 1]
        if first == end:
            continue
        best = made[i]
        best[:] = table[tokens[first]]
        for at in range(first + 1, end):
            row = table[tokens[at]]
            for f in range(len(best)):
                best[f] = row[f] if row[f] > best[f] else best[f]
        for f in range(len(best)):
            best[f] = max(best[f] + bias[f], np.float32(0))
    return made


@compiled
def _steps(
    chosen: NDArray[np.int64],
    passed: NDArray[np.bool_],
    keep: np.float32,
    tokens: NDArray[np.int32],
    begin: NDArray[np.int64],
    labels: NDArray[np.int8],
    pooled: Matrix,
    gram: Matrix,
    scale: np.float32,
    shared: np.float32,
    table: Matrix,
    dual: Matrix,
    slopes: Matrix,
    left: NDArray[np.float64],
    small: Matrix,
    small_slopes: Matrix,
    ends: NDArray[np.int64],
    rate: np.float32,
    momentum: np.float32,
    decay: np.float32,
) -> None:
    """The steps of ``SHAPE``: ``small`` has the filters' bias, then what the first logit weighs, then the second."""
    steps, batch = chosen.shape
    filters, known = dual.shape
    frozen = len(pooled) > 0
    nothing = np.float32(0)
    beside = np.zeros((filters, known), np.float32)  # the table, filters first
    if not frozen:
        for f in range(filters):
            for t in range(known):
                beside[f, t] = table[t, f]
    highest = np.empty((batch, filters), np.float32)
    winner = np.empty((batch, filters), np.int32)
    kept = np.empty((batch, filters), np.float32)
    share = np.float32(1) / keep
    slope = np.empty((batch, filters), np.float32)  # of the loss, by what a filter's maximum is
    of_small = np.empty_like(small)
    seen = np.full(known, -1, np.int64)
    listed = np.empty(batch, np.int64)
    of_tokens = np.zeros(known, np.float32)
    moved = np.empty(known, np.float32)
    for step in range(steps):
        of_small[:] = nothing
        for i in range(batch):
            row = chosen[step, i]
            best, won = highest[i], winner[i]
            first, end = begin[row], begin[row + 1]
            if frozen:
                best[:] = pooled[row]
            elif first == end:
                best[:] = nothing
            else:
                best[:] = table[tokens[first]]
                won[:] = tokens[first]
                for at in range(first + 1, end):
                    token = tokens[at]
                    numbers = table[token]
                    for f in range(filters):
                        better = numbers[f] > best[f]
                        best[f] = numbers[f] if better else best[f]
                        won[f] = token if better else won[f]
                for f in range(filters):
                    best[f] = max(best[f] + small[f], nothing)
            through = kept[i]
            for f in range(filters):
                through[f] = best[f] * share if passed[step, i, f] else nothing
            zero, one = small[3 * filters], small[3 * filters + 1]
            for f in range(filters):
                zero += through[f] * small[filters + f]
                one += through[f] * small[2 * filters + f]
            # the probability of the outcome less what was seen
            wrong = np.float32(1 / (1 + math.exp(min(zero - one, 80.0)))) - np.float32(labels[row])
            wrong = wrong / np.float32(batch)
            of_small[3 * filters] -= wrong
            of_small[3 * filters + 1] += wrong
            back, into = slope[i], wrong * share
            for f in range(filters):
                of_small[filters + f] -= wrong * through[f]
                of_small[2 * filters + f] += wrong * through[f]
                back[f] = into * (small[2 * filters + f] - small[filters + f]) if through[f] > nothing else nothing
                of_small[f] += back[f]
        for k in range(ends[0] if frozen else 0, len(small)):
            new = of_small[k] + decay * small[k]
            small_slopes[k] = momentum * small_slopes[k] + new
            small[k] -= rate * (new + momentum * small_slopes[k])
        if frozen:
            continue
        left[1] = momentum * left[1] + decay * left[0]
        left[0] -= rate * (decay * left[0] + momentum * left[1])
        for f in range(filters):
            count = 0
            together = nothing
            for i in range(batch):
                if slope[i, f] != nothing:
                    token = winner[i, f]
                    if seen[token] != f:
                        seen[token] = f
                        listed[count] = token
                        count += 1
                    of_tokens[token] += slope[i, f]
                    together += slope[i, f]
            numbers, of_table, of_dual, alone = beside[f], slopes[0, f], slopes[1, f], dual[f]
            if len(gram):
                moved[:] = nothing
                for k in range(count):
                    more, column = of_tokens[listed[k]], gram[listed[k]]
                    for t in range(known):
                        moved[t] += more * column[t]
            else:
                moved[:] = -scale * shared * together
                for k in range(count):
                    moved[listed[k]] += scale * of_tokens[listed[k]]
            for t in range(known):
                new = moved[t] + decay * numbers[t]
                of_table[t] = momentum * of_table[t] + new
                numbers[t] -= rate * (new + momentum * of_table[t])
                new = of_tokens[t] + decay * alone[t]
                of_dual[t] = momentum * of_dual[t] + new
                alone[t] -= rate * (new + momentum * of_dual[t])
            for k in range(count):
                of_tokens[listed[k]] = nothing
                seen[listed[k]] = -1
        # back to tokens first, some filters at a time
        for start in range(0, filters, 16):
            for t in range(known):
                for f in range(start, min(start + 16, filters)):
                    table[t, f] = beside[f, t]


SHAPE = Shape(FILTERS, (BIAS,), ("head", "head_bias"), _pool, _logits, _steps)
