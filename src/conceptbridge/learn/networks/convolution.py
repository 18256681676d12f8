"""The paper's network with PyTorch: filters of any width, a projection, vectors of any number of tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from conceptbridge.learn.networks import descent
from conceptbridge.learn.networks.descent import Shape, Tensors
from conceptbridge.learn.networks.network import Network, Weights
from conceptbridge.learn.networks.token_sets import Batch, bag_max
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Run


def descend(
    start: Weights, examples: Examples, runs: Sequence[Run], frozen: bool, depths: Sequence[float]
) -> tuple[Network, list[Network]]:
    """Take at most ``steps`` steps of each run from ``start``, the convolution ``frozen`` or not."""
    return descent.descend(_shape(start), start, examples, runs, frozen, depths)


def predict(network: Network, examples: Examples) -> Any:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    return descent.predict(_shape(network.weights), network, examples)


def _shape(weights: Mapping[str, object]) -> Shape:
    return Shape(_pool, _head, _body, _read, ordered=any(width > 1 for width in _widths(weights)))


def _widths(weights: Mapping[str, object]) -> list[int]:
    # in the order of numbers: that of the weights is another one once they were in a file
    return sorted(int(name.removeprefix("filters-")) for name in weights if name.startswith("filters-"))


def _body(weights: Mapping[str, object]) -> list[str]:
    return [name for name in weights if not name.startswith("head")]


def _read(weights: Mapping[str, object]) -> list[str]:
    return ["projection"] if "projection" in weights else [f"filters-{width}" for width in _widths(weights)]


def _pool(weights: Tensors, batch: Batch) -> torch.Tensor:
    projected = batch.through(weights["projection"]) if "projection" in weights else None
    filled = (batch.lengths > 0)[:, None]
    made = []
    for taps in _widths(weights):
        filters, bias = weights[f"filters-{taps}"], weights[f"filter_bias-{taps}"]
        if projected is None:
            each = [tokens for _, tokens in batch.through(filters)]
        else:
            each = [tokens @ filters[which] for which, tokens in projected]
        table = torch.cat([tokens.flatten(0, 1) for tokens in each])
        if taps == 1:
            highest = bag_max(table, batch.place, batch.begin)
        else:
            highest = bag_max(_windows(table, taps, batch), torch.arange(len(batch.place)), batch.begin)
        # the bias is the same at every place of the record, so it can wait until after the maximum
        biased = torch.relu(highest.view(len(bias), -1, highest.shape[1]) + bias)
        made.append(biased.flatten(0, 1) * filled)
    return torch.cat(made, dim=1)


def _windows(table: torch.Tensor, taps: int, batch: Batch) -> torch.Tensor:
    """The convolution of the window that begins at each token of each record: shape (tokens, filters)."""
    outside = len(table)
    parts = torch.cat([table, table.new_zeros(1, table.shape[1])]).view(outside + 1, taps, -1)
    count = len(batch.place)
    left = torch.repeat_interleave(batch.begin + batch.lengths, batch.lengths) - torch.arange(count)
    padded = torch.cat([batch.place, torch.full((taps,), outside)])
    return sum(  # type: ignore[return-value]
        parts[torch.where(left > tap, padded[tap : tap + count], outside), tap] for tap in range(taps)
    )


def _head(weights: Tensors, pooled: torch.Tensor) -> torch.Tensor:
    return torch.bmm(pooled, weights["head"]) + weights["head_bias"]
