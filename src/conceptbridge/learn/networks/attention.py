"""Attention over a row's set of tokens, compiled: each token's share of the row is learned, head by head (multi-head
attention pooling: Lee et al. 2019, Set Transformer, section 3.2; bounded scores as in Ilse et al. 2018, section 2.4).

A token's features, scores and values depend on the token alone, so they are computed once for all rows of a batch.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401  # numba calls its BLAS: loaded here, so that the threads of that can be limited
from numpy.typing import NDArray

from conceptbridge.learn.networks.compiled_steps import (
    BLOCK,
    Batches,
    OtherWeights,
    Sgd,
    TableState,
    compiled,
    copy,
    decay_step,
    multiply,
    sgd_step,
)
from conceptbridge.learn.networks.gradient_descent import NetworkEngine
from conceptbridge.learn.networks.network import Matrix, Weights, uniform
from conceptbridge.learn.networks.token_sets import TokenSets, list_tokens, longest_batch
from conceptbridge.learn.search import Rows

#: scores lie within this bound, so that no token's share is lost to rounding
BOUND = 8.0


def _draw(rng: np.random.Generator, width: int, settings: Mapping[str, Any]) -> Weights:
    units, heads = settings["units"], settings["heads"]
    result = {}
    for name, inputs, outputs in (
        ("features", width, units),
        ("scores", units, heads),
        ("values", units, units),
        ("head_hidden", units, units),
        ("head", units, 2),
    ):
        for what, rows in ((name, inputs), (f"{name}_bias", 1)):
            result[what] = uniform(rng, (rows, outputs), inputs)
    return result


def _pool(weights: Weights, table: Matrix, sets: TokenSets, rows: Rows) -> Matrix:
    features = np.maximum(table + weights["features_bias"], np.float32(0))
    scores = BOUND * np.tanh((features @ weights["scores"] + weights["scores_bias"]) / BOUND)
    share = np.exp(scores)
    values = features @ weights["values"] + weights["values_bias"]
    spread = np.concatenate([np.repeat(share, values.shape[1] // share.shape[1], axis=1) * values, share], axis=1)
    return _means(rows, spread, share.shape[1], sets)


def _logits(weights: Weights, pooled: Matrix) -> Matrix:
    hidden = np.maximum(pooled @ weights["head_hidden"] + weights["head_hidden_bias"], np.float32(0))
    result: Matrix = hidden @ weights["head"] + weights["head_bias"]
    return result


@compiled
def _means(rows: Rows, spread: Matrix, heads: int, sets: TokenSets) -> Matrix:
    """A row's means of its tokens' values, zeros for a row without any; ``spread`` (tokens, units + heads) has, head by
    head, their shares of the values, and then their shares."""
    units = spread.shape[1] - heads
    result = np.zeros((len(rows), units), np.float32)
    summed = np.empty(units + heads, np.float32)
    for i in range(len(rows)):
        tokens = sets.tokens[sets.begin[rows[i]] : sets.begin[rows[i] + 1]]
        _mean(tokens, spread, summed, result[i], summed[units:])
    return result


@compiled
def _mean(positions: NDArray[np.int32], spread: Matrix, summed: Matrix, mean: Matrix, part: Matrix) -> None:
    """The same of one row, whose tokens are at ``positions``; ``part`` becomes 1 / the sum of shares, head by head."""
    units, heads = len(mean), len(part)
    size = units // heads
    summed.fill(np.float32(0))
    for position in positions:
        numbers = spread[position]
        for k in range(units + heads):
            summed[k] += numbers[k]
    for h in range(heads):
        total = summed[units + h]
        part[h] = np.float32(1) / total if total > np.float32(0) else np.float32(0)
        own, numbers = mean[h * size : (h + 1) * size], summed[h * size : (h + 1) * size]
        for u in range(size):
            own[u] = numbers[u] * part[h]


@compiled
def _take_steps(
    batches: Batches, sets: TokenSets, pooled: Matrix, table: TableState, others: OtherWeights, sgd: Sgd
) -> None:
    """The steps of ``ENGINE``."""
    steps, batch = batches.rows.shape
    units, ends = batches.passed.shape[2], others.ends
    heads = ends[4] - ends[3]
    size, wide = units // heads, units + heads
    frozen, by_vectors = len(pooled) > 0, len(table.vectors) > 0
    zero = np.float32(0)
    # the other weights, values and scores as one, and the gradients of the loss by them
    small, grad_small = others.values, np.zeros_like(others.values)
    bias, grad_bias = small[: ends[0]], grad_small[: ends[0]]
    spreading = small[ends[0] : ends[2]].reshape(wide, units)
    grad_spreading = grad_small[ends[0] : ends[2]].reshape(wide, units)
    spreading_bias, grad_spreading_bias = small[ends[2] : ends[4]], grad_small[ends[2] : ends[4]]
    hidden = small[ends[4] : ends[5]].reshape(units, units)
    grad_hidden = grad_small[ends[4] : ends[5]].reshape(units, units)
    hidden_bias, grad_hidden_bias = small[ends[5] : ends[6]], grad_small[ends[5] : ends[6]]
    head = small[ends[6] : ends[7]].reshape(2, units)
    grad_head = grad_small[ends[6] : ends[7]].reshape(2, units)
    head_bias, grad_head_bias = small[ends[7] :], grad_small[ends[7] :]
    # of the batch's rows
    first = np.zeros(batch + 1, np.int64)  # their tokens begin here among the batch's
    mean = np.empty((batch, units), np.float32)
    part = np.empty((batch, heads), np.float32)  # 1 / the sum of shares
    through = np.empty((batch, units), np.float32)
    seen = np.empty((batch, units), np.float32)
    back = np.empty((batch, units), np.float32)
    summed = np.empty(wide, np.float32)
    # of the batch's tokens, and of its distinct ones
    known = len(table.vectors) if by_vectors else len(table.product)
    longest = 0 if frozen else longest_batch(batches.rows, sets)
    most = min(known, longest)
    token_of = np.empty(longest, np.int32)
    position = np.empty(known, np.int32)
    listed = np.empty(known, np.int64)
    features = np.empty((most, units), np.float32)
    values = np.empty((most, wide), np.float32)  # and scores, before they are bounded
    flat = np.empty((most, heads), np.float32)  # the gradient of a score by what it was before
    spread = np.empty((most, wide), np.float32)
    grad_spread = np.empty((most, wide), np.float32)
    grad_features = np.empty((most, units), np.float32)
    # tokens first, unlike where they come from
    dual_T, product_momentum_T = np.ascontiguousarray(table.dual.T), np.ascontiguousarray(table.momenta[0].T)
    dual_momentum_T = np.ascontiguousarray(table.momenta[1].T)
    for step in range(steps):
        rows, count = batches.rows[step], 0
        grad_small.fill(zero)
        if frozen:
            for i in range(batch):
                copy(pooled[rows[i]], mean[i])
        else:
            count = list_tokens(rows, sets, listed, position)
            for i in range(batch):
                first[i + 1] = first[i]
                for token in sets.tokens[sets.begin[rows[i]] : sets.begin[rows[i] + 1]]:
                    token_of[first[i + 1]] = position[token]
                    first[i + 1] += 1
            # features, scores and values of each distinct token, and what a row adds up
            if by_vectors:
                multiply(listed[:count], table.vectors, table.weights, features)
            for k in range(count):
                feature, numbers = features[k], features[k] if by_vectors else table.product[listed[k]]
                for u in range(units):
                    feature[u] = max(numbers[u] + bias[u], zero)
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
                    numbers, weighted = value[h * size : (h + 1) * size], own[h * size : (h + 1) * size]
                    for u in range(size):
                        weighted[u] = own[units + h] * numbers[u]
            for i in range(batch):
                _mean(token_of[first[i] : first[i + 1]], spread, summed, mean[i], part[i])
        # the head, and its gradients
        for i in range(batch):
            numbers, passes, averages = through[i], batches.passed[step, i], mean[i]
            for u in range(units):
                numbers[u] = averages[u] * batches.keep_scale if passes[u] else zero
        np.dot(through, hidden.T, seen)
        for i in range(batch):
            numbers = seen[i]
            logit, other = head_bias[0], head_bias[1]
            for u in range(units):
                numbers[u] = max(numbers[u] + hidden_bias[u], zero)
                logit += numbers[u] * head[0, u]
                other += numbers[u] * head[1, u]
            # the probability of the outcome less what was seen
            wrong = np.float32(1 / (1 + math.exp(min(logit - other, 80.0)))) - np.float32(sets.labels[rows[i]])
            wrong = wrong / np.float32(batch)
            grad_head_bias[0] -= wrong
            grad_head_bias[1] += wrong
            for u in range(units):
                grad_head[0, u] -= wrong * numbers[u]
                grad_head[1, u] += wrong * numbers[u]
                numbers[u] = wrong * (head[1, u] - head[0, u]) if numbers[u] > zero else zero
                grad_hidden_bias[u] += numbers[u]
        np.dot(seen.T, through, grad_hidden)
        if frozen:
            sgd_step(small[ends[4] :], others.momentum[ends[4] :], grad_small[ends[4] :], sgd)
            continue
        # back to what each row added up, and to each distinct token
        np.dot(seen, hidden, back)
        grad_spread[:count].fill(zero)
        for i in range(batch):
            numbers, passes, averages = back[i], batches.passed[step, i], mean[i]
            for u in range(units):
                numbers[u] = numbers[u] * batches.keep_scale if passes[u] else zero
            for h in range(heads):
                less = zero
                for u in range(h * size, (h + 1) * size):
                    summed[u] = numbers[u] * part[i, h]
                    less += summed[u] * averages[u]
                summed[units + h] = -less
            for k in token_of[first[i] : first[i + 1]]:
                grad = grad_spread[k]
                for u in range(wide):
                    grad[u] += summed[u]
        for k in range(count):
            value, own, grad = values[k], spread[k], grad_spread[k]
            for h in range(heads):
                more = grad[units + h]
                for u in range(h * size, (h + 1) * size):
                    more += grad[u] * value[u]
                    grad[u] *= own[units + h]
                grad[units + h] = more * own[units + h] * flat[k, h]
            for u in range(wide):
                grad_spreading_bias[u] += grad[u]
        np.dot(grad_spread[:count].T, features[:count], grad_spreading)
        np.dot(grad_spread[:count], spreading, grad_features[:count])
        for k in range(count):
            grad, feature = grad_features[k], features[k]
            for u in range(units):
                grad[u] = grad[u] if feature[u] > zero else zero
                grad_bias[u] += grad[u]
        if by_vectors:
            _move_weights(table, listed[:count], grad_features, sgd)
        else:
            _move_table(
                table, dual_T, product_momentum_T, dual_momentum_T, listed[:count], grad_features, grad_bias, sgd
            )
        sgd_step(small, others.momentum, grad_small, sgd)
    for t in range(len(dual_T)):
        copy(dual_T[t], table.dual[:, t])
        copy(product_momentum_T[t], table.momenta[0, :, t])
        copy(dual_momentum_T[t], table.momenta[1, :, t])


@compiled
def _move_weights(table: TableState, listed: NDArray[np.int64], grad: Matrix, sgd: Sgd) -> None:
    """Move the weights by the vectors of the batch's tokens, whose features have the gradient ``grad``."""
    outputs, width = table.weights.shape
    block = np.empty((BLOCK, width), np.float32)
    grad_weights, more = np.zeros((outputs, width), np.float32), np.empty((outputs, width), np.float32)
    for first in range(0, len(listed), BLOCK):
        some = block[: min(BLOCK, len(listed) - first)]
        for k in range(len(some)):
            copy(table.vectors[listed[first + k]], some[k])
        np.dot(grad[first : first + len(some)].T, some, more)
        for u in range(outputs):
            for k in range(width):
                grad_weights[u, k] += more[u, k]
    for u in range(outputs):
        sgd_step(table.weights[u], table.weights_momentum[u], grad_weights[u], sgd)


@compiled
def _move_table(
    table: TableState,
    dual_T: Matrix,
    product_momentum_T: Matrix,
    dual_momentum_T: Matrix,
    listed: NDArray[np.int64],
    grad: Matrix,
    grad_all: Matrix,
    sgd: Sgd,
) -> None:
    """Move the product and the dual by the Gram matrix of the batch's tokens; ``grad_all`` is the sum of ``grad``."""
    known, units = dual_T.shape
    zero = np.float32(0)
    moved = np.empty((known, units), np.float32)
    if len(table.gram):
        columns = np.empty((len(listed), known), np.float32)
        for k in range(len(listed)):
            copy(table.gram[listed[k]], columns[k])
        np.dot(columns.T, grad[: len(listed)], moved)
    else:
        for t in range(known):
            numbers = moved[t]
            for u in range(units):
                numbers[u] = -table.scale * table.shared * grad_all[u]
        for k in range(len(listed)):
            numbers, more = moved[listed[k]], grad[k]
            for u in range(units):
                numbers[u] += table.scale * more[u]
    for t in range(known):
        sgd_step(table.product[t], product_momentum_T[t], moved[t], sgd)
    moved.fill(zero)
    for k in range(len(listed)):
        copy(grad[k], moved[listed[k]])
    for t in range(known):
        sgd_step(dual_T[t], dual_momentum_T[t], moved[t], sgd)
    decay_step(table.decay, sgd)


ENGINE = NetworkEngine(
    draw=_draw,
    read="features",
    body=("features_bias", "values", "scores", "values_bias", "scores_bias"),
    head=("head_hidden", "head_hidden_bias", "head", "head_bias"),
    pool=_pool,
    logits=_logits,
    take_steps=_take_steps,
)
