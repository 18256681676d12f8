"""Attention over a record's set of tokens with PyTorch: vectors of any number of tokens."""

from collections.abc import Sequence

import torch

from conceptbridge.learn.networks import descent
from conceptbridge.learn.networks.descent import Shape, Tensors
from conceptbridge.learn.networks.network import Network, Weights
from conceptbridge.learn.networks.shares import BOUND
from conceptbridge.learn.networks.token_sets import Batch, bag_sum
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Run


def descend(
    start: Weights, examples: Examples, runs: Sequence[Run], frozen: bool, depths: Sequence[float]
) -> tuple[Network, list[Network]]:
    """Take at most ``steps`` steps of each run from ``start``, all up to the pooled values ``frozen`` or not."""
    return descent.descend(_SHAPE, start, examples, runs, frozen, depths)


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


_SHAPE = Shape(
    pool=_pool,
    head=_head,
    body=lambda weights: [name for name in weights if not name.startswith("head")],
    read=lambda weights: ["features"],
    ordered=False,
)
