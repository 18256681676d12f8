"""Attention over a record's set of tokens: each token's share of the record is learned, head by head (multi-head
attention pooling: Lee et al. 2019, Set Transformer, section 3.2; bounded scores as in Ilse et al. 2018, section 2.4).

A token's features, scores and values depend on the token alone, so they are computed once for each distinct one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from conceptbridge.learn import descent
from conceptbridge.learn.descent import Shape, Tensors
from conceptbridge.learn.examples import Examples
from conceptbridge.learn.network import Network, Weights, first_weights, load, uniform
from conceptbridge.learn.records import Batch, bag_sum
from conceptbridge.learn.runs import Run

__all__ = ["fit", "load", "predict", "tune"]

#: scores lie within this bound, so that no token's share is lost to rounding
BOUND = 8.0


def fit(examples: Examples, runs: Sequence[Run]) -> Network:
    """Train one network a run from PyTorch's default initialisation."""
    drawn = [_draw(first_weights(run), examples.vectors.shape[1], run.settings) for run in runs]
    start = {name: np.stack([weights[name] for weights in drawn]) for name in drawn[0]}
    return descent.descend(SHAPE, start, examples, runs, False, ())[0]


def tune(
    source: Network, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
) -> tuple[Network, list[Network]]:
    """Go on from the source's members, one a run, all up to the pooled values frozen (``head_only``) or not."""
    return descent.descend(SHAPE, source.weights, examples, runs, head_only, depths)


def predict(network: Network, examples: Examples) -> Any:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    return descent.predict(SHAPE, network, examples)


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


def _pool(weights: Tensors, batch: Batch) -> torch.Tensor:
    heads = weights["scores"].shape[2]
    size = weights["values"].shape[2] // heads
    tables = []
    for which, features in batch.through(weights["features"]):
        own = {name: tensor[which] for name, tensor in weights.items()}
        features = torch.relu(features + own["features_bias"])
        scores = BOUND * torch.tanh((features @ own["scores"] + own["scores_bias"]) / BOUND)
        share = torch.exp(scores)
        values = torch.unflatten(features @ own["values"] + own["values_bias"], 2, (heads, size))
        tables.append(torch.cat([(values * share[..., None]).flatten(2), share], dim=2).flatten(0, 1))
    summed = bag_sum(torch.cat(tables), batch.place, batch.begin)
    values, share = summed[:, :-heads], summed[:, -heads:, None]
    mean = values.view(len(summed), heads, size) / torch.where(share > 0, share, 1)
    return mean.flatten(1)


def _head(weights: Tensors, pooled: torch.Tensor) -> torch.Tensor:
    hidden = torch.relu(torch.bmm(pooled, weights["head_hidden"]) + weights["head_hidden_bias"])
    return torch.bmm(hidden, weights["head"]) + weights["head_bias"]


SHAPE = Shape(
    pool=_pool,
    head=_head,
    body=lambda weights: [name for name in weights if not name.startswith("head")],
    read=lambda weights: ["features"],
    ordered=False,
)
