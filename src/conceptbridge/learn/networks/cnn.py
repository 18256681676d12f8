"""The paper's network: a convolution over a record's tokens, ReLU, the maximum over the record, dropout and one linear
layer to two logits (arXiv 2409.13893).

Filters of width 1 see a record as a set; wider ones see its tokens in time order, with zeros after the last one. With
``projection`` the vectors first pass a trained linear layer of that many outputs.

Two modules train it: ``narrow``, compiled for what a study mostly asks for, filters of width 1 without projection, and
``convolution``, which does all of it with PyTorch; that is imported only where it is needed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conceptbridge.learn.networks import compiled, narrow
from conceptbridge.learn.networks.network import Network, Weights, first_weights, load, uniform
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Run

__all__ = ["fit", "load", "predict", "tune"]


def fit(examples: Examples, runs: Sequence[Run]) -> Network:
    """Train one network a run from PyTorch's default initialisation."""
    width = examples.vectors.shape[1]
    drawn = [_draw(first_weights(run), width, run.settings) for run in runs]
    start = {name: np.stack([weights[name] for weights in drawn]) for name in drawn[0]}
    return _descend(start, examples, runs, False, ())[0]


def tune(
    source: Network, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
) -> tuple[Network, list[Network]]:
    """Go on from the source's members, one a run, the convolution frozen (``head_only``) or not.

    Returns the networks at their lowest loss, and those after each of ``depths``, shares of the steps, in their order.
    """
    return _descend(source.weights, examples, runs, head_only, depths)


def predict(network: Network, examples: Examples) -> Any:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    if _is_narrow(network.weights):
        return compiled.predict(narrow.SHAPE, network.weights, examples)
    from conceptbridge.learn.networks import convolution

    return convolution.predict(network, examples)


def _descend(
    start: Weights, examples: Examples, runs: Sequence[Run], frozen: bool, depths: Sequence[float]
) -> tuple[Network, list[Network]]:
    if _is_narrow(start) and compiled.fits(examples):
        return compiled.descend(narrow.SHAPE, start, examples, runs, frozen, depths)
    from conceptbridge.learn.networks import convolution

    return convolution.descend(start, examples, runs, frozen, depths)


def _is_narrow(weights: Weights) -> bool:
    return set(weights) == {narrow.SHAPE.read, *narrow.SHAPE.body, *narrow.SHAPE.head}


def _draw(rng: np.random.Generator, width: int, settings: Mapping[str, Any]) -> Weights:
    """The taps of a filter lie side by side in ``filters-{width}``: (inputs, width x filters)."""
    filters, projection = settings["filters"], settings.get("projection", 0)
    made = {"projection": uniform(rng, (width, projection), width)} if projection else {}
    inputs = projection or width
    widths = settings.get("widths", [1])
    for taps in widths:
        made[f"filters-{taps}"] = uniform(rng, (inputs, taps * filters), inputs * taps)
        made[f"filter_bias-{taps}"] = uniform(rng, (1, filters), inputs * taps)
    pooled = filters * len(widths)
    made["head"], made["head_bias"] = uniform(rng, (pooled, 2), pooled), uniform(rng, (1, 2), pooled)
    return made
