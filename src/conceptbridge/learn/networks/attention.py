"""Attention over a record's set of tokens: each token's share of the record is learned, head by head (multi-head
attention pooling: Lee et al. 2019, Set Transformer, section 3.2; bounded scores as in Ilse et al. 2018, section 2.4).

A token's features, scores and values depend on the token alone, so they are computed once for each distinct one.

Two modules train it: ``shares``, compiled, and ``multihead`` with PyTorch, which is imported only where tokens are too
many for that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conceptbridge.learn.networks import compiled
from conceptbridge.learn.networks.network import Network, Weights, first_weights, load, uniform
from conceptbridge.learn.networks.shares import SHAPE
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Run

__all__ = ["fit", "load", "predict", "tune"]


def fit(examples: Examples, runs: Sequence[Run]) -> Network:
    """Train one network a run from PyTorch's default initialisation."""
    drawn = [_draw(first_weights(run), examples.vectors.shape[1], run.settings) for run in runs]
    start = {name: np.stack([weights[name] for weights in drawn]) for name in drawn[0]}
    return _descend(start, examples, runs, False, ())[0]


def tune(
    source: Network, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
) -> tuple[Network, list[Network]]:
    """Go on from the source's members, one a run, all up to the pooled values frozen (``head_only``) or not.

    Returns the networks at their lowest loss, and those after each of ``depths``, shares of the steps, in their order.
    """
    return _descend(source.weights, examples, runs, head_only, depths)


def predict(network: Network, examples: Examples) -> Any:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    return compiled.predict(SHAPE, network.weights, examples)


def _descend(
    start: Weights, examples: Examples, runs: Sequence[Run], frozen: bool, depths: Sequence[float]
) -> tuple[Network, list[Network]]:
    if compiled.fits(examples):
        return compiled.descend(SHAPE, start, examples, runs, frozen, depths)
    from conceptbridge.learn.networks import multihead

    return multihead.descend(start, examples, runs, frozen, depths)


def _draw(rng: np.random.Generator, width: int, settings: Mapping[str, Any]) -> Weights:
    units, heads = settings["units"], settings["heads"]
    made = {}
    for name, inputs, outputs in (
        ("features", width, units),
        ("scores", units, heads),
        ("values", units, units),
        ("head_hidden", units, units),
        ("head", units, 2),
    ):
        for what, rows in ((name, inputs), (f"{name}_bias", 1)):
            made[what] = uniform(rng, (rows, outputs), inputs)
    return made
