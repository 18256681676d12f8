"""The paper's network: a convolution over a record's tokens, ReLU, the maximum over the record, dropout and one linear
layer to two logits (arXiv 2409.13893).

Filters of width 1 see a record as a set; wider ones see its tokens in time order, with zeros after the last one. With
``projection`` the vectors first pass a trained linear layer of that many outputs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from conceptbridge.learn import descent
from conceptbridge.learn.descent import Network, Shape, Weights, load
from conceptbridge.learn.examples import Examples
from conceptbridge.learn.records import Batch, bag_max
from conceptbridge.learn.runs import Run

__all__ = ["fit", "load", "predict", "tune"]


def fit(examples: Examples, runs: Sequence[Run]) -> Network:
    """Train one network a run from PyTorch's default initialisation."""
    return descent.fit(_shape(runs[0].settings["widths"]), examples, runs)


def tune(
    source: Network, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
) -> tuple[Network, list[Network]]:
    """Go on from the source's members, one a run, the convolution frozen (``head_only``) or not."""
    return descent.tune(_shape(_widths(source.weights)), source, examples, runs, head_only, depths)


def predict(network: Network, examples: Examples) -> Any:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    return descent.predict(_shape(_widths(network.weights)), network, examples)


def _shape(widths: Sequence[int]) -> Shape:
    return Shape(_draw, _pool, _head, _body, _read, ordered=any(width > 1 for width in widths))


def _widths(weights: Mapping[str, torch.Tensor]) -> list[int]:
    # in the order of numbers: that of the weights is another one once they were in a file
    return sorted(int(name.removeprefix("filters-")) for name in weights if name.startswith("filters-"))


def _body(weights: Weights) -> list[str]:
    return [name for name in weights if not name.startswith("head")]


def _read(weights: Weights) -> list[str]:
    return ["projection"] if "projection" in weights else [f"filters-{width}" for width in _widths(weights)]


def _draw(generator: torch.Generator, width: int, settings: Mapping[str, Any]) -> Weights:
    """As nn.Linear and nn.Conv1d do: uniform within 1 / sqrt(fan in). The taps of a filter lie side by side in
    ``filters-{width}``: (inputs, width x filters)."""

    def uniform(shape: tuple[int, int], fan_in: int) -> torch.Tensor:
        return (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(fan_in)

    filters, projection = settings["filters"], settings["projection"]
    made = {"projection": uniform((width, projection), width)} if projection else {}
    inputs = projection or width
    for taps in settings["widths"]:
        made[f"filters-{taps}"] = uniform((inputs, taps * filters), inputs * taps)
        made[f"filter_bias-{taps}"] = uniform((1, filters), inputs * taps)
    pooled = filters * len(settings["widths"])
    made["head"], made["head_bias"] = uniform((pooled, 2), pooled), uniform((1, 2), pooled)
    return made


def _pool(weights: Weights, batch: Batch) -> torch.Tensor:
    projected = batch.through(weights["projection"]) if "projection" in weights else None
    filled = (batch.lengths > 0)[:, None]
    runs = len(batch.distinct)
    made = []
    for taps in _widths(weights):
        filters, bias = weights[f"filters-{taps}"], weights[f"filter_bias-{taps}"]
        if projected is None:
            each = batch.through(filters)
        else:
            each = [tokens @ w for tokens, w in zip(projected, filters, strict=True)]
        table = torch.cat(each)
        if taps == 1:
            highest = bag_max(table, batch.place, batch.begin)
        else:
            highest = bag_max(_windows(table, taps, batch), torch.arange(len(batch.place)), batch.begin)
        # the bias is the same at every place of the record, so it can wait until after the maximum
        biased = torch.relu(highest.view(runs, -1, highest.shape[1]) + bias)
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


def _head(weights: Weights, pooled: torch.Tensor) -> torch.Tensor:
    return torch.bmm(pooled, weights["head"]) + weights["head_bias"]
