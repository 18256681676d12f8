"""Gradient descent of networks over sets of tokens: one run after the other, one compiled step after the other."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from conceptbridge.learn.networks.compiled_steps import Batches, OtherWeights, Sgd, TableState
from conceptbridge.learn.networks.descent import Descent, joined
from conceptbridge.learn.networks.input_weights import mixed, widened
from conceptbridge.learn.networks.network import (
    Matrix,
    Network,
    TrainingOrder,
    Weights,
    first_draws,
    load,
    untrained,
)
from conceptbridge.learn.networks.token_sets import TokenSets, token_sets
from conceptbridge.learn.networks.token_table import TokenTable, gram_matrix, product, token_table
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import Rows, Run


@dataclass(frozen=True)
class NetworkEngine:
    """Trains and uses one kind of network; what it is made of tells one kind from another.

    ``draw(rng, width, windows, settings)`` makes the first weights. ``read`` names those that the vectors are
    multiplied by. The others lie one after another in one vector, each with the inputs of an output side by side: first
    those of the ``body``, which with the token table make the pooled features, ``pool(weights, table, sets, rows)``,
    then those of the ``head``, which makes the two logits of them, ``logits(weights, pooled)``. ``take_steps(batches,
    sets, pooled, table, others, sgd)`` takes one step per batch, in place; ``pooled`` has the features of all rows
    where the body is frozen, and none where it is not. ``sharpness``: the power of the weights with which translated
    tokens are mixed.
    """

    draw: Callable[[np.random.Generator, int, int, Mapping[str, Any]], Weights]
    read: str
    body: Sequence[str]
    head: Sequence[str]
    pool: Callable[[Weights, Matrix, TokenSets, Rows], Matrix]
    logits: Callable[[Weights, Matrix], Matrix]
    take_steps: Callable[[Batches, TokenSets, Matrix, TableState, OtherWeights, Sgd], None]
    sharpness: int = 1

    def fit(self, examples: Examples, runs: Sequence[Run]) -> Network:
        """Train one network per run from PyTorch's default initialisation."""
        vectors, sets = examples.cached("token sets", lambda: token_sets(examples))
        start = self.begin(vectors.shape[1], sets.windows, runs).weights
        return self._descend(start, examples, runs, False, ())[0]

    def begin(self, width: int, windows: int, runs: Sequence[Run]) -> Network:
        """One untrained network per run."""
        return untrained([self.draw(first_draws(run), width, windows, run.settings) for run in runs], runs)

    def tune(
        self, source: Network, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
    ) -> tuple[Network, list[Network]]:
        """Go on from the source's members, one per run, the body frozen (``head_only``) or not.

        Returns the networks at their lowest loss, and those after each of ``depths``, shares of the steps.
        """
        return self._descend(source.weights, examples, runs, head_only, depths)

    def widen(self, network: Network, vectors: OneHot, head_only: bool) -> Network | None:
        """The network with weights for the added tokens, as small and random as those of an untrained one; what it
        makes of the source's tokens stays as it was. None where these weights are frozen."""
        if head_only:
            return None
        read = widened(network.weights[self.read], vectors, network.seeds)
        return replace(network, weights=network.weights | {self.read: read})

    def translate(self, network: Network, mix: csr_array, center: float) -> Network:
        """The network with weights for tokens that are mixes of its own."""
        read = mixed(network.weights[self.read], mix, center, self.sharpness)
        return replace(network, weights=network.weights | {self.read: read})

    def predict(self, network: Network, examples: Examples) -> NDArray[np.float64]:
        """Probability of the outcome: shape (members, rows), in the rows' order."""
        vectors, sets = examples.cached("token sets", lambda: token_sets(examples))
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
        """Take the steps of each run from ``start``. A run's numbers do not depend on the others."""
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
        return joined(each, runs, marked, depths)


class _Run(Descent):
    """A run of compiled steps."""

    def __init__(
        self, engine: NetworkEngine, run: Run, start: Weights, sets: TokenSets, table: TokenTable, frozen: bool
    ) -> None:
        super().__init__(run, start)
        self.engine = engine
        self.sets, self.table, self.pooled = sets, table, np.empty((0, 0), np.float32)
        if frozen:
            rows, listed = np.arange(len(sets.labels)), np.arange(table.vectors.shape[0])
            self.pooled = engine.pool(start, table.of(listed), sets, rows)
        self.check_tokens, self.check_sets = sets.of(run.part.check)
        self.order = TrainingOrder(run)
        self.outputs = start[engine.read].shape[1] * sets.windows
        names = [*engine.body, *engine.head]
        self.shapes = {name: start[name].shape for name in names}
        values = np.concatenate([start[name].ravel(order="F") for name in names])
        self.others = OtherWeights(values, np.zeros_like(values), np.cumsum([start[name].size for name in names]))

    def take_steps(self, steps: int) -> None:
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
        self.table.refresh()
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
        others = {name: array.copy() for name, array in self.other_weights().items()}
        return {self.engine.read: self.table.weights()} | others

    def other_weights(self) -> Weights:
        """The other weights: views."""
        parts = np.split(self.others.values, self.others.ends[:-1])
        shaped = zip(self.shapes.items(), parts, strict=True)
        return {name: part.reshape(shape, order="F") for (name, shape), part in shaped}
