"""The paper's network, compiled: a convolution over a row's tokens, ReLU, the maximum over the row, dropout and one
linear layer to two logits (arXiv 2409.13893).

Where vectors are in windows, a filter reads all of them alike and has a maximum in each; the linear layer tells them
apart. One-hot, a filter has a weight per token and window, and one maximum: a maximum in each was no better.
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


def _draw(rng: np.random.Generator, width: int, windows: int, settings: Mapping[str, Any]) -> Weights:
    filters = settings["filters"]
    outputs = windows * filters
    return {
        FILTERS: uniform(rng, (width, filters), width),
        BIAS: uniform(rng, (1, filters), width),
        "head": uniform(rng, (outputs, 2), outputs),
        "head_bias": uniform(rng, (1, 2), outputs),
    }


def _pool(weights: Weights, table: Matrix, sets: TokenSets, rows: Rows) -> Matrix:
    return _highest(rows, table, weights[BIAS][0], sets)


def _logits(weights: Weights, pooled: Matrix) -> Matrix:
    result: Matrix = pooled @ weights["head"] + weights["head_bias"]
    return result


@compiled
def _highest(rows: Rows, table: Matrix, bias: Matrix, sets: TokenSets) -> Matrix:
    """ReLU of the highest number of each filter among a row's tokens in a window, one window after another; zeros for
    a window without any: (rows, windows * filters)."""
    filters = table.shape[1]
    result = np.zeros((len(rows), sets.windows * filters), np.float32)
    for i in range(len(rows)):
        for w in range(sets.windows):
            k = rows[i] * sets.windows + w
            first, end = sets.begin[k], sets.begin[k + 1]
            if first == end:
                continue
            best = result[i, w * filters : (w + 1) * filters]
            multiply_by(table[sets.tokens[first]], sets.weights[first], best)
            for at in range(first + 1, end):
                numbers, weight = table[sets.tokens[at]], sets.weights[at]
                for f in range(filters):
                    number = weight * numbers[f]
                    best[f] = number if number > best[f] else best[f]
            for f in range(filters):
                best[f] = max(best[f] + bias[f], np.float32(0))
    return result


@compiled
def _take_steps(
    batches: Batches, sets: TokenSets, pooled: Matrix, table: TableState, others: OtherWeights, sgd: Sgd
) -> None:
    """The steps of ``ENGINE``; of the other weights the filters' bias comes first, then what the first logit
    weighs, then the second."""
    steps, batch = batches.rows.shape
    outputs = batches.passed.shape[2]  # those of the filters in one window after another
    windows = sets.windows
    filters = outputs // windows
    frozen, by_vectors = len(pooled) > 0, len(table.vectors) > 0
    zero = np.float32(0)
    small, grad_small = others.values, np.empty_like(others.values)
    highest = np.empty((batch, outputs), np.float32)
    winner = np.zeros((batch, outputs), np.int32)  # the position of its token, and that token's weight
    weight_of = np.ones((batch, outputs), np.float32)
    grad = np.empty((batch, outputs), np.float32)  # of the loss, by what a filter's maximum is
    through = np.empty(outputs, np.float32)
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
            if frozen:
                copy(pooled[row], highest[i])
            else:
                for w in range(windows):
                    here = slice(w * filters, (w + 1) * filters)
                    best, won, by_weight = highest[i, here], winner[i, here], weight_of[i, here]
                    first, end = sets.begin[row * windows + w], sets.begin[row * windows + w + 1]
                    if first == end:
                        best.fill(zero)
                        continue
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
            for k in range(outputs):
                through[k] = highest[i, k] * batches.keep_scale if passed[i, k] else zero
            logit, other = small[filters + 2 * outputs], small[filters + 2 * outputs + 1]
            for k in range(outputs):
                logit += through[k] * small[filters + k]
                other += through[k] * small[filters + outputs + k]
            # the probability of the outcome less what was seen
            wrong = np.float32(1 / (1 + math.exp(min(logit - other, 80.0)))) - np.float32(sets.labels[row])
            wrong = wrong / np.float32(batch)
            grad_small[filters + 2 * outputs] -= wrong
            grad_small[filters + 2 * outputs + 1] += wrong
            back, into = grad[i], wrong * batches.keep_scale
            for k in range(outputs):
                grad_small[filters + k] -= wrong * through[k]
                grad_small[filters + outputs + k] += wrong * through[k]
                apart = small[filters + outputs + k] - small[filters + k]
                back[k] = into * apart if through[k] > zero else zero
            for w in range(windows):
                of_window = back[w * filters : (w + 1) * filters]
                for f in range(filters):
                    grad_small[f] += of_window[f]
            for k in range(outputs):
                back[k] *= weight_of[i, k]
        trained = others.ends[0] if frozen else 0
        sgd_step(small[trained:], others.momentum[trained:], grad_small[trained:], sgd)
        if by_vectors:
            _move_weights(table, filters, listed, winner, grad, sgd)
        elif not frozen:
            _move_table(table, table_T, winner, grad, sgd)


@compiled
def _move_weights(
    table: TableState, filters: int, listed: NDArray[np.int64], winner: NDArray[np.int32], grad: Matrix, sgd: Sgd
) -> None:
    """Move the weights by the vectors of the tokens that won."""
    zero = np.float32(0)
    grad_filter = np.empty((len(table.weights) // filters, table.vectors.shape[1]), np.float32)
    for f in range(filters):
        grad_filter.fill(zero)
        for i in range(len(grad)):
            for at in range(f, grad.shape[1], filters):
                more = grad[i, at]
                if more != zero:
                    token = listed[winner[i, at]]
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
    listed = np.empty(grad.size, np.int64)
    grad_tokens = np.zeros(known, np.float32)
    moved = np.empty(known, np.float32)
    decay_step(table.decay, sgd)
    for f in range(filters):
        count = 0
        together = zero
        for i in range(len(grad)):
            for at in range(f, grad.shape[1], filters):
                if grad[i, at] != zero:
                    token = winner[i, at]
                    if not is_listed[token]:
                        is_listed[token] = True
                        listed[count] = token
                        count += 1
                    grad_tokens[token] += grad[i, at]
                    together += grad[i, at]
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
