"""The paper's network with filters of width 1, compiled: one run after the other, one step after the other.

A record is a set of tokens, and all that a filter does with a token is one number: the table (tokens, filters) of the
tokens' vectors times the filters. What a step of SGD adds to the filters is a sum of vectors, so what it adds to the
table is a sum of columns of the tokens' Gram matrix, one for each token that was the maximum of a filter somewhere in
the batch. The filters themselves are needed only in the end: they are ``left * start + vectors' @ dual.T``, where
``dual`` (filters, tokens) takes the same steps and the penalty shrinks ``left``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn.examples import Examples, OneHot, Vectors
from conceptbridge.learn.network import Matrix, Network, Weights, logger, passing
from conceptbridge.learn.runs import Run

FILTERS, BIAS = "filters-1", "filter_bias-1"

C = TypeVar("C", bound=Callable[..., Any])


def _compiled(function: C) -> C:
    """``function`` as machine code, which is kept on disk where there is a place for it."""
    made: Any
    try:
        made = numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither beside this file nor in the user's cache: compiled anew by every job
        made = numba.njit(error_model="numpy")(function)
    return cast(C, made)


@dataclass(frozen=True)
class _Records:
    """Rows as sets: the tokens of row i are ``tokens[begin[i]:begin[i + 1]]``, numbers of ``vectors``."""

    vectors: Vectors
    tokens: NDArray[np.int32]
    begin: NDArray[np.int64]
    labels: NDArray[np.int8]


def tokens_of(examples: Examples) -> int:
    """How many tokens the table of these rows has."""
    return examples.vectors.width if isinstance(examples.vectors, OneHot) else len(np.unique(examples.tokens))


def descend(
    start: Weights, examples: Examples, runs: Sequence[Run], frozen: bool, depths: Sequence[float]
) -> tuple[Network, list[Network]]:
    """Take at most ``steps`` steps of each run from ``start``, the convolution ``frozen`` or not.

    As ``descent.descend`` does, in the order of magnitude of a tenth of its time.
    """
    records = _sets(examples)
    gram = np.empty((0, 0), np.float32)
    if isinstance(records.vectors, np.ndarray) and not frozen:
        wide = records.vectors.astype(np.float64)
        gram = (wide @ wide.T).astype(np.float32)
    made = [_Run(run, {n: a[i] for n, a in start.items()}, records, gram, frozen) for i, run in enumerate(runs)]
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


def predict(weights: Weights, examples: Examples) -> NDArray[np.float64]:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    records = _sets(examples)
    made = np.empty((len(weights["head"]), len(examples)))
    for i, of_member in enumerate(made):
        own = {name: array[i] for name, array in weights.items()}
        pooled = _pooled(_table(own[FILTERS], records.vectors), own[BIAS][0], records.tokens, records.begin)
        logits = pooled @ own["head"] + own["head_bias"]
        of_member[:] = 1 / (1 + np.exp(logits[:, 0].astype(np.float64) - logits[:, 1]))
    return made


class _Run:
    """A run and where it is."""

    def __init__(self, run: Run, start: Weights, records: _Records, gram: Matrix, frozen: bool) -> None:
        self.settings, self.check, self.records, self.frozen = run.settings, run.part.check, records, frozen
        self.order, self.rng = passing(run)
        self.origin = start[FILTERS]
        self.begun = _table(self.origin, records.vectors)
        self.gram = gram
        self.table = self.begun.copy()
        tokens, filters = self.table.shape
        # filters first: a step adds to a filter's tokens side by side
        self.dual = np.zeros((filters, tokens), np.float32)
        self.slopes = np.zeros((2, filters, tokens), np.float32)
        self.left = np.array([1.0, 0.0])
        self.small = np.concatenate([start[BIAS][0], start["head"].T.ravel(), start["head_bias"][0]])
        self.small_slopes = np.zeros_like(self.small)
        self.pooled = np.empty((0, 0), np.float32)
        if frozen:
            self.pooled = _pooled(self.table, start[BIAS][0], records.tokens, records.begin)
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
        passed = self.rng.random((*rows.shape, len(self.dual)), dtype=np.float32) < keep
        scale, shared = _one_hot_gram(self.records.vectors)
        _steps(
            rows,
            passed,
            keep,
            self.records.tokens,
            self.records.begin,
            self.records.labels,
            self.pooled,
            self.gram,
            scale,
            shared,
            self.table,
            self.dual,
            self.slopes,
            self.left,
            self.small,
            self.small_slopes,
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
        if self.frozen:
            pooled = self.pooled[self.check]
        else:
            pooled = _pooled_at(
                self.check, self.table, self.small[: len(self.dual)], self.records.tokens, self.records.begin
            )
        _, head, head_bias = self._parts()
        logits = (pooled @ head + head_bias).astype(np.float64)
        other = np.where(self.records.labels[self.check] == 1, -1, 1) * (logits[:, 1] - logits[:, 0])
        return float(np.logaddexp(0, other).mean())

    def weights(self) -> Weights:
        """A copy of the weights as they meet any vector."""
        filters = self.origin
        if not self.frozen:
            vectors, dual = self.records.vectors, self.dual.T
            if isinstance(vectors, OneHot):
                moved = (dual - np.float32(vectors.center) * dual.sum(axis=0)) * np.float32(vectors.scale)
            else:
                moved = vectors.T @ dual
            filters = np.float32(self.left[0]) * self.origin + moved
        bias, head, head_bias = self._parts()
        return {FILTERS: filters, BIAS: bias.copy(), "head": head.copy(), "head_bias": head_bias.copy()}

    def _parts(self) -> tuple[Matrix, Matrix, Matrix]:
        n = len(self.dual)
        return self.small[None, :n], self.small[n : 3 * n].reshape(2, n).T, self.small[None, 3 * n :]


def _sets(examples: Examples) -> _Records:
    """The rows with each token once, tokens that no row has left out."""
    vectors, known = examples.vectors, max(examples.vectors.shape[0], 1)
    # asked for counts as well, NumPy sorts, 20 times as fast as it hashes
    row_of, token = np.divmod(np.unique(examples.row_of * known + examples.tokens, return_counts=True)[0], known)
    if not isinstance(vectors, OneHot):
        held = np.bincount(token, minlength=known) > 0
        token, vectors = (np.cumsum(held) - 1)[token], vectors[held]
    begin = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=len(examples)))])
    return _Records(vectors, token.astype(np.int32), begin, examples.labels)


def _table(filters: Matrix, vectors: Vectors) -> Matrix:
    """The tokens' vectors times the filters: (tokens, filters)."""
    if isinstance(vectors, OneHot):
        made: Matrix = (filters - np.float32(vectors.center) * filters.sum(axis=0)) * np.float32(vectors.scale)
        return made
    # in 64 bits, so that a token's numbers do not depend on how many there are
    wide: Matrix = (vectors.astype(np.float64) @ filters.astype(np.float64)).astype(np.float32)
    return wide


def _one_hot_gram(vectors: Vectors) -> tuple[np.float32, np.float32]:
    """Scale and shared of the Gram matrix of one-hot vectors, ``scale * (identity - shared)``, never written out."""
    if not isinstance(vectors, OneHot):
        return np.float32(1), np.float32(0)
    return np.float32(vectors.scale**2), np.float32(vectors.center * (2 - vectors.width * vectors.center))


def _pooled(table: Matrix, bias: Matrix, tokens: NDArray[np.int32], begin: NDArray[np.int64]) -> Matrix:
    """The pooled features of all rows: (rows, filters)."""
    return _pooled_at(np.arange(len(begin) - 1), table, bias, tokens, begin)


@_compiled
def _pooled_at(
    rows: NDArray[np.int64], table: Matrix, bias: Matrix, tokens: NDArray[np.int32], begin: NDArray[np.int64]
) -> Matrix:
    """ReLU of the highest number of each filter among a row's tokens; zeros for a row without any."""
    made = np.zeros((len(rows), table.shape[1]), np.float32)
    for i in range(len(rows)):
        first, end = begin[rows[i]], begin[rows[i] + 1]
        if first == end:
            continue
        best = made[i]
        best[:] = table[tokens[first]]
        for at in range(first + 1, end):
            row = table[tokens[at]]
            for f in range(len(best)):
                best[f] = row[f] if row[f] > best[f] else best[f]
        for f in range(len(best)):
            best[f] = max(best[f] + bias[f], np.float32(0))
    return made


@_compiled
def _steps(
    chosen: NDArray[np.int64],
    passed: NDArray[np.bool_],
    keep: np.float32,
    tokens: NDArray[np.int32],
    begin: NDArray[np.int64],
    labels: NDArray[np.int8],
    pooled: Matrix,
    gram: Matrix,
    scale: np.float32,
    shared: np.float32,
    table: Matrix,
    dual: Matrix,
    slopes: Matrix,
    left: NDArray[np.float64],
    small: Matrix,
    small_slopes: Matrix,
    rate: np.float32,
    momentum: np.float32,
    decay: np.float32,
) -> None:
    """One step a row of ``chosen`` (steps, batch), in place: torch.optim.SGD's with Nesterov momentum.

    ``slopes`` are the momenta of table and dual, ``small`` bias and head. With ``pooled`` rows only the head moves.
    """
    steps, batch = chosen.shape
    filters, known = dual.shape
    frozen = len(pooled) > 0
    nothing = np.float32(0)
    beside = np.zeros((filters, known), np.float32)  # the table, filters first
    if not frozen:
        for f in range(filters):
            for t in range(known):
                beside[f, t] = table[t, f]
    highest = np.empty((batch, filters), np.float32)
    winner = np.empty((batch, filters), np.int32)
    kept = np.empty((batch, filters), np.float32)
    share = np.float32(1) / keep
    slope = np.empty((batch, filters), np.float32)  # of the loss, by what a filter's maximum is
    of_small = np.empty_like(small)
    seen = np.full(known, -1, np.int64)
    listed = np.empty(batch, np.int64)
    of_tokens = np.zeros(known, np.float32)
    moved = np.empty(known, np.float32)
    for step in range(steps):
        of_small[:] = nothing
        for i in range(batch):
            row = chosen[step, i]
            best, won = highest[i], winner[i]
            first, end = begin[row], begin[row + 1]
            if frozen:
                best[:] = pooled[row]
            elif first == end:
                best[:] = nothing
            else:
                best[:] = table[tokens[first]]
                won[:] = tokens[first]
                for at in range(first + 1, end):
                    token = tokens[at]
                    numbers = table[token]
                    for f in range(filters):
                        better = numbers[f] > best[f]
                        best[f] = numbers[f] if better else best[f]
                        won[f] = token if better else won[f]
                for f in range(filters):
                    best[f] = max(best[f] + small[f], nothing)
            through = kept[i]
            for f in range(filters):
                through[f] = best[f] * share if passed[step, i, f] else nothing
            zero, one = small[3 * filters], small[3 * filters + 1]
            for f in range(filters):
                zero += through[f] * small[filters + f]
                one += through[f] * small[2 * filters + f]
            # the probability of the outcome less what was seen
            wrong = np.float32(1 / (1 + math.exp(min(zero - one, 80.0)))) - np.float32(labels[row])
            wrong = wrong / np.float32(batch)
            of_small[3 * filters] -= wrong
            of_small[3 * filters + 1] += wrong
            back, into = slope[i], wrong * share
            for f in range(filters):
                of_small[filters + f] -= wrong * through[f]
                of_small[2 * filters + f] += wrong * through[f]
                back[f] = into * (small[2 * filters + f] - small[filters + f]) if through[f] > nothing else nothing
                of_small[f] += back[f]
        for k in range(filters if frozen else 0, len(small)):
            new = of_small[k] + decay * small[k]
            small_slopes[k] = momentum * small_slopes[k] + new
            small[k] -= rate * (new + momentum * small_slopes[k])
        if frozen:
            continue
        left[1] = momentum * left[1] + decay * left[0]
        left[0] -= rate * (decay * left[0] + momentum * left[1])
        for f in range(filters):
            count = 0
            together = nothing
            for i in range(batch):
                if slope[i, f] != nothing:
                    token = winner[i, f]
                    if seen[token] != f:
                        seen[token] = f
                        listed[count] = token
                        count += 1
                    of_tokens[token] += slope[i, f]
                    together += slope[i, f]
            numbers, of_table, of_dual, alone = beside[f], slopes[0, f], slopes[1, f], dual[f]
            if len(gram):
                moved[:] = nothing
                for k in range(count):
                    more, column = of_tokens[listed[k]], gram[listed[k]]
                    for t in range(known):
                        moved[t] += more * column[t]
            else:
                moved[:] = -scale * shared * together
                for k in range(count):
                    moved[listed[k]] += scale * of_tokens[listed[k]]
            for t in range(known):
                new = moved[t] + decay * numbers[t]
                of_table[t] = momentum * of_table[t] + new
                numbers[t] -= rate * (new + momentum * of_table[t])
                new = of_tokens[t] + decay * alone[t]
                of_dual[t] = momentum * of_dual[t] + new
                alone[t] -= rate * (new + momentum * of_dual[t])
            for k in range(count):
                of_tokens[listed[k]] = nothing
                seen[listed[k]] = -1
        # back to tokens first, some filters at a time
        for start in range(0, filters, 16):
            for t in range(known):
                for f in range(start, min(start + 16, filters)):
                    table[t, f] = beside[f, t]
