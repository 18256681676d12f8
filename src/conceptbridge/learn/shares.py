"""Attention over a record's set of tokens, compiled: a token's features are its row of the table, and its scores and
values are computed once for all records of a batch."""

import math

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.compiled import Records, Shape, compiled
from conceptbridge.learn.network import Matrix, Weights
from conceptbridge.learn.runs import Rows

#: scores lie within this bound, so that no token's share is lost to rounding
BOUND = 8.0


def _pool(weights: Weights, table: Matrix, records: Records, rows: Rows) -> Matrix:
    features = np.maximum(table + weights["features_bias"], np.float32(0))
    scores = BOUND * np.tanh((features @ weights["scores"] + weights["scores_bias"]) / BOUND)
    share = np.exp(scores)
    values = features @ weights["values"] + weights["values_bias"]
    spread = np.concatenate([share, np.repeat(share, values.shape[1] // share.shape[1], axis=1) * values], axis=1)
    return _means(rows, spread, share.shape[1], records.tokens, records.begin)


def _logits(weights: Weights, pooled: Matrix) -> Matrix:
    hidden = np.maximum(pooled @ weights["head_hidden"] + weights["head_hidden_bias"], np.float32(0))
    made: Matrix = hidden @ weights["head"] + weights["head_bias"]
    return made


@compiled
def _means(rows: Rows, spread: Matrix, heads: int, tokens: NDArray[np.int32], begin: NDArray[np.int64]) -> Matrix:
    """A row's means of its tokens' values, zeros for a row without any; ``spread`` (tokens, heads + units) has their
    shares and, in each head, their shares of the values."""
    units = spread.shape[1] - heads
    size = units // heads
    made = np.zeros((len(rows), units), np.float32)
    summed = np.empty(heads + units, np.float32)
    for i in range(len(rows)):
        summed[:] = np.float32(0)
        for at in range(begin[rows[i]], begin[rows[i] + 1]):
            one = spread[tokens[at]]
            for k in range(len(summed)):
                summed[k] += one[k]
        for head in range(heads):
            if summed[head] > np.float32(0):
                part = np.float32(1) / summed[head]
                for k in range(head * size, (head + 1) * size):
                    made[i, k] = summed[heads + k] * part
    return made


@compiled
def _move(
    numbers: Matrix, slopes: Matrix, slope: Matrix, rate: np.float32, momentum: np.float32, decay: np.float32
) -> None:
    for k in range(len(numbers)):
        new = slope[k] + decay * numbers[k]
        slopes[k] = momentum * slopes[k] + new
        numbers[k] -= rate * (new + momentum * slopes[k])


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
    """The steps of ``SHAPE``."""
    steps, batch = chosen.shape
    units, known = dual.shape
    heads = ends[3] - ends[2]
    size = units // heads
    frozen = len(pooled) > 0
    nothing, one, bound = np.float32(0), np.float32(1), np.float32(BOUND)
    share = one / keep
    # the weights, and what they are to be moved by; scores and values are one matrix
    bias = small[: ends[0]]
    spreading, spreading_bias = small[ends[0] : ends[2]].reshape(heads + units, units), small[ends[2] : ends[4]]
    hidden, hidden_bias = small[ends[4] : ends[5]].reshape(units, units), small[ends[5] : ends[6]]
    head, head_bias = small[ends[6] : ends[7]].reshape(2, units), small[ends[7] :]
    of_small = np.zeros_like(small)
    of_bias = of_small[: ends[0]]
    of_spreading = of_small[ends[0] : ends[2]].reshape(heads + units, units)
    of_spreading_bias = of_small[ends[2] : ends[4]]
    of_hidden, of_hidden_bias = of_small[ends[4] : ends[5]].reshape(units, units), of_small[ends[5] : ends[6]]
    of_head, of_head_bias = of_small[ends[6] : ends[7]].reshape(2, units), of_small[ends[7] :]
    # of the batch's records
    mean = np.zeros((batch, units), np.float32)
    part = np.zeros((batch, heads), np.float32)  # 1 / the sum of shares
    through = np.empty((batch, units), np.float32)
    seen = np.empty((batch, units), np.float32)
    back = np.empty((batch, units), np.float32)
    summed = np.empty(heads + units, np.float32)
    # of the batch's distinct tokens: in the table's order, and then as they are numbered
    number = np.full(known, -1, np.int64)
    most = 0 if frozen else known
    listed = np.empty(most, np.int64)
    features = np.empty((most, units), np.float32)
    values = np.empty((most, heads + units), np.float32)  # behind the scores
    flat = np.empty((most, heads), np.float32)  # the slope of a score by what is bounded
    spread = np.empty((most, heads + units), np.float32)
    of_spread = np.zeros((most, heads + units), np.float32)
    of_features = np.empty((most, units), np.float32)
    columns = np.empty((most, known), np.float32)
    moved = np.empty((most, units), np.float32)
    together = np.empty(units, np.float32)
    # tokens first
    alone, of_table, of_alone = (
        np.ascontiguousarray(dual.T),
        np.ascontiguousarray(slopes[0].T),
        np.ascontiguousarray(slopes[1].T),
    )
    for step in range(steps):
        count = 0
        if frozen:
            for i in range(batch):
                mean[i] = pooled[chosen[step, i]]
        else:
            for i in range(batch):
                for at in range(begin[chosen[step, i]], begin[chosen[step, i] + 1]):
                    token = tokens[at]
                    if number[token] < 0:
                        number[token] = count
                        listed[count] = token
                        count += 1
            for k in range(count):
                numbers, feature = table[listed[k]], features[k]
                for u in range(units):
                    feature[u] = max(numbers[u] + bias[u], nothing)
            np.dot(features[:count], spreading.T, values[:count])
            for k in range(count):
                value, spreads = values[k], spread[k]
                for h in range(heads):
                    bounded = math.tanh((value[h] + spreading_bias[h]) / bound)
                    flat[k, h] = one - bounded * bounded
                    spreads[h] = math.exp(bound * bounded)
                    for u in range(heads + h * size, heads + (h + 1) * size):
                        value[u] += spreading_bias[u]
                        spreads[u] = spreads[h] * value[u]
            for i in range(batch):
                summed[:] = nothing
                for at in range(begin[chosen[step, i]], begin[chosen[step, i] + 1]):
                    spreads = spread[number[tokens[at]]]
                    for k in range(heads + units):
                        summed[k] += spreads[k]
                for h in range(heads):
                    part[i, h] = one / summed[h] if summed[h] > nothing else nothing
                    for u in range(h * size, (h + 1) * size):
                        mean[i, u] = summed[heads + u] * part[i, h]
        for i in range(batch):
            for u in range(units):
                through[i, u] = mean[i, u] * share if passed[step, i, u] else nothing
        np.dot(through, hidden.T, seen)
        of_hidden_bias[:] = nothing
        of_head[:] = nothing
        of_head_bias[:] = nothing
        for i in range(batch):
            zero, first = head_bias[0], head_bias[1]
            for u in range(units):
                seen[i, u] = max(seen[i, u] + hidden_bias[u], nothing)
                zero += seen[i, u] * head[0, u]
                first += seen[i, u] * head[1, u]
            # the probability of the outcome less what was seen
            wrong = np.float32(1 / (1 + math.exp(min(zero - first, 80.0)))) - np.float32(labels[chosen[step, i]])
            wrong = wrong / np.float32(batch)
            of_head_bias[0] -= wrong
            of_head_bias[1] += wrong
            for u in range(units):
                of_head[0, u] -= wrong * seen[i, u]
                of_head[1, u] += wrong * seen[i, u]
                seen[i, u] = wrong * (head[1, u] - head[0, u]) if seen[i, u] > nothing else nothing
                of_hidden_bias[u] += seen[i, u]
        np.dot(seen.T, through, of_hidden)
        if frozen:
            _move(small[ends[4] :], small_slopes[ends[4] :], of_small[ends[4] :], rate, momentum, decay)
            continue
        np.dot(seen, hidden, back)
        for i in range(batch):
            for h in range(heads):
                less = nothing
                for u in range(h * size, (h + 1) * size):
                    slope = back[i, u] * share * part[i, h] if passed[step, i, u] else nothing
                    summed[heads + u] = slope
                    less += slope * mean[i, u]
                summed[h] = -less
            for at in range(begin[chosen[step, i]], begin[chosen[step, i] + 1]):
                spreads = of_spread[number[tokens[at]]]
                for k in range(heads + units):
                    spreads[k] += summed[k]
        of_spreading_bias[:] = nothing
        for k in range(count):
            value, spreads, slopes_of = values[k], spread[k], of_spread[k]
            for h in range(heads):
                more = slopes_of[h]
                for u in range(heads + h * size, heads + (h + 1) * size):
                    more += slopes_of[u] * value[u]
                    slopes_of[u] *= spreads[h]
                slopes_of[h] = more * spreads[h] * flat[k, h]
            for u in range(heads + units):
                of_spreading_bias[u] += slopes_of[u]
        np.dot(of_spread[:count].T, features[:count], of_spreading)
        np.dot(of_spread[:count], spreading, of_features[:count])
        of_bias[:] = nothing
        for k in range(count):
            slope_of, feature = of_features[k], features[k]
            for u in range(units):
                slope_of[u] = slope_of[u] if feature[u] > nothing else nothing
                of_bias[u] += slope_of[u]
        if len(gram):
            for k in range(count):
                columns[k] = gram[listed[k]]
            np.dot(columns[:count].T, of_features[:count], moved)
        else:
            for u in range(units):
                together[u] = -scale * shared * of_bias[u]
            for t in range(known):
                moved[t] = together
            for k in range(count):
                moved[listed[k]] += scale * of_features[k]
        for t in range(known):
            _move(table[t], of_table[t], moved[t], rate, momentum, decay)
            moved[t] = nothing
        for k in range(count):
            moved[listed[k]] = of_features[k]
            number[listed[k]] = -1
            of_spread[k] = nothing
        for t in range(known):
            _move(alone[t], of_alone[t], moved[t], rate, momentum, decay)
        left[1] = momentum * left[1] + decay * left[0]
        left[0] -= rate * (decay * left[0] + momentum * left[1])
        _move(small, small_slopes, of_small, rate, momentum, decay)
    dual[:], slopes[0], slopes[1] = alone.T, of_table.T, of_alone.T


SHAPE = Shape(
    read="features",
    body=("features_bias", "scores", "values", "scores_bias", "values_bias"),
    head=("head_hidden", "head_hidden_bias", "head", "head_bias"),
    pool=_pool,
    logits=_logits,
    steps=_steps,
)
