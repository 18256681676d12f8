"""Networks over sets of tokens, compiled: one run after the other, one step after the other.

All that such a network does with a token's vector is to multiply it by one matrix of weights. What a step of SGD adds
to these weights is a sum of vectors, so what it adds to the table of their product, (tokens, outputs), is a sum of
columns of the tokens' Gram matrix. The table takes the steps itself, and the weights are needed only in the end: they
are ``left * start + vectors' @ dual.T``, where ``dual`` (outputs, tokens) takes the same steps and the penalty shrinks
``left``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from conceptbridge.learn.networks.network import Matrix, Network, Weights, logger, passing
from conceptbridge.learn.rows import Examples, OneHot, Vectors
from conceptbridge.learn.search import Rows, Run

#: tokens with dense vectors whose Gram matrix is made; above it the vectors themselves are multiplied, by PyTorch
TOKENS = 2000

C = TypeVar("C", bound=Callable[..., Any])


def compiled(function: C) -> C:
    """``function`` as machine code, which is kept on disk where there is a place for it."""
    made: Any
    try:
        made = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither beside its file nor in the user's cache: compiled anew by every job
        made = numba.njit(error_model="numpy")(function)
    return cast(C, made)


@dataclass(frozen=True)
class Records:
    """Rows as sets: the tokens of row i are ``tokens[begin[i]:begin[i + 1]]``, numbers of ``vectors``."""

    vectors: Vectors
    tokens: NDArray[np.int32]
    begin: NDArray[np.int64]
    labels: NDArray[np.int8]


@dataclass(frozen=True)
class Shape:
    """What tells one kind of network from another.

    ``read`` names the weights that the vectors are multiplied by. The others lie one after another in one vector, each
    with the inputs of an output side by side: first those of the ``body``, which with the table make the pooled
    features, ``pool(weights, table, records, rows)``, then those of the ``head``, which makes the two logits of them,
    ``logits(weights, pooled)``. ``steps`` takes one step a row of its first argument, in place: torch.optim.SGD's with
    Nesterov momentum (``_Run.go`` has its arguments).
    """

    read: str
    body: Sequence[str]
    head: Sequence[str]
    pool: Callable[[Weights, Matrix, Records, Rows], Matrix]
    logits: Callable[[Weights, Matrix], Matrix]
    steps: Callable[..., None]


def fits(examples: Examples) -> bool:
    """Whether the table of these rows' tokens can take the steps."""
    return isinstance(examples.vectors, OneHot) or len(np.unique(examples.tokens)) <= TOKENS


def descend(
    shape: Shape, start: Weights, examples: Examples, runs: Sequence[Run], frozen: bool, depths: Sequence[float]
) -> tuple[Network, list[Network]]:
    """Take at most ``steps`` steps of each run from ``start``, the body ``frozen`` or not.

    As ``descent.descend`` does, in a small part of its time; all settings may differ between the runs, steps and batch
    too where there are no depths.
    """
    records = _sets(examples)
    gram = np.empty((0, 0), np.float32)
    if isinstance(records.vectors, np.ndarray) and not frozen:
        wide = records.vectors.astype(np.float64)
        gram = (wide @ wide.T).astype(np.float32)
    made = [_Run(shape, run, {n: a[i] for n, a in start.items()}, records, gram, frozen) for i, run in enumerate(runs)]
    with threadpool_limits(1):  # threads cost more than a step's small matrices
        marked = [list(one.descend(depths)) for one in made]
    logger.info("%d runs, %d steps, lowest losses %s", len(runs), sum(r.taken for r in made), [r.lowest for r in made])

    def network(weights: Sequence[Weights], kept: list[int], losses: list[float], steps: int) -> Network:
        joined = {name: np.stack([own[name] for own in weights]) for name in start}
        return Network(joined, [run.seed for run in runs], kept, losses, steps)

    steps = sum(one.taken for one in made)
    best = network([one.best for one in made], [one.kept for one in made], [one.lowest for one in made], steps)
    nothing = [math.nan] * len(runs)
    return best, [
        network([of_run[k] for of_run in marked], [round(depth * runs[0].settings["steps"])] * len(runs), nothing, 0)
        for k, depth in enumerate(depths)
    ]


def predict(shape: Shape, weights: Weights, examples: Examples) -> NDArray[np.float64]:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    records = _sets(examples)
    made = np.empty((len(weights[shape.read]), len(examples)))
    for i, of_member in enumerate(made):
        own = {name: array[i] for name, array in weights.items()}
        pooled = shape.pool(own, _table(own[shape.read], records.vectors), records, np.arange(len(examples)))
        logits = shape.logits(own, pooled)
        of_member[:] = 1 / (1 + np.exp(logits[:, 0].astype(np.float64) - logits[:, 1]))
    return made


class _Run:
    """A run and where it is."""

    def __init__(self, shape: Shape, run: Run, start: Weights, records: Records, gram: Matrix, frozen: bool) -> None:
        self.shape, self.settings, self.check = shape, run.settings, run.part.check
        self.records, self.gram, self.frozen = records, gram, frozen
        self.order, self.rng = passing(run)
        self.origin = start[shape.read]
        self.begun = _table(self.origin, records.vectors)
        self.table = self.begun.copy()
        tokens, outputs = self.table.shape
        self.dual = np.zeros((outputs, tokens), np.float32)
        self.slopes = np.zeros((2, outputs, tokens), np.float32)
        self.left = np.array([1.0, 0.0])
        names = [*shape.body, *shape.head]
        self.sizes = {name: start[name].shape for name in names}
        self.ends = np.cumsum([start[name].size for name in names])
        self.small = np.concatenate([start[name].ravel(order="F") for name in names])
        self.small_slopes = np.zeros_like(self.small)
        self.pooled = np.empty((0, 0), np.float32)
        if frozen:
            self.pooled = shape.pool(start, self.table, records, np.arange(len(records.labels)))
        self.best, self.lowest, self.kept, self.taken = self.weights(), self.loss(), 0, 0

    def descend(self, depths: Sequence[float]) -> Iterator[Weights]:
        """Go on until it is over; yields the weights after each of ``depths``, shares of the steps."""
        steps, every, patience = (self.settings[key] for key in ("steps", "check_every", "patience"))
        marks = {round(depth * steps) for depth in depths}
        marked, now = {0: self.weights()}, 0
        for step in sorted({*range(every, steps, every), steps} | marks - {0}):
            self.go(now, step)
            now = step
            if step in marks:
                marked[step] = self.weights()
            if step % every and step != steps:
                continue
            if not self.frozen:
                self.refresh()
            loss = self.loss()
            # who has run out of patience only goes on for the marks
            if loss <= self.lowest and step - self.kept <= patience:
                self.best, self.lowest, self.kept = self.weights(), loss, step
            if step - self.kept >= patience and not marks:
                break
        self.taken = now
        yield from (marked[round(depth * steps)] for depth in depths)

    def go(self, since: int, until: int) -> None:
        """Take the steps after step ``since``, up to ``until``."""
        s, batch = self.settings, self.settings["batch"]
        rows = self.order[since * batch : until * batch].reshape(-1, batch)
        keep = np.float32(1 - s["dropout"])
        scale, shared = _one_hot_gram(self.records.vectors)
        self.shape.steps(
            rows,
            self.rng.random((*rows.shape, len(self.dual)), dtype=np.float32) < keep,  # what passes dropout
            keep,
            self.records.tokens,
            self.records.begin,
            self.records.labels,
            self.pooled,  # of all rows, where only the head moves, or none
            self.gram,  # none where it is scale * (identity - shared)
            scale,
            shared,
            self.table,
            self.dual,
            self.slopes,  # momenta of table and dual
            self.left,  # and its momentum
            self.small,  # the other weights
            self.small_slopes,  # and their momenta
            self.ends,  # of each of the other weights
            np.float32(s["learning_rate"]),
            np.float32(s["momentum"]),
            np.float32(s["weight_decay"]),
        )

    def refresh(self) -> None:
        """Make the table from the dual, so that what the steps rounded is not carried on."""
        scale, shared = _one_hot_gram(self.records.vectors)
        dual, table = self.dual.T, np.float32(self.left[0]) * self.begun
        if len(self.gram):
            self.table = table + self.gram @ dual
        else:
            self.table = table + scale * (dual - shared * dual.sum(axis=0))

    def loss(self) -> float:
        """Mean cross-entropy on the checked rows; infinite where there are none, so that the last weights are kept."""
        if not len(self.check):
            return math.inf
        others = self.others()
        # too high a learning rate ends in numbers that are none
        with np.errstate(over="ignore", invalid="ignore"):
            if self.frozen:
                pooled = self.pooled[self.check]
            else:
                pooled = self.shape.pool(others, self.table, self.records, self.check)
            logits = self.shape.logits(others, pooled).astype(np.float64)
            other = np.where(self.records.labels[self.check] == 1, -1, 1) * (logits[:, 1] - logits[:, 0])
            return float(np.logaddexp(0, other).mean())

    def weights(self) -> Weights:
        """A copy of the weights as they meet any vector."""
        read = self.origin
        if not self.frozen:
            vectors, dual = self.records.vectors, self.dual.T
            if isinstance(vectors, OneHot):
                moved = (dual - np.float32(vectors.center) * dual.sum(axis=0)) * np.float32(vectors.scale)
            else:
                moved = vectors.T @ dual
            read = np.float32(self.left[0]) * self.origin + moved
        return {self.shape.read: read} | {name: array.copy() for name, array in self.others().items()}

    def others(self) -> Weights:
        """The other weights: views."""
        parts = np.split(self.small, self.ends[:-1])
        shaped = zip(self.sizes.items(), parts, strict=True)
        return {name: part.reshape(size, order="F") for (name, size), part in shaped}


def _sets(examples: Examples) -> Records:
    """The rows with each token once, tokens that no row has left out."""
    vectors, known = examples.vectors, max(examples.vectors.shape[0], 1)
    # asked for counts as well, NumPy sorts, 20 times as fast as it hashes
    row_of, token = np.divmod(np.unique(examples.row_of * known + examples.tokens, return_counts=True)[0], known)
    if not isinstance(vectors, OneHot):
        held = np.bincount(token, minlength=len(vectors)) > 0
        token, vectors = (np.cumsum(held) - 1)[token], vectors[held]
    begin = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=len(examples)))])
    return Records(vectors, token.astype(np.int32), begin, examples.labels)


def _table(weights: Matrix, vectors: Vectors) -> Matrix:
    """The tokens' vectors times the weights: (tokens, outputs)."""
    if isinstance(vectors, OneHot):
        made: Matrix = (weights - np.float32(vectors.center) * weights.sum(axis=0)) * np.float32(vectors.scale)
        return made
    # in 64 bits, so that a token's numbers do not depend on how many there are
    wide: Matrix = (vectors.astype(np.float64) @ weights.astype(np.float64)).astype(np.float32)
    return wide


def _one_hot_gram(vectors: Vectors) -> tuple[np.float32, np.float32]:
    """Scale and shared of the Gram matrix of one-hot vectors, ``scale * (identity - shared)``, never written out."""
    if not isinstance(vectors, OneHot):
        return np.float32(1), np.float32(0)
    return np.float32(vectors.scale**2), np.float32(vectors.center * (2 - vectors.width * vectors.center))
