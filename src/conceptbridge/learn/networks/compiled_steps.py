"""Steps of gradient descent, compiled: what they are given, and what the steps of all networks have in common."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.networks.network import Matrix

#: tokens whose vectors are multiplied at once: few enough for the processor's cache
BLOCK = 256

C = TypeVar("C", bound=Callable[..., Any])


def compiled(function: C) -> C:
    """``function`` as machine code, which is kept on disk where there is a place for it."""
    result: Any
    try:
        result = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither beside its file nor in the user's cache: compiled anew by every job
        result = numba.njit(error_model="numpy")(function)
    return cast(C, result)


class Batches(NamedTuple):
    """The rows of each step, (steps, batch), and which pooled features pass dropout, (steps, batch, features); those
    that pass are multiplied by ``keep_scale``."""

    rows: NDArray[np.int64]
    passed: NDArray[np.bool_]
    keep_scale: np.float32


class TableState(NamedTuple):
    """The weights that the tokens' vectors are multiplied by, and what moves with them, in place.

    With ``vectors`` (tokens, width) the steps move ``weights`` and ``weights_momentum``, (outputs, width); if vectors
    are at several ``places`` (tokens,), these have the outputs of one place after another, (places * outputs, width).
    Without them they move ``product`` (tokens, outputs) and ``dual`` (outputs, tokens), whose ``momenta`` are (2,
    outputs, tokens), by way of the ``gram`` matrix, or of ``scale * (identity - shared)`` where that is empty;
    ``decay`` is what weight decay leaves of the first weights, and its momentum. All is empty where the weights are
    frozen.
    """

    vectors: Matrix
    places: NDArray[np.int32]
    weights: Matrix
    weights_momentum: Matrix
    product: Matrix
    dual: Matrix
    momenta: Matrix
    decay: NDArray[np.float64]
    gram: Matrix
    scale: np.float32
    shared: np.float32


class OtherWeights(NamedTuple):
    """The other weights, one after another in one vector; ``ends``: where each of them ends."""

    values: Matrix
    momentum: Matrix
    ends: NDArray[np.int64]


class Sgd(NamedTuple):
    """Settings of torch.optim.SGD with Nesterov momentum."""

    learning_rate: np.float32
    momentum: np.float32
    weight_decay: np.float32


@compiled
def copy(numbers: Matrix, to: Matrix) -> None:
    """Write the ``numbers`` to another vector; an assignment takes numba seconds more to compile."""
    for k in range(len(numbers)):
        to[k] = numbers[k]


@compiled
def multiply_by(numbers: Matrix, factor: np.float32, to: Matrix) -> None:
    """Write the ``numbers`` times a factor to another vector."""
    for k in range(len(numbers)):
        to[k] = factor * numbers[k]


@compiled
def sgd_step(values: Matrix, momentum: Matrix, grad: Matrix, sgd: Sgd) -> None:
    """Move ``values`` and their ``momentum``, in place."""
    for k in range(len(values)):
        total = grad[k] + sgd.weight_decay * values[k]
        momentum[k] = sgd.momentum * momentum[k] + total
        values[k] -= sgd.learning_rate * (total + sgd.momentum * momentum[k])


@compiled
def decay_step(decay: NDArray[np.float64], sgd: Sgd) -> None:
    """Move ``decay``, what weight decay alone leaves of a weight, and its momentum, in place."""
    decay[1] = sgd.momentum * decay[1] + sgd.weight_decay * decay[0]
    decay[0] -= sgd.learning_rate * (sgd.weight_decay * decay[0] + sgd.momentum * decay[1])


@compiled
def multiply(listed: NDArray[np.int64], vectors: Matrix, weights: Matrix, out: Matrix) -> None:
    """Write the ``listed`` tokens' vectors times the weights, (outputs, width), to ``out``, (listed, outputs)."""
    block = np.empty((BLOCK, vectors.shape[1]), np.float32)
    for first in range(0, len(listed), BLOCK):
        some = block[: min(BLOCK, len(listed) - first)]
        for k in range(len(some)):
            copy(vectors[listed[first + k]], some[k])
        np.dot(some, weights.T, out[first : first + len(some)])


@compiled
def multiply_places(listed: NDArray[np.int64], table: TableState, out: Matrix) -> None:
    """The same of vectors at several places, to ``out``, (listed, outputs): those of a place that follow one another
    at once."""
    outputs = out.shape[1]
    block = np.empty((BLOCK, table.vectors.shape[1]), np.float32)
    first = 0
    while first < len(listed):
        place, size = table.places[listed[first]], 0
        while size < BLOCK and first + size < len(listed) and table.places[listed[first + size]] == place:
            copy(table.vectors[listed[first + size]], block[size])
            size += 1
        weights = table.weights[place * outputs : (place + 1) * outputs]
        np.dot(block[:size], weights.T, out[first : first + size])
        first += size
