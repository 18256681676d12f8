"""The paper's network: a convolution of width 1 over a record's tokens, ReLU, the maximum over the record, dropout and
one linear layer to two logits (arXiv 2409.13893). All seeds of an arm are trained in one batched computation.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy, embedding_bag

from conceptbridge.learn.examples import Examples

logger = logging.getLogger(__name__)

CONVOLUTION, HEAD = ("filters", "filter_bias"), ("head", "head_bias")


@dataclass(frozen=True)
class Network:
    """Weights of one network a seed: filters (seeds, width, filters), filter_bias (seeds, 1, filters),
    head (seeds, filters, 2), head_bias (seeds, 1, 2); ``spent`` is the step at which each seed's weights were kept."""

    weights: dict[str, torch.Tensor]
    seeds: list[int]
    spent: list[int]


class Records:
    """Examples as tensors; the distinct tokens of record i are ``lengths[i]`` of ``tokens`` from ``offsets[i]`` on.
    There is no padding that could be taken for a token."""

    def __init__(self, examples: Examples) -> None:
        self.vectors = torch.from_numpy(examples.vectors)
        self.labels = torch.from_numpy(examples.labels.astype(np.int64))
        row_of = np.repeat(np.arange(len(examples)), examples.lengths)
        # the maximum over a record does not see how often a token is in it
        row_of, token = np.divmod(np.unique(row_of * len(examples.vectors) + examples.tokens), len(examples.vectors))
        self.tokens = torch.from_numpy(token)
        self.lengths = torch.from_numpy(np.bincount(row_of, minlength=len(examples)))
        self.offsets = self.lengths.cumsum(0) - self.lengths

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of ``rows`` one after another, and where each row begins among them."""
        lengths = self.lengths[rows]
        begin = lengths.cumsum(0) - lengths
        shift = torch.repeat_interleave(self.offsets[rows] - begin, lengths)
        return self.tokens[torch.arange(len(shift)) + shift], begin


def fit(train: Examples, validation: Examples, settings: Mapping[str, Any], seeds: Sequence[int]) -> Network:
    """Train one network a seed from PyTorch's default initialisation, and keep each at its lowest validation loss."""
    width, filters = train.vectors.shape[1], settings["filters"]
    drawn: dict[str, list[torch.Tensor]] = {name: [] for name in CONVOLUTION + HEAD}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for name, shape, fan_in in (
            ("filters", (width, filters), width),
            ("filter_bias", (1, filters), width),
            ("head", (filters, 2), filters),
            ("head_bias", (1, 2), filters),
        ):
            # nn.Conv1d and nn.Linear: uniform within 1 / sqrt(fan in)
            drawn[name].append((torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(fan_in))
    start = Network({name: torch.stack(tensors) for name, tensors in drawn.items()}, list(seeds), [0] * len(seeds))
    return _descend(
        start, train, validation, settings, settings["learning_rate"], settings["steps"], CONVOLUTION + HEAD
    )


def tune(
    source: Network, train: Examples, validation: Examples, settings: Mapping[str, Any], head_only: bool
) -> Network:
    """Go on from the source's weights on the target's rows, the convolution frozen (``head_only``) or not."""
    trained = HEAD if head_only else CONVOLUTION + HEAD
    rate, steps = settings["tune_learning_rate"], settings["tune_steps"]
    return _descend(source, train, validation, settings, rate, steps, trained)


def predict(network: Network, examples: Examples) -> NDArray[np.float64]:
    """Probability of the outcome: shape (seeds, rows), in the rows' order."""
    if len(examples) == 0:
        return np.empty((len(network.seeds), 0))
    logits = _logits(network.weights, Records(examples))
    return torch.sigmoid((logits[..., 1] - logits[..., 0]).double()).numpy()


def save(network: Network, folder: Path) -> dict[str, Any]:
    """Write ``weights.safetensors`` to ``folder`` and return what model.json has to hold."""
    save_file(
        {name: tensor.contiguous() for name, tensor in network.weights.items()},
        folder / "weights.safetensors",
    )
    return {"seeds": network.seeds, "spent": network.spent}


def load(folder: Path, description: Mapping[str, Any]) -> Network:
    """The network that ``save`` wrote."""
    return Network(load_file(folder / "weights.safetensors"), description["seeds"], description["spent"])


def _descend(
    start: Network,
    train: Examples,
    validation: Examples,
    settings: Mapping[str, Any],
    learning_rate: float,
    steps: int,
    trained: Sequence[str],
) -> Network:
    """Stochastic gradient descent; ``check_every`` steps the validation loss decides which weights to keep."""
    seeds, batch, keep = start.seeds, settings["batch"], 1 - settings["dropout"]
    records, checked = Records(train), Records(validation)
    weights = {name: tensor.clone().requires_grad_(name in trained) for name, tensor in start.weights.items()}
    velocity = {name: torch.zeros_like(start.weights[name]) for name in trained}
    generators = [torch.Generator().manual_seed(seed + 1_000_003) for seed in seeds]
    order = torch.stack([_order(len(records), steps * batch, generator) for generator in generators])
    best = {name: tensor.detach().clone() for name, tensor in weights.items()}
    lowest, spent = _loss(best, checked), [0] * len(seeds)
    for step in range(1, steps + 1):
        chosen = order[:, (step - 1) * batch : step * batch]
        dropout = torch.stack([torch.rand((batch, settings["filters"]), generator=g) for g in generators]) < keep
        logits = _batch_logits(weights, records, chosen, dropout / keep)
        # the sum over seeds of each seed's mean, so that a seed's gradient is its own
        loss = cross_entropy(logits.flatten(0, 1), records.labels[chosen].flatten(), reduction="sum") / batch
        slopes = torch.autograd.grad(loss, [weights[name] for name in trained])
        # torch.optim.SGD with Nesterov momentum, whose import alone takes longer than a tuning run
        with torch.no_grad():
            for name, slope in zip(trained, slopes, strict=True):
                slope = slope.add(weights[name], alpha=settings["weight_decay"])
                velocity[name].mul_(settings["momentum"]).add_(slope)
                weights[name].sub_(slope.add_(velocity[name], alpha=settings["momentum"]), alpha=learning_rate)
        if step % settings["check_every"] == 0 or step == steps:
            now = _loss(weights, checked)
            better = now <= lowest
            lowest = torch.where(better, now, lowest)
            for name, tensor in weights.items():
                best[name] = torch.where(better[:, None, None], tensor.detach(), best[name])
            spent = [step if b else s for b, s in zip(better.tolist(), spent, strict=True)]
            logger.info("step %d of %d, validation loss %s", step, steps, " ".join(f"{x:.4f}" for x in now.tolist()))
    return Network(best, seeds, spent)


def _order(rows: int, wanted: int, generator: torch.Generator) -> torch.Tensor:
    """Positions of the training rows, one permutation after another."""
    rounds = -(-wanted // rows)
    return torch.cat([torch.randperm(rows, generator=generator) for _ in range(rounds)])[:wanted]


def _batch_logits(
    weights: Mapping[str, torch.Tensor], records: Records, chosen: torch.Tensor, dropout: torch.Tensor
) -> torch.Tensor:
    """Logits of each seed's own batch: ``chosen`` (seeds, batch), ``dropout`` (seeds, batch, filters)."""
    tokens, begin = records.of(chosen.flatten())
    # the convolution is applied to the distinct tokens of the batch, not to every occurrence
    distinct, place = torch.unique(tokens, return_inverse=True)
    features = _features(weights, records.vectors[distinct])
    # the features of all seeds in one table: the batch of each seed looks up its own part
    first = begin.view(chosen.shape)[1:, 0].contiguous()
    seed = torch.bucketize(torch.arange(len(tokens)), first, right=True)
    pooled = embedding_bag(place + seed * len(distinct), features.flatten(0, 1), begin, mode="max")
    return _head(weights, pooled.view(dropout.shape) * dropout)


def _features(weights: Mapping[str, torch.Tensor], vectors: torch.Tensor) -> torch.Tensor:
    """ReLU of the convolution at each token: shape (seeds, tokens, filters). It is never below zero, which is what a
    record without any token is given."""
    return torch.relu(torch.matmul(vectors, weights["filters"]) + weights["filter_bias"])


def _head(weights: Mapping[str, torch.Tensor], pooled: torch.Tensor) -> torch.Tensor:
    return torch.bmm(pooled, weights["head"]) + weights["head_bias"]


def _logits(weights: Mapping[str, torch.Tensor], records: Records) -> torch.Tensor:
    """Logits of all records, without dropout: shape (seeds, rows, 2)."""
    with torch.no_grad():
        features = _features(weights, records.vectors)
        pooled = [embedding_bag(records.tokens, table, records.offsets, mode="max") for table in features]
        return _head(weights, torch.stack(pooled))


def _loss(weights: Mapping[str, torch.Tensor], records: Records) -> torch.Tensor:
    """Mean cross-entropy of each seed: shape (seeds,); infinite where there is no row to look at, so that the last
    weights are kept."""
    if len(records) == 0:
        return torch.full((len(weights["head"]),), math.inf)
    logits = _logits(weights, records)
    labels = records.labels.expand(len(logits), -1)
    return cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(dim=1)
