"""Gradient descent of networks over sets of tokens: one run after the other, one compiled step after the other."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from conceptbridge.learn.networks.compiled_steps import Batches, OtherWeights, Sgd, TableState
from conceptbridge.learn.networks.network import (
    Matrix,
    Network,
    TrainingOrder,
    Weights,
    first_draws,
    load,
    logger,
    uniform,
)
from conceptbridge.learn.networks.token_sets import TokenSets, token_sets
from conceptbridge.learn.networks.token_table import TokenTable, gram_matrix, product, token_table
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import WITHIN, Rows, Run, cap_use

#: which of a seed's streams of random numbers the weights of added tokens are from
WIDENED = 3


@dataclass(frozen=True)
class NetworkEngine:
    """Trains and uses one kind of network; what it is made of tells one kind from another.

    ``draw(rng, width, settings)`` makes the first weights. ``read`` names those that the vectors are multiplied by. The
    others lie one after another in one vector, each with the inputs of an output side by side: first those of the
    ``body``, which with the token table make the pooled features, ``pool(weights, table, sets, rows)``, then those of
    the ``head``, which makes the two logits of them, ``logits(weights, pooled)``. ``take_steps(batches, sets, pooled,
    table, others, sgd)`` takes one step per batch, in place; ``pooled`` has the features of all rows where the body is
    frozen, and none where it is not. ``sharpness``: the power of the weights with which translated tokens are mixed.
    """

    draw: Callable[[np.random.Generator, int, Mapping[str, Any]], Weights]
    read: str
    body: Sequence[str]
    head: Sequence[str]
    pool: Callable[[Weights, Matrix, TokenSets, Rows], Matrix]
    logits: Callable[[Weights, Matrix], Matrix]
    take_steps: Callable[[Batches, TokenSets, Matrix, TableState, OtherWeights, Sgd], None]
    sharpness: int = 1

    def fit(self, examples: Examples, runs: Sequence[Run]) -> Network:
        """Train one network per run from PyTorch's default initialisation."""
        drawn = [self.draw(first_draws(run), examples.vectors.shape[1], run.settings) for run in runs]
        start = {name: np.stack([weights[name] for weights in drawn]) for name in drawn[0]}
        return self._descend(start, examples, runs, False, ())[0]

    def tune(
        self, source: Network, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
    ) -> tuple[Network, list[Network]]:
        """Go on from the source's members, one per run, the body frozen (``head_only``) or not.

        Returns the networks at their lowest loss, and those after each of ``depths``, shares of the steps.
        """
        return self._descend(source.weights, examples, runs, head_only, depths)

    def widen(self, network: Network, vectors: OneHot, head_only: bool) -> Network | None:
        """The network with weights for the added tokens, as small and random as those of an untrained one; what it
        makes of the source's tokens stays as it was. None where these weights are frozen.

        Weights of zero would never be trained: the paper's network learns from the highest number of a row alone, and
        zero is below that of any token that the source knew.
        """
        if head_only:
            return None
        width, read = vectors.width, network.weights[self.read]
        centred = np.float32(vectors.center > 0)
        drawn = [np.random.default_rng([seed, WIDENED]) for seed in network.seeds]
        added = np.stack([uniform(rng, (vectors.added, read.shape[2]), width) for rng in drawn])
        if vectors.added > 1:  # a single one is then centred to nothing
            added -= centred * added.mean(axis=1, keepdims=True)
        # a token's numbers are its own weights less the mean of all, which therefore stays what it was
        added += centred * read.mean(axis=1, keepdims=True)
        return replace(network, weights=network.weights | {self.read: np.concatenate([read, added], axis=1)})

    def translate(self, network: Network, mix: csr_array, center: float) -> Network:
        """The network with weights for tokens that are mixes of its own. What the center takes from the weights is
        taken here, once."""
        own = np.stack([one - np.float32(center) * one.sum(axis=0) for one in network.weights[self.read]])
        sharp = mix.power(self.sharpness)
        share = np.asarray(mix.sum(axis=1) / sharp.sum(axis=1), np.float64)[
            :, None
        ]  # what it has no word for stays out
        added = np.stack([np.asarray(share * (sharp @ of_member), np.float32) for of_member in own])
        return replace(network, weights=network.weights | {self.read: np.concatenate([own, added], axis=1)})

    def predict(self, network: Network, examples: Examples) -> NDArray[np.float64]:
        """Probability of the outcome: shape (members, rows), in the rows' order."""
        vectors, sets = token_sets(examples)
        result = np.empty((len(network.seeds), len(examples)))
        for i, of_member in enumerate(result):
            own = {name: array[i] for name, array in network.weights.items()}
            table = product(own[self.read], vectors)
            logits = self.logits(own, self.pool(own, table, sets, np.arange(len(examples))))
            with np.errstate(over="ignore"):  # a probability too small to tell from 0
                of_member[:] = 1 / (1 + np.exp(logits[:, 0].astype(np.float64) - logits[:, 1]))
        return result

    @staticmethod
    def load(folder: Path, description: Mapping[str, Any]) -> Network:
        """The network that ``Network.save`` wrote to ``folder``; ``description`` is its model.json."""
        return load(folder, description)

    def _descend(
        self, start: Weights, examples: Examples, runs: Sequence[Run], frozen: bool, depths: Sequence[float]
    ) -> tuple[Network, list[Network]]:
        """Take the steps of each run from ``start``: at most ``max_passes`` passes over its training rows.

        ``checks_per_pass`` times a pass a run's loss on its checked rows is looked at; its weights are kept where that
        is lowest, ``start`` included, or at the end where there are no such rows. After ``patience`` passes without a
        lower one it is over. A run whose patience is not over at the cap gets as many passes again. A run's numbers do
        not depend on the others. With ``depths`` all runs take all steps up to the cap.
        """
        vectors, sets = examples.cached("token sets", lambda: token_sets(examples))
        gram = None if frozen else examples.cached("gram", lambda: gram_matrix(vectors))

        each = []
        for member, run in enumerate(runs):
            own = {name: array[member] for name, array in start.items()}
            weights = own[self.read]
            table = TokenTable(weights, vectors) if frozen else token_table(weights, vectors, gram)
            each.append(_Run(self, run, own, sets, table, frozen))
        with threadpool_limits(1):  # threads cost more than a step's small matrices
            marked = [list(run.descend(depths)) for run in each]
        steps = sum(run.taken for run in each)
        logger.info("%d runs, %d steps, lowest losses %s", len(runs), steps, [run.lowest for run in each])

        def network(weights: Sequence[Weights], kept: list[int], losses: list[float], steps: int) -> Network:
            joined = {name: np.stack([own[name] for own in weights]) for name in start}
            return Network(joined, [run.seed for run in runs], kept, losses, steps, [run.capped for run in each])

        best = network([run.best for run in each], [run.kept for run in each], [run.lowest for run in each], steps)
        along = []
        for k, depth in enumerate(depths):
            kept = [run.step_at(depth) for run in each]
            along.append(network([of_run[k] for of_run in marked], kept, [math.nan] * len(runs), 0))
        return best, along


class _Run:
    """A run and where it is."""

    def __init__(
        self, engine: NetworkEngine, run: Run, start: Weights, sets: TokenSets, table: TokenTable, frozen: bool
    ) -> None:
        self.engine, self.settings, self.check = engine, run.settings, run.part.check
        self.sets, self.table, self.pooled = sets, table, np.empty((0, 0), np.float32)
        if frozen:
            rows, listed = np.arange(len(sets.labels)), np.arange(table.vectors.shape[0])
            self.pooled = engine.pool(start, table.of(listed), sets, rows)
        self.check_tokens, self.check_sets = sets.of(run.part.check)
        self.order = TrainingOrder(run)
        self.outputs = start[engine.read].shape[1]
        names = [*engine.body, *engine.head]
        self.shapes = {name: start[name].shape for name in names}
        values = np.concatenate([start[name].ravel(order="F") for name in names])
        self.others = OtherWeights(values, np.zeros_like(values), np.cumsum([start[name].size for name in names]))
        self.best, self.lowest, self.kept, self.taken = start, math.inf, 0, 0
        self.capped = WITHIN
        self.pass_steps = steps_per_pass(len(run.part.train), self.settings)
        self.cap: int = self.settings["max_passes"] * self.pass_steps

    def step_at(self, depth: float) -> int:
        """The step at a share of the way to the cap."""
        return round(depth * self.cap)

    def descend(self, depths: Sequence[float]) -> Iterator[Weights]:
        """Go on until it is over; yields the weights after each of ``depths``, shares of the steps up to the cap."""
        patience = self.settings["patience"] * self.pass_steps
        every = max(self.pass_steps // self.settings["checks_per_pass"], 1)
        # without rows that check it, and where patience cannot end it before, the cap is a number of steps and no limit
        end = 2 * self.cap if len(self.check) and patience < self.cap else self.cap
        marks = {self.step_at(depth) for depth in depths}
        self.best, self.lowest = self.weights(), self.loss()
        marked, over = {0: self.best}, False
        for step in sorted({*range(every, end, every), self.cap, end} | marks - {0}):
            if over and step > max(marks, default=0):
                break
            self.take_steps(step - self.taken)
            self.taken = step
            if step in marks:
                marked[step] = self.weights()
            if over or (step % every and step not in (self.cap, end)):
                continue
            self.table.refresh()
            loss = self.loss()
            if loss <= self.lowest:
                self.best, self.lowest, self.kept = self.weights(), loss, step
            # who has run out of patience only goes on for the marks
            over = step - self.kept >= patience
            self.capped = cap_use(step, self.cap, end, over)
        yield from (marked[self.step_at(depth)] for depth in depths)

    def take_steps(self, steps: int) -> None:
        """Take the next ``steps``."""
        s = self.settings
        keep = np.float32(1 - s["dropout"])
        rows, passed = self.order.take(steps, self.outputs, keep)
        self.engine.take_steps(
            Batches(rows, passed, np.float32(1) / keep),
            self.sets,
            self.pooled,
            self.table.state,
            self.others,
            Sgd(*(np.float32(s[key]) for key in Sgd._fields)),
        )

    def loss(self) -> float:
        """Mean cross-entropy on the checked rows; infinite where there are none, so that the last weights are kept."""
        if not len(self.check):
            return math.inf
        weights, engine = self.other_weights(), self.engine
        # too high a learning rate ends in numbers that are none
        with np.errstate(over="ignore", invalid="ignore"):
            if len(self.pooled):
                pooled = self.pooled[self.check]
            else:
                table = self.table.of(self.check_tokens)
                pooled = engine.pool(weights, table, self.check_sets, np.arange(len(self.check)))
            logits = engine.logits(weights, pooled).astype(np.float64)
            other = np.where(self.check_sets.labels == 1, -1, 1) * (logits[:, 1] - logits[:, 0])
            return float(np.logaddexp(0, other).mean())

    def weights(self) -> Weights:
        """A copy of the weights as they meet any vector."""
        others = {name: array.copy() for name, array in self.other_weights().items()}
        return {self.engine.read: self.table.weights()} | others

    def other_weights(self) -> Weights:
        """The other weights: views."""
        parts = np.split(self.others.values, self.others.ends[:-1])
        shaped = zip(self.shapes.items(), parts, strict=True)
        return {name: part.reshape(shape, order="F") for (name, shape), part in shaped}


def steps_per_pass(rows: int, settings: Mapping[str, Any]) -> int:
    """The steps of a pass: as many as take each training row once, but at least ``min_pass_steps`` and, where it is not
    0, at most ``max_pass_steps``."""
    steps: int = max(-(-rows // settings["batch"]), settings["min_pass_steps"])
    return min(steps, settings["max_pass_steps"] or steps)
