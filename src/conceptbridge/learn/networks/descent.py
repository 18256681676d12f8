"""Gradient descent of networks over sets of tokens: all runs of an arm in one batched computation.

A network is a body, which turns a record's tokens into one row of pooled features, and a head on top of them. Its
weights are tensors of shape (runs, inputs, outputs). Nothing is padded: the tokens of a batch lie one after another,
and what the body computes of a token alone is computed once for each distinct token of a run's batch.

The optimiser is SGD with Nesterov momentum and an L2 penalty. All that it ever adds to weights that read the vectors is
a sum of those vectors, and the penalty shrinks. Where tokens are fewer than the vectors are wide, such weights are kept
as ``left * start + vectors' @ dual``: what the tokens become, ``left * vectors @ start + gram @ dual``, then needs
the Gram matrix of the tokens alone, once a step, and the slope of ``dual`` is that of the tokens themselves.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from conceptbridge.learn.networks.network import Network, Weights, logger, passing
from conceptbridge.learn.networks.token_sets import Batch, Records
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Run

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Shape:
    """What tells one kind of network from another.

    ``pool(weights, batch)`` makes the pooled features of all records of the batch, one run's after the other's, shape
    (records, features); ``head(weights, pooled)`` the two logits, from pooled features of shape (runs, records,
    features). ``body`` names the weights that pool, ``read`` those among them that are multiplied by the vectors.
    ``ordered``: whether order and repetition of tokens matter.
    """

    pool: Callable[[Tensors, Batch], torch.Tensor]
    head: Callable[[Tensors, torch.Tensor], torch.Tensor]
    body: Callable[[Mapping[str, object]], list[str]]
    read: Callable[[Mapping[str, object]], list[str]]
    ordered: bool


def predict(shape: Shape, network: Network, examples: Examples) -> NDArray[np.float64]:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    records = Records(examples, shape.ordered)
    batches = records.chunks(np.arange(len(records)))
    made = np.empty((len(network.seeds), len(records)))
    for member in range(len(network.seeds)):
        weights = {name: torch.from_numpy(array[[member]]) for name, array in network.weights.items()}
        logits = _logits(shape, weights, batches)
        made[member] = torch.sigmoid((logits[:, 1] - logits[:, 0]).double()).numpy()
    return made


def descend(
    shape: Shape,
    start: Weights,
    examples: Examples,
    runs: Sequence[Run],
    frozen: bool,
    depths: Sequence[float],
) -> tuple[Network, list[Network]]:
    """Take at most ``steps`` steps of each run from ``start``, the body ``frozen`` or not.

    Every ``check_every`` steps a run's loss on its checked rows is looked at; its weights are kept where that is
    lowest, ``start`` included, or at the end where there are no such rows. After ``patience`` steps without a lower one
    it is over. Learning rate, momentum, weight decay and dropout may differ between the runs, other settings are those
    of the first. A run's numbers do not depend on the others.
    """
    trained = [name for name in start if not frozen or name not in shape.body(start)]
    steps, every, patience = (runs[0].settings[key] for key in ("steps", "check_every", "patience"))
    now = _begin(shape, start, examples, runs, trained)
    checks = {id(run.part): now.records.chunks(run.part.check) for run in runs if len(run.part.check)}
    best, lowest, kept = now.whole(), now.losses(checks), torch.zeros(len(runs), dtype=torch.int64)
    marks = [round(depth * steps) for depth in depths]
    marked, taken = {0: now.whole()}, 0
    alive = torch.arange(len(runs))
    for step in range(1, steps + 1):
        now.step(step)
        taken += len(alive)
        if step in marks:
            marked[step] = now.whole()
        if step % every and step != steps:
            continue
        losses = now.losses(checks)
        # who has run out of patience only goes on for the marks
        better = (losses <= lowest[alive]) & (step - kept[alive] <= patience)
        at, whole = alive[better], now.whole()
        lowest[at], kept[at] = losses[better], step
        for name, tensor in best.items():
            tensor[at] = whole[name][better]
        going = step - kept[alive] < patience
        if not marks and not going.all():
            alive, now = alive[going], now.take(going)
            if not len(alive):
                break
    logger.info("%d runs, %d steps, lowest validation losses %s", len(runs), taken, lowest.numpy().round(4))
    seeds = [run.seed for run in runs]
    made = Network(_arrays(best), seeds, kept.tolist(), lowest.tolist(), taken)
    nothing = [math.nan] * len(runs)
    return made, [Network(_arrays(marked[at]), seeds, [at] * len(runs), nothing, 0) for at in marks]


def _arrays(weights: Tensors) -> Weights:
    return {name: tensor.numpy() for name, tensor in weights.items()}


@dataclass
class _Descent:
    """Where the runs of a descent are; the first dimension of every tensor is the runs', but of ``vectors`` and
    ``gram``.

    What is trained lies side by side in ``state`` (runs, numbers), each weight of ``sizes`` in its order, so that a
    step moves all of it at once; the last number is what the penalty has left of a weight that nothing else moves.
    Where ``table`` is not empty ``vectors`` are those of the tokens, and the weights that read them, which began at
    ``origin`` and made ``table`` of the tokens, are there as their dual. ``pooled`` are the features of all records
    where the body is frozen.
    """

    shape: Shape
    records: Records
    vectors: torch.Tensor
    gram: torch.Tensor
    runs: list[Run]
    draws: list[np.random.Generator]
    order: torch.Tensor
    settings: dict[str, torch.Tensor]
    frozen: Tensors
    sizes: dict[str, torch.Size]
    state: torch.Tensor
    velocity: torch.Tensor
    origin: Tensors
    table: Tensors
    pooled: torch.Tensor | None

    def take(self, which: torch.Tensor) -> "_Descent":
        """Only the runs for which ``which`` is true."""
        at = which.nonzero()[:, 0].tolist()

        def of(tensors: Tensors) -> Tensors:
            return {name: tensor[which] for name, tensor in tensors.items()}

        return replace(
            self,
            runs=[self.runs[i] for i in at],
            draws=[self.draws[i] for i in at],
            order=self.order[which],
            settings=of(self.settings),
            frozen=of(self.frozen),
            state=self.state[which],
            velocity=self.velocity[which],
            origin=of(self.origin),
            table=of(self.table),
            pooled=None if self.pooled is None else self.pooled[which],
        )

    def step(self, number: int) -> None:
        """The ``number``-th step of every run: torch.optim.SGD's with Nesterov momentum, whose import alone takes
        longer than a tuning run."""
        batch = self.runs[0].settings["batch"]
        chosen = self.order[:, (number - 1) * batch : number * batch]
        leaves = {name: tensor.detach().requires_grad_(name in self.sizes) for name, tensor in self.met().items()}
        if self.pooled is None:
            features = self.shape.pool(leaves, self.records.batch(chosen)).view(*chosen.shape, -1)
        else:
            features = self.pooled[torch.arange(len(self.runs))[:, None], chosen]
        keep = 1 - self.settings["dropout"][..., None]
        drawn = np.stack([rng.random(features.shape[1:], dtype=np.float32) for rng in self.draws])
        passed = torch.from_numpy(drawn) < keep
        logits = self.shape.head(leaves, features * passed / keep)
        # the sum over runs of each run's mean, so that a run's gradient is its own
        loss = cross_entropy(logits.flatten(0, 1), self.records.labels[chosen].flatten(), reduction="sum") / batch
        slopes = torch.autograd.grad(loss, [leaves[name] for name in self.sizes])
        rate, momentum, decay = (self.settings[key] for key in ("learning_rate", "momentum", "weight_decay"))
        with torch.no_grad():
            nothing = self.state.new_zeros(len(self.runs), 1)
            slope = torch.cat([*(slope.flatten(1) for slope in slopes), nothing], dim=1).add_(decay * self.state)
            self.velocity.mul_(momentum).add_(slope)
            self.state = self.state - rate * slope.add_(momentum * self.velocity)

    @property
    def weights(self) -> Tensors:
        """All weights as they are kept: views of the state, and the frozen ones."""
        parts = torch.split(self.state, [size.numel() for size in self.sizes.values()] + [1], dim=1)
        trained = zip(self.sizes.items(), parts, strict=False)
        return self.frozen | {name: torch.unflatten(part, 1, size) for (name, size), part in trained}

    def met(self) -> Tensors:
        """The weights as the records' tokens meet them."""
        made, left = self.weights, self.state[:, -1:, None]
        for name, table in self.table.items():
            made[name] = left * table + torch.matmul(self.gram, made[name])
        return made

    def whole(self) -> Tensors:
        """A copy of the weights as they meet any vector."""
        made, left = {name: tensor.clone() for name, tensor in self.weights.items()}, self.state[:, -1:, None]
        for name, origin in self.origin.items():
            made[name] = left * origin + torch.matmul(self.vectors.T, made[name])
        return made

    def losses(self, checks: Mapping[int, list[Batch]]) -> torch.Tensor:
        """Mean cross-entropy of each run on its checked rows, (runs,); infinite where it has none, so that the last
        weights are kept."""
        made = torch.full((len(self.runs),), math.inf)
        with torch.no_grad():
            met = self.met()
            for i, run in enumerate(self.runs):
                if id(run.part) not in checks:
                    continue
                own = {name: tensor[[i]] for name, tensor in met.items()}
                check = torch.from_numpy(run.part.check)
                if self.pooled is None:
                    logits = _logits(self.shape, own, checks[id(run.part)])
                else:
                    logits = self.shape.head(own, self.pooled[[i]][:, check])[0]
                made[i] = cross_entropy(logits, self.records.labels[check])
        return made


def _begin(shape: Shape, start: Weights, examples: Examples, runs: Sequence[Run], trained: Sequence[str]) -> _Descent:
    records = Records(examples, shape.ordered)
    weights = {name: torch.tensor(array) for name, array in start.items()}
    vectors, gram, pooled = torch.empty(0), torch.empty(0), None
    origin, table = {}, {}
    if set(trained) & set(shape.body(weights)):
        rows = np.unique(np.concatenate([rows for run in runs for rows in (run.part.train, run.part.check)]))
        if (dual := records.dual(rows)) is not None:
            vectors, gram = dual, (dual.double() @ dual.double().T).float()
            for name in shape.read(weights):
                origin[name], table[name] = weights[name], torch.matmul(vectors, weights[name])
                weights[name] = torch.zeros_like(table[name])
    else:
        pooled = _pool_once(shape, weights, records)
    orders, draws = zip(*map(passing, runs), strict=True)
    state = torch.cat([*(weights[name].flatten(1) for name in trained), torch.ones(len(runs), 1)], dim=1)
    return _Descent(
        shape=shape,
        records=records,
        vectors=vectors,
        gram=gram,
        runs=list(runs),
        draws=list(draws),
        order=torch.from_numpy(np.stack(orders)),
        settings={
            key: torch.tensor([run.settings[key] for run in runs])[:, None]
            for key in ("learning_rate", "momentum", "weight_decay", "dropout")
        },
        frozen={name: tensor for name, tensor in weights.items() if name not in trained},
        sizes={name: weights[name].shape[1:] for name in trained},
        state=state,
        velocity=torch.zeros_like(state),
        origin=origin,
        table=table,
        pooled=pooled,
    )


def _pool_once(shape: Shape, weights: Tensors, records: Records) -> torch.Tensor:
    """The pooled features of all records, (runs, records, features): of a frozen body they never change."""
    with torch.no_grad():
        batches = records.chunks(np.arange(len(records)))
        runs = range(len(next(iter(weights.values()))))
        each = [{name: tensor[[run]] for name, tensor in weights.items()} for run in runs]
        return torch.stack([torch.cat([shape.pool(of_run, batch) for batch in batches]) for of_run in each])


def _logits(shape: Shape, weights: Tensors, batches: Sequence[Batch]) -> torch.Tensor:
    """Logits of one run's weights, without dropout: shape (records, 2)."""
    with torch.no_grad():
        made = [shape.head(weights, shape.pool(weights, batch)[None])[0] for batch in batches]
        return torch.cat(made) if made else torch.empty((0, 2))
