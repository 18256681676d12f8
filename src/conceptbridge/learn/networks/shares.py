"""Attention over a record's set of tokens, compiled: a token's features are its row of the table, and its scores and
values are computed once for all records of a batch."""

import math

import numpy as np
import scipy.linalg  # noqa: F401  # numba calls its BLAS: loaded here, so that the threads of that can be limited
from numpy.typing import NDArray

from conceptbridge.learn.networks.compiled import Records, Shape, compiled
from conceptbridge.learn.networks.network import Matrix, Weights
from conceptbridge.learn.search import Rows

#: scores lie within this bound, so that no token's share is lost to rounding
BOUND = 8.0


def _pool(weights: Weights, table: Matrix, records: Records, rows: Rows) -> Matrix:
    features = np.maximum(table + weights["features_bias"], np.float32(0))
    scores = BOUND * np.tanh((features @ weights["scores"] + weights["scores_bias"]) / BOUND)
    share = np.exp(scores)
    values = features @ weights["values"] + weights["values_bias"]
    spread = np.concatenate([np.repeat(share, values.shape[1] // share.shape[1], axis=1) * values, share], axis=1)
    return _means(rows, spread, share.shape[1], records.tokens, records.begin)


def _logits(weights: Weights, pooled: Matrix) -> Matrix:
    hidden = np.maximum(pooled @ weights["head_hidden"] + weights["head_hidden_bias"], np.float32(0))
    made: Matrix = hidden @ weights["head"] + weights["head_bias"]
    return made


@compiled
def _means(rows: Rows, spread: Matrix, heads: int, tokens: NDArray[np.int32], begin: NDArray[np.int64]) -> Matrix:
    """A row's means of its tokens' values, zeros for a row without any; ``spread`` (tokens, units + heads) has, head by
    head, their shares of the values, and then their shares."""
    units = spread.shape[1] - heads
    made = np.zeros((len(rows), units), np.float32)
    summed = np.empty(units + heads, np.float32)
    for i in range(len(rows)):
        _mean(tokens[begin[rows[i]] : begin[rows[i] + 1]], spread, summed, made[i], summed[units:])
    return made


@compiled
def _mean(places: NDArray[np.int32], spread: Matrix, summed: Matrix, mean: Matrix, part: Matrix) -> None:
    """The same of one row, whose tokens are at ``places``; ``part`` becomes 1 / the sum of shares, head by head."""
    units, heads = len(mean), len(part)
    size = units // heads
    summed.fill(np.float32(0))
    for place in places:
        numbers = spread[place]
        for k in range(units + heads):
            summed[k] += numbers[k]
    for h in range(heads):
        whole = summed[units + h]
        part[h] = np.float32(1) / whole if whole > np.float32(0) else np.float32(0)
        own, numbers = mean[h * size : (h + 1) * size], summed[h * size : (h + 1) * size]
        for u in range(size):
            own[u] = numbers[u] * part[h]


@compiled
def _move(
    numbers: Matrix, slopes: Matrix, slope: Matrix, rate: np.float32, momentum: np.float32, decay: np.float32
) -> None:
    """A step of ``numbers`` and ``slopes``, their momentum."""
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
    heads = ends[4] - ends[3]
    size, wide = units // heads, units + heads
    frozen = len(pooled) > 0
    nothing = np.float32(0)
    louder = np.float32(1) / keep  # what passes dropout
    # the weights, values and scores as one, and the slopes of the loss by them
    of_small = np.zeros_like(small)
    bias, of_bias = small[: ends[0]], of_small[: ends[0]]
    spreading = small[ends[0] : ends[2]].reshape(wide, units)
    of_spreading = of_small[ends[0] : ends[2]].reshape(wide, units)
    spreading_bias, of_spreading_bias = small[ends[2] : ends[4]], of_small[ends[2] : ends[4]]
    hidden = small[ends[4] : ends[5]].reshape(units, units)
    of_hidden = of_small[ends[4] : ends[5]].reshape(units, units)
    hidden_bias, of_hidden_bias = small[ends[5] : ends[6]], of_small[ends[5] : ends[6]]
    head = small[ends[6] : ends[7]].reshape(2, units)
    of_head = of_small[ends[6] : ends[7]].reshape(2, units)
    head_bias, of_head_bias = small[ends[7] :], of_small[ends[7] :]
    # of the batch's records
    first = np.zeros(batch + 1, np.int64)  # their tokens begin here among the batch's
    mean = np.empty((batch, units), np.float32)
    part = np.empty((batch, heads), np.float32)  # 1 / the sum of shares
    through = np.empty((batch, units), np.float32)
    seen = np.empty((batch, units), np.float32)
    back = np.empty((batch, units), np.float32)
    summed = np.empty(wide, np.float32)
    # of the batch's tokens, and of its distinct ones
    longest = 0 if frozen else (begin[1:] - begin[:-1]).max()
    most = min(known, batch * longest)
    place = np.empty(batch * longest, np.int32)
    number = np.empty(known, np.int32)
    listed = np.empty(known, np.int64)
    features = np.empty((most, units), np.float32)
    values = np.empty((most, wide), np.float32)  # and scores, before they are bounded
    flat = np.empty((most, heads), np.float32)  # the slope of a score by what it was before
    spread = np.empty((most, wide), np.float32)
    of_spread = np.empty((most, wide), np.float32)
    of_features = np.empty((most, units), np.float32)
    columns = np.empty((most if len(gram) else 0, known), np.float32)
    moved = np.empty((known, units), np.float32)
    # tokens first, unlike where they come from
    own_dual, of_table = np.ascontiguousarray(dual.T), np.ascontiguousarray(slopes[0].T)
    of_dual = np.ascontiguousarray(slopes[1].T)
    for step in range(steps):
        rows, count = chosen[step], 0
        of_small.fill(nothing)
        if frozen:
            for i in range(batch):
                mean[i] = pooled[rows[i]]
        else:
            # the batch's distinct tokens, in the table's order
            number.fill(0)
            for row in rows:
                for at in range(begin[row], begin[row + 1]):
                    number[tokens[at]] = 1
            for t in range(known):
                met = number[t]
                listed[count], number[t] = t, count
                count += met
            for i in range(batch):
                first[i + 1] = first[i]
                for at in range(begin[rows[i]], begin[rows[i] + 1]):
                    place[first[i + 1]] = number[tokens[at]]
                    first[i + 1] += 1
            # features, scores and values of each of them, and what a record adds up
            for k in range(count):
                feature, numbers = features[k], table[listed[k]]
                for u in range(units):
                    feature[u] = max(numbers[u] + bias[u], nothing)
            np.dot(features[:count], spreading.T, values[:count])
            for k in range(count):
                value, own = values[k], spread[k]
                for u in range(wide):
                    value[u] += spreading_bias[u]
                for h in range(heads):
                    # the hyperbolic tangent, by one exponential
                    bounded = 1 - 2 / (math.exp(2 / BOUND * value[units + h]) + 1)
                    flat[k, h] = 1 - bounded * bounded
                    own[units + h] = math.exp(np.float32(BOUND * bounded))
                    numbers, shared_out = value[h * size : (h + 1) * size], own[h * size : (h + 1) * size]
                    for u in range(size):
                        shared_out[u] = own[units + h] * numbers[u]
            for i in range(batch):
                _mean(place[first[i] : first[i + 1]], spread, summed, mean[i], part[i])
        # the head, and its slopes
        for i in range(batch):
            numbers, passes, averages = through[i], passed[step, i], mean[i]
            for u in range(units):
                numbers[u] = averages[u] * louder if passes[u] else nothing
        np.dot(through, hidden.T, seen)
        for i in range(batch):
            numbers = seen[i]
            zero, other = head_bias[0], head_bias[1]
            for u in range(units):
                numbers[u] = max(numbers[u] + hidden_bias[u], nothing)
                zero += numbers[u] * head[0, u]
                other += numbers[u] * head[1, u]
            # the probability of the outcome less what was seen
            wrong = np.float32(1 / (1 + math.exp(min(zero - other, 80.0)))) - np.float32(labels[rows[i]])
            wrong = wrong / np.float32(batch)
            of_head_bias[0] -= wrong
            of_head_bias[1] += wrong
            for u in range(units):
                of_head[0, u] -= wrong * numbers[u]
                of_head[1, u] += wrong * numbers[u]
                numbers[u] = wrong * (head[1, u] - head[0, u]) if numbers[u] > nothing else nothing
                of_hidden_bias[u] += numbers[u]
        np.dot(seen.T, through, of_hidden)
        if frozen:
            _move(small[ends[4] :], small_slopes[ends[4] :], of_small[ends[4] :], rate, momentum, decay)
            continue
        # back to what each record added up, and to each distinct token
        np.dot(seen, hidden, back)
        of_spread[:count].fill(nothing)
        for i in range(batch):
            numbers, passes, averages = back[i], passed[step, i], mean[i]
            for u in range(units):
                numbers[u] = numbers[u] * louder if passes[u] else nothing
            for h in range(heads):
                less = nothing
                for u in range(h * size, (h + 1) * size):
                    summed[u] = numbers[u] * part[i, h]
                    less += summed[u] * averages[u]
                summed[units + h] = -less
            for k in place[first[i] : first[i + 1]]:
                slope = of_spread[k]
                for u in range(wide):
                    slope[u] += summed[u]
        for k in range(count):
            value, own, slope = values[k], spread[k], of_spread[k]
            for h in range(heads):
                more = slope[units + h]
                for u in range(h * size, (h + 1) * size):
                    more += slope[u] * value[u]
                    slope[u] *= own[units + h]
                slope[units + h] = more * own[units + h] * flat[k, h]
            for u in range(wide):
                of_spreading_bias[u] += slope[u]
        np.dot(of_spread[:count].T, features[:count], of_spreading)
        np.dot(of_spread[:count], spreading, of_features[:count])
        for k in range(count):
            slope, feature = of_features[k], features[k]
            for u in range(units):
                slope[u] = slope[u] if feature[u] > nothing else nothing
                of_bias[u] += slope[u]
        # the table, its dual and the other weights move
        if len(gram):
            for k in range(count):
                column, numbers = columns[k], gram[listed[k]]
                for t in range(known):
                    column[t] = numbers[t]
            np.dot(columns[:count].T, of_features[:count], moved)
        else:
            for t in range(known):
                numbers = moved[t]
                for u in range(units):
                    numbers[u] = -scale * shared * of_bias[u]
            for k in range(count):
                numbers, slope = moved[listed[k]], of_features[k]
                for u in range(units):
                    numbers[u] += scale * slope[u]
        for t in range(known):
            _move(table[t], of_table[t], moved[t], rate, momentum, decay)
        moved.fill(nothing)
        for k in range(count):
            numbers, slope = moved[listed[k]], of_features[k]
            for u in range(units):
                numbers[u] = slope[u]
        for t in range(known):
            _move(own_dual[t], of_dual[t], moved[t], rate, momentum, decay)
        left[1] = momentum * left[1] + decay * left[0]
        left[0] -= rate * (decay * left[0] + momentum * left[1])
        _move(small, small_slopes, of_small, rate, momentum, decay)
    dual[:], slopes[0], slopes[1] = own_dual.T, of_table.T, of_dual.T


SHAPE = Shape(
    read="features",
    body=("features_bias", "values", "scores", "values_bias", "scores_bias"),
    head=("head_hidden", "head_hidden_bias", "head", "head_bias"),
    pool=_pool,
    logits=_logits,
    steps=_steps,
)
