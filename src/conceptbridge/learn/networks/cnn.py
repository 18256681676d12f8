"""The paper's network, compiled: a convolution over a row's tokens, ReLU, the maximum over the row, dropout and one
linear layer to two logits (arXiv 2409.13893).

Its filters have width 1, so a row is a set of tokens, and all that a filter does with a token is one number of the
token table. What a step adds to a filter is a sum of vectors: those of the tokens that were its maximum in a row of the
batch.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.networks.compiled_steps import (
    Batches,
    OtherWeights,
    Sgd,
    TableState,
    compiled,
    copy,
    decay_step,
    multiply_by,
    multiply_places,
    sgd_step,
)
from conceptbridge.learn.networks.gradient_descent import NetworkEngine
from conceptbridge.learn.networks.network import Matrix, Weights, uniform
from conceptbridge.learn.networks.token_sets import TokenSets, list_tokens, longest_batch
from conceptbridge.learn.search import Rows

FILTERS, BIAS = "filters-1", "filter_bias-1"


def _draw(rng: np.random.Generator, width: int, settings: Mapping[str, Any]) -> Weights:
    filters = settings["filters"]
    return {
        FILTERS: uniform(rng, (width, filters), width),
        BIAS: uniform(rng, (1, filters), width),
        "head": uniform(rng, (filters, 2), filters),
        "head_bias": uniform(rng, (1, 2), filters),
    }


def _pool(weights: Weights, table: Matrix, sets: TokenSets, rows: Rows) -> Matrix:
    return _highest(rows, table, weights[BIAS][0], sets)


def _logits(weights: Weights, pooled: Matrix) -> Matrix:
    result: Matrix = pooled @ weights["head"] + weights["head_bias"]
    return result


@compiled
def _highest(rows: Rows, table: Matrix, bias: Matrix, sets: TokenSets) -> Matrix:
    """ReLU of the highest number of each filter among a row's tokens; zeros for a row without any."""
    result = np.zeros((len(rows), table.shape[1]), np.float32)
    for i in range(len(rows)):
        first, end = sets.begin[rows[i]], sets.begin[rows[i] + 1]
        if first == end:
            continue
        best = result[i]
        multiply_by(table[sets.tokens[first]], sets.weights[first], best)
        for at in range(first + 1, end):
            numbers, weight = table[sets.tokens[at]], sets.weights[at]
            for f in range(len(best)):
                number = weight * numbers[f]
                best[f] = number if number > best[f] else best[f]
        for f in range(len(best)):
            best[f] = max(best[f] + bias[f], np.float32(0))
    return result


@compiled
def _take_steps(
    batches: Batches, sets: TokenSets, pooled: Matrix, table: TableState, others: OtherWeights, sgd: Sgd
) -> None:
    """The steps of ``ENGINE``; of the other weights the filters' bias comes first, then what the first logit
    weighs, then the second."""
    steps, batch = batches.rows.shape
    filters = batches.passed.shape[2]
    frozen, by_vectors = len(pooled) > 0, len(table.vectors) > 0
    zero = np.float32(0)
    small, grad_small = others.values, np.empty_like(others.values)
    highest = np.empty((batch, filters), np.float32)
    winner = np.empty((batch, filters), np.int32)  # the position of its token, and that token's weight
    weight_of = np.ones((batch, filters), np.float32)
    grad = np.empty((batch, filters), np.float32)  # of the loss, by what a filter's maximum is
    through = np.empty(filters, np.float32)
    # the product of a batch's tokens, or of all
    known = len(table.vectors) if by_vectors else len(table.product)
    product, listed, position = table.product, np.arange(known), np.arange(known).astype(np.int32)
    if by_vectors:
        product = np.empty((min(known, longest_batch(batches.rows, sets)), filters), np.float32)
    table_T = table.product.T.copy()
    for step in range(steps):
        rows, passed = batches.rows[step], batches.passed[step]
        if by_vectors:
            count = list_tokens(rows, sets, listed, position)
            multiply_places(listed[:count], table, product)
        grad_small.fill(zero)
        for i in range(batch):
            row = rows[i]
            best, won, by_weight = highest[i], winner[i], weight_of[i]
            first, end = sets.begin[row], sets.begin[row + 1]
            if frozen:
                copy(pooled[row], best)
            elif first == end:
                best.fill(zero)
            else:
                at_first = position[sets.tokens[first]]
                multiply_by(product[at_first], sets.weights[first], best)
                won.fill(at_first)
                by_weight.fill(sets.weights[first])
                for at in range(first + 1, end):
                    token, weight = position[sets.tokens[at]], sets.weights[at]
                    numbers = product[token]
                    for f in range(filters):
                        number = weight * numbers[f]
                        better = number > best[f]
                        best[f] = number if better else best[f]
                        won[f] = token if better else won[f]
                        by_weight[f] = weight if better else by_weight[f]
                for f in range(filters):
                    best[f] = max(best[f] + small[f], zero)
            for f in range(filters):
                through[f] = best[f] * batches.keep_scale if passed[i, f] else zero
            logit, other = small[3 * filters], small[3 * filters + 1]
            for f in range(filters):
                logit += through[f] * small[filters + f]
                other += through[f] * small[2 * filters + f]
            # the probability of the outcome less what was seen
            wrong = np.float32(1 / (1 + math.exp(min(logit - other, 80.0)))) - np.float32(sets.labels[row])
            wrong = wrong / np.float32(batch)
            grad_small[3 * filters] -= wrong
            grad_small[3 * filters + 1] += wrong
            back, into = grad[i], wrong * batches.keep_scale
            for f in range(filters):
                grad_small[filters + f] -= wrong * through[f]
                grad_small[2 * filters + f] += wrong * through[f]
                back[f] = into * (small[2 * filters + f] - small[filters + f]) if through[f] > zero else zero
                grad_small[f] += back[f]
                back[f] *= by_weight[f]
        trained = others.ends[0] if frozen else 0
        sgd_step(small[trained:], others.momentum[trained:], grad_small[trained:], sgd)
        if by_vectors:
            _move_weights(table, listed, winner, grad, sgd)
        elif not frozen:
            _move_table(table, table_T, winner, grad, sgd)


@compiled
def _move_weights(
    table: TableState, listed: NDArray[np.int64], winner: NDArray[np.int32], grad: Matrix, sgd: Sgd
) -> None:
    """Move the weights by the vectors of the tokens that won."""
    zero = np.float32(0)
    filters = grad.shape[1]
    grad_filter = np.empty((len(table.weights) // filters, table.vectors.shape[1]), np.float32)
    for f in range(filters):
        grad_filter.fill(zero)
        for i in range(len(grad)):
            more = grad[i, f]
            if more != zero:
                token = listed[winner[i, f]]
                vector, of_place = table.vectors[token], grad_filter[table.places[token]]
                for k in range(len(vector)):
                    of_place[k] += more * vector[k]
        for place in range(len(grad_filter)):
            at = place * filters + f
            sgd_step(table.weights[at], table.weights_momentum[at], grad_filter[place], sgd)


@compiled
def _move_table(table: TableState, table_T: Matrix, winner: NDArray[np.int32], grad: Matrix, sgd: Sgd) -> None:
    """Move the product, its transpose ``table_T`` and the dual by the Gram matrix of the tokens that won."""
    filters, known = table_T.shape
    zero = np.float32(0)
    is_listed = np.zeros(known, np.bool_)
    listed = np.empty(len(grad), np.int64)
    grad_tokens = np.zeros(known, np.float32)
    moved = np.empty(known, np.float32)
    decay_step(table.decay, sgd)
    for f in range(filters):
        count = 0
        together = zero
        for i in range(len(grad)):
            if grad[i, f] != zero:
                token = winner[i, f]
                if not is_listed[token]:
                    is_listed[token] = True
                    listed[count] = token
                    count += 1
                grad_tokens[token] += grad[i, f]
                together += grad[i, f]
        if len(table.gram):
            moved.fill(zero)
            for k in range(count):
                more, column = grad_tokens[listed[k]], table.gram[listed[k]]
                for t in range(known):
                    moved[t] += more * column[t]
        else:
            moved.fill(-table.scale * table.shared * together)
            for k in range(count):
                moved[listed[k]] += table.scale * grad_tokens[listed[k]]
        sgd_step(table_T[f], table.momenta[0, f], moved, sgd)
        sgd_step(table.dual[f], table.momenta[1, f], grad_tokens, sgd)
        for k in range(count):
            grad_tokens[listed[k]] = zero
            is_listed[listed[k]] = False
    # back to tokens first, some filters at a time
    for start in range(0, filters, 16):
        for t in range(known):
            for f in range(start, min(start + 16, filters)):
                table.product[t, f] = table_T[f, t]


ENGINE = NetworkEngine(
    draw=_draw,
    read=FILTERS,
    body=(BIAS,),
    head=("head", "head_bias"),
    pool=_pool,
    logits=_logits,
    take_steps=_take_steps,
    # the highest number of a row tells: a mean of many tokens has none (docs/translation.md)
    sharpness=3,
)
