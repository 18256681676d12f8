"""Gradient descent of networks over sets of tokens: all runs of an arm in one batched computation.

A network is a body, which turns a record's tokens into one row of pooled features, and a head on top of them. Its
weights are tensors of shape (runs, inputs, outputs). Nothing is padded: the tokens of a batch lie one after another,
and what the body computes of a token alone is computed once for each distinct token of a run's batch.

The optimiser is SGD with Nesterov momentum and an L2 penalty. Its steps commute with a rotation of the vectors, so that
wide vectors of few tokens can be exchanged for their coordinates in the space that those tokens span.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from conceptbridge.learn.examples import Examples, OneHot
from conceptbridge.learn.runs import Run

logger = logging.getLogger(__name__)

Weights = dict[str, torch.Tensor]

#: rows whose logits are computed at once outside training
CHUNK = 4096
#: bags whose rows are compared at once
SIDE_BY_SIDE = 64


@dataclass(frozen=True)
class Network:
    """A trained network's weights, (runs, inputs, outputs) each, with the seed of each run, the step at which its
    weights were kept, and its loss on the rows that checked it; ``steps`` were computed for all runs together."""

    weights: Weights
    seeds: list[int]
    kept: list[int]
    losses: list[float]
    steps: int

    def take(self, members: Sequence[int]) -> "Network":
        """The network of these members, in this order."""
        at = list(members)
        return Network(
            {name: tensor[at] for name, tensor in self.weights.items()},
            [self.seeds[i] for i in at],
            [self.kept[i] for i in at],
            [self.losses[i] for i in at],
            self.steps,
        )

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``weights.safetensors`` to ``folder`` and return what model.json has to hold."""
        save_file({name: tensor.contiguous() for name, tensor in self.weights.items()}, folder / "weights.safetensors")
        return {"seeds": self.seeds, "kept": self.kept}


def load(folder: Path, description: Mapping[str, Any]) -> Network:
    """The network that ``Network.save`` wrote."""
    seeds = description["seeds"]
    return Network(load_file(folder / "weights.safetensors"), seeds, description["kept"], [math.nan] * len(seeds), 0)


@dataclass(frozen=True)
class Batch:
    """The records of a batch, each run's own: ``distinct`` are a run's tokens, ``place`` of each token of the records
    is its row among those of all runs one after another, ``begin`` where each record begins among these tokens."""

    vectors: torch.Tensor | OneHot
    distinct: list[torch.Tensor]
    place: torch.Tensor
    begin: torch.Tensor
    lengths: torch.Tensor

    def through(self, weight: torch.Tensor) -> list[torch.Tensor]:
        """Each run's distinct tokens times its ``weight`` (runs, width, outputs): shape (tokens, outputs) each."""
        if isinstance(self.vectors, OneHot):
            center, scale = self.vectors.center, self.vectors.scale
            return [(w[at] - center * w.sum(0)) * scale for at, w in zip(self.distinct, weight, strict=True)]
        return [self.vectors[at] @ w for at, w in zip(self.distinct, weight, strict=True)]


@dataclass(frozen=True)
class Shape:
    """What tells one kind of network from another.

    ``draw(generator, width, settings)`` makes the weights of one run; ``pool(weights, batch)`` the pooled features of
    all records of the batch, one run's after the other's, shape (records, features); ``head(weights, pooled)`` the two
    logits, from pooled features of shape (runs, records, features). ``body`` names the weights that pool, ``read``
    those among them that are multiplied by the vectors. ``ordered``: whether order and repetition of tokens matter.
    """

    draw: Callable[[torch.Generator, int, Mapping[str, Any]], Weights]
    pool: Callable[[Weights, Batch], torch.Tensor]
    head: Callable[[Weights, torch.Tensor], torch.Tensor]
    body: Callable[[Weights], list[str]]
    read: Callable[[Weights], list[str]]
    ordered: bool


class Records:
    """Examples as tensors; the tokens of record i are ``lengths[i]`` of ``tokens`` from ``offsets[i]`` on."""

    def __init__(self, examples: Examples, ordered: bool) -> None:
        self.vectors = examples.vectors if isinstance(examples.vectors, OneHot) else torch.from_numpy(examples.vectors)
        self.labels = torch.from_numpy(examples.labels.astype(np.int64))
        row_of, token, width = examples.row_of, examples.tokens, max(examples.vectors.shape[0], 1)
        if not ordered:  # a set has each token once
            row_of, token = np.divmod(np.unique(row_of * width + token), width)
        self.tokens = torch.from_numpy(token)
        self.lengths = torch.from_numpy(np.bincount(row_of, minlength=len(examples)))
        self.offsets = self.lengths.cumsum(0) - self.lengths

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, chosen: torch.Tensor) -> Batch:
        """The records ``chosen``, (runs, records)."""
        flat = chosen.flatten()
        lengths = self.lengths[flat]
        begin = lengths.cumsum(0) - lengths
        tokens = self.tokens[
            torch.arange(int(lengths.sum())) + torch.repeat_interleave(self.offsets[flat] - begin, lengths)
        ]
        distinct, place, rows = [], [], 0
        for of_run in tokens.split(lengths.view(chosen.shape).sum(1).tolist()):  # type: ignore[no-untyped-call]
            seen = torch.zeros(self.vectors.shape[0], dtype=torch.bool)
            seen[of_run] = True
            distinct.append(seen.nonzero()[:, 0])
            place.append((seen.cumsum(0) - 1 + rows)[of_run])
            rows += len(distinct[-1])
        return Batch(self.vectors, distinct, torch.cat(place), begin, lengths)

    def chunks(self, rows: NDArray[np.int64]) -> list[Batch]:
        """``rows`` as batches of one run, for what is computed outside training."""
        return [self.batch(torch.from_numpy(rows[i : i + CHUNK])[None]) for i in range(0, len(rows), CHUNK)]

    def span(self, rows: NDArray[np.int64]) -> torch.Tensor | None:
        """An orthonormal basis of the space that the tokens of ``rows`` span, (width, rank at most); vectors become
        their coordinates in it. None, and nothing changes, where the tokens are as many as the vectors are wide."""
        if isinstance(self.vectors, OneHot):
            return None
        used = self.batch(torch.from_numpy(rows)[None]).distinct[0]
        if len(used) >= self.vectors.shape[1]:
            return None
        basis: torch.Tensor = torch.linalg.qr(self.vectors[used].double().T).Q
        self.vectors = (self.vectors.double() @ basis).float()
        return basis.to(torch.float32)


def fit(shape: Shape, examples: Examples, runs: Sequence[Run]) -> Network:
    """Train one network a run from weights drawn with its seed, and keep each at its lowest loss on its checked
    rows."""
    width = examples.vectors.shape[1]
    drawn = [shape.draw(torch.Generator().manual_seed(run.seed), width, run.settings) for run in runs]
    start = {name: torch.stack([weights[name] for weights in drawn]) for name in drawn[0]}
    return descend(shape, start, examples, runs, list(start), ())[0]


def tune(
    shape: Shape, source: Network, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float]
) -> tuple[Network, list[Network]]:
    """Go on from the source's members, one a run, the body frozen (``head_only``) or not.

    Returns the networks at their lowest loss, and those after each of ``depths``, shares of the steps, in their order.
    """
    trained = [name for name in source.weights if not head_only or name not in shape.body(source.weights)]
    return descend(shape, source.weights, examples, runs, trained, depths)


def predict(shape: Shape, network: Network, examples: Examples) -> NDArray[np.float64]:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    records = Records(examples, shape.ordered)
    batches = records.chunks(np.arange(len(records)))
    made = np.empty((len(network.seeds), len(records)))
    for member in range(len(network.seeds)):
        weights = {name: tensor[[member]] for name, tensor in network.weights.items()}
        logits = _logits(shape, weights, batches)
        made[member] = torch.sigmoid((logits[:, 1] - logits[:, 0]).double()).numpy()
    return made


def descend(
    shape: Shape,
    start: Weights,
    examples: Examples,
    runs: Sequence[Run],
    trained: Sequence[str],
    depths: Sequence[float],
) -> tuple[Network, list[Network]]:
    """Take ``steps`` steps of each run from ``start``, training the weights named ``trained``.

    Learning rate, momentum, weight decay and dropout may differ between the runs; steps, batch and check_every are
    those of the first. Weights are kept at the lowest loss on the run's checked rows, ``start`` included, and at the
    end where there are none. A run's numbers do not depend on the others.
    """
    steps, batch, every = (runs[0].settings[key] for key in ("steps", "batch", "check_every"))
    learning_rate, momentum, decay = (
        torch.tensor([run.settings[key] for run in runs])[:, None, None]
        for key in ("learning_rate", "momentum", "weight_decay")
    )
    keep = 1 - torch.tensor([run.settings["dropout"] for run in runs])[:, None, None]
    records = Records(examples, shape.ordered)
    weights = {name: tensor.clone() for name, tensor in start.items()}
    generators = [torch.Generator().manual_seed(run.seed + 1_000_003) for run in runs]
    order = torch.stack([_order(run.part.train, steps * batch, g) for run, g in zip(runs, generators, strict=True)])
    frozen = not set(trained) & set(shape.body(weights))
    rows = np.unique(np.concatenate([np.concatenate([run.part.train, run.part.check]) for run in runs]))
    basis = None if frozen else records.span(rows)
    rest = Rest(weights, shape.read(weights), basis)
    pooled = _pool_once(shape, weights, records) if frozen else None
    checks = _checks(records, runs)
    velocity = {name: torch.zeros_like(weights[name]) for name in trained}
    lowest = _losses(shape, weights, records, runs, checks, pooled)
    best, kept = rest.whole(weights), [0] * len(runs)
    marks, marked = [round(depth * steps) for depth in depths], {0: best}
    which = torch.arange(len(runs))[:, None]
    for step in range(1, steps + 1):
        chosen = order[:, (step - 1) * batch : step * batch]
        leaves = {name: tensor.requires_grad_(name in velocity) for name, tensor in weights.items()}
        features = (
            shape.pool(leaves, records.batch(chosen)).view(*chosen.shape, -1)
            if pooled is None
            else pooled[which, chosen]
        )
        passed = torch.stack([torch.rand(features.shape[1:], generator=g) for g in generators]) < keep
        logits = shape.head(leaves, features * passed / keep)
        # the sum over runs of each run's mean, so that a run's gradient is its own
        loss = cross_entropy(logits.flatten(0, 1), records.labels[chosen].flatten(), reduction="sum") / batch
        slopes = torch.autograd.grad(loss, [leaves[name] for name in velocity])
        # torch.optim.SGD with Nesterov momentum, whose import alone takes longer than a tuning run
        with torch.no_grad():
            for (name, speed), slope in zip(velocity.items(), slopes, strict=True):
                slope = slope + decay * weights[name]
                speed.mul_(momentum).add_(slope)
                weights[name] = weights[name].detach() - learning_rate * (slope + momentum * speed)
            rest.step(learning_rate, momentum, decay)
            if step % every == 0 or step == steps:
                now = _losses(shape, weights, records, runs, checks, pooled)
                better = now <= lowest
                lowest = torch.where(better, now, lowest)
                whole = rest.whole(weights)
                best = {name: torch.where(better[:, None, None], whole[name], best[name]) for name in whole}
                kept = [step if b else k for b, k in zip(better.tolist(), kept, strict=True)]
            if step in marks:
                marked[step] = rest.whole(weights)
    logger.info("%d runs of %d steps, lowest validation losses %s", len(runs), steps, lowest.numpy().round(4))
    seeds = [run.seed for run in runs]
    made = Network(best, seeds, kept, lowest.tolist(), steps * len(runs))
    return made, [Network(marked[at], seeds, [at] * len(runs), [math.nan] * len(runs), 0) for at in marks]


class Rest:
    """What the weights that read the vectors have beside the span of the vectors: it meets none of the tokens that are
    trained on, only shrinks with the penalty, and is given back where the weights are to meet other tokens."""

    def __init__(self, weights: Weights, read: Sequence[str], basis: torch.Tensor | None) -> None:
        self.basis, self.beside = basis, {}
        self.factor, self.speed = torch.ones(1), torch.zeros(1)
        if basis is not None:
            for name in read:
                inside = basis.T @ weights[name]
                self.beside[name] = weights[name] - basis @ inside
                weights[name] = inside

    def step(self, learning_rate: torch.Tensor, momentum: torch.Tensor, decay: torch.Tensor) -> None:
        """The optimiser's step on it, whose only slope is the penalty's."""
        if self.basis is not None:
            slope = decay * self.factor
            self.speed = momentum * self.speed + slope
            self.factor = self.factor - learning_rate * (slope + momentum * self.speed)

    def whole(self, weights: Weights) -> Weights:
        """A copy of the weights as they meet any vector."""
        made = {name: tensor.detach().clone() for name, tensor in weights.items()}
        if self.basis is not None:
            for name, beside in self.beside.items():
                made[name] = self.basis @ made[name] + self.factor * beside
        return made


def bag_max(table: torch.Tensor, place: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
    """The maximum over each bag of rows of ``table``, zeros for an empty one: shape (bags, outputs)."""
    if table.requires_grad:
        made: torch.Tensor = _BagMax.apply(table, place, begin)  # type: ignore[no-untyped-call]
        return made
    # without a gradient nobody asks for the winners: bags of about the same length side by side take half the time
    lengths = torch.diff(begin, append=torch.tensor([len(place)]))
    made = table.new_zeros(len(begin), table.shape[1])
    filled = torch.argsort(lengths)[int((lengths == 0).sum()) :]
    for first in range(0, len(filled), SIDE_BY_SIDE):
        bags = filled[first : first + SIDE_BY_SIDE]
        nth = torch.arange(int(lengths[bags[-1]]))
        # a shorter bag repeats its last row
        at = place[begin[bags, None] + torch.minimum(nth, lengths[bags, None] - 1)]
        made[bags] = table.index_select(0, at.flatten()).view(*at.shape, -1).amax(dim=1)
    return made


class _BagMax(torch.autograd.Function):
    """torch's own gradient visits every row of every bag; only the winners have one."""

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, place: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
        made, _, _, winner = torch.embedding_bag(table, place, begin, False, 2)
        lengths = torch.diff(begin, append=torch.tensor([len(place)]))
        ctx.save_for_backward(winner * table.shape[1] + torch.arange(table.shape[1]), lengths > 0)
        ctx.shape = table.shape
        return made

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        at, filled = ctx.saved_tensors
        made = slope.new_zeros(ctx.shape).flatten()
        made.index_add_(0, at[filled].flatten(), slope[filled].flatten())
        return made.view(ctx.shape), None, None


def bag_sum(table: torch.Tensor, place: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
    """The sum over each bag of rows of ``table``: shape (bags, outputs)."""
    made: torch.Tensor = _BagSum.apply(table, place, begin)  # type: ignore[no-untyped-call]
    return made


class _BagSum(torch.autograd.Function):
    """torch's own gradient adds up in an order that depends on the other bags."""

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, place: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(place, torch.diff(begin, append=torch.tensor([len(place)])))
        ctx.shape = table.shape
        return torch.embedding_bag(table, place, begin, False, 0)[0]

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        place, lengths = ctx.saved_tensors
        made = slope.new_zeros(ctx.shape)
        return made.index_add_(0, place, torch.repeat_interleave(slope, lengths, dim=0)), None, None


def _order(rows: NDArray[np.int64], wanted: int, generator: torch.Generator) -> torch.Tensor:
    """Positions of the training rows, one permutation after another."""
    rounds = -(-wanted // len(rows))
    return torch.from_numpy(rows)[
        torch.cat([torch.randperm(len(rows), generator=generator) for _ in range(rounds)])[:wanted]
    ]


def _pool_once(shape: Shape, weights: Weights, records: Records) -> torch.Tensor:
    """The pooled features of all records, (runs, records, features): of a frozen body they never change."""
    with torch.no_grad():
        batches = records.chunks(np.arange(len(records)))
        runs = range(len(next(iter(weights.values()))))
        each = [{name: tensor[[run]] for name, tensor in weights.items()} for run in runs]
        return torch.stack([torch.cat([shape.pool(of_run, batch) for batch in batches]) for of_run in each])


def _checks(records: Records, runs: Sequence[Run]) -> dict[int, list[Batch]]:
    """The checked rows of each part, by its identity."""
    return {
        id(run.part): records.chunks(run.part.check)
        for run in {id(run.part): run for run in runs}.values()
        if len(run.part.check)
    }


def _losses(
    shape: Shape,
    weights: Weights,
    records: Records,
    runs: Sequence[Run],
    checks: Mapping[int, list[Batch]],
    pooled: torch.Tensor | None,
) -> torch.Tensor:
    """Mean cross-entropy of each run on its checked rows, (runs,); infinite where it has none, so that the last weights
    are kept."""
    made = torch.full((len(runs),), math.inf)
    with torch.no_grad():
        for i, run in enumerate(runs):
            if id(run.part) not in checks:
                continue
            own = {name: tensor[[i]] for name, tensor in weights.items()}
            check = torch.from_numpy(run.part.check)
            if pooled is None:
                logits = _logits(shape, own, checks[id(run.part)])
            else:
                logits = shape.head(own, pooled[[i]][:, check])[0]
            made[i] = cross_entropy(logits, records.labels[check])
    return made


def _logits(shape: Shape, weights: Weights, batches: Sequence[Batch]) -> torch.Tensor:
    """Logits of one run's weights, without dropout: shape (records, 2)."""
    with torch.no_grad():
        made = [shape.head(weights, shape.pool(weights, batch)[None])[0] for batch in batches]
        return torch.cat(made) if made else torch.empty((0, 2))
