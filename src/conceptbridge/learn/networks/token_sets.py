"""Rows as tensors, without padding: the tokens of a batch lie one after another, each run's distinct ones listed
once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from conceptbridge.learn.rows import Examples, OneHot

#: rows whose logits are computed at once outside training
CHUNK = 4096
#: numbers that are compared at once: few enough for a processor's own memory
SIDE_BY_SIDE = 300_000


@dataclass(frozen=True)
class Batch:
    """The records of a batch, each run's own: ``place`` of each token of the records is its row among the tokens of all
    runs one after another, ``begin`` where each record begins among these tokens. ``distinct`` are each run's tokens,
    or None where every run has them all."""

    vectors: torch.Tensor | OneHot
    distinct: list[torch.Tensor] | None
    place: torch.Tensor
    begin: torch.Tensor
    lengths: torch.Tensor

    def through(self, weight: torch.Tensor) -> list[tuple[slice, torch.Tensor]]:
        """The vectors of the runs' tokens times ``weight`` (runs, width, outputs): which runs, and (runs, tokens,
        outputs) of them; in the runs' order."""
        if self.distinct is None:
            return [(slice(None), self._written(weight, weight))]
        made = []
        for run, at in enumerate(self.distinct):
            which = slice(run, run + 1)
            if isinstance(self.vectors, OneHot):
                made.append((which, self._written(weight[which, at], weight[which])))
            else:
                made.append((which, (self.vectors[at] @ weight[run])[None]))
        return made

    def _written(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """One-hot vectors times ``weight``, from its ``rows`` of the tokens."""
        assert isinstance(self.vectors, OneHot)
        if self.vectors.center == 0 and self.vectors.scale == 1:
            return rows
        return (rows - self.vectors.center * weight.sum(1, keepdim=True)) * self.vectors.scale


class Records:
    """Examples as tensors; the tokens of record i are ``lengths[i]`` of ``tokens`` from ``offsets[i]`` on."""

    def __init__(self, examples: Examples, ordered: bool) -> None:
        self.vectors = examples.vectors if isinstance(examples.vectors, OneHot) else torch.from_numpy(examples.vectors)
        self.labels = torch.from_numpy(examples.labels.astype(np.int64))
        row_of, token, width = examples.row_of, examples.tokens, max(examples.vectors.shape[0], 1)
        if not ordered:
            # a set has each token once; asked for counts as well, NumPy sorts, 20 times as fast as it hashes
            row_of, token = np.divmod(np.unique(row_of * width + token, return_counts=True)[0], width)
        self.tokens = torch.from_numpy(token)
        self.lengths = torch.from_numpy(np.bincount(row_of, minlength=len(examples)))
        self.offsets = self.lengths.cumsum(0) - self.lengths
        self.mean_length = len(token) / max(len(self.labels), 1)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, chosen: torch.Tensor) -> Batch:
        """The records ``chosen``, (runs, records)."""
        flat = chosen.flatten()
        lengths = self.lengths[flat]
        begin = lengths.cumsum(0) - lengths
        count = int(lengths.sum())
        at = torch.arange(count) + torch.repeat_interleave(self.offsets[flat] - begin, lengths, output_size=count)
        tokens = self.tokens.index_select(0, at)
        of_runs, known = lengths.view(chosen.shape).sum(1), self.vectors.shape[0]
        # of one-hot vectors all are at hand: to list those that occur pays where a batch can hold but a small part
        if isinstance(self.vectors, OneHot) and known <= 2 * chosen.shape[1] * self.mean_length:
            first = torch.arange(len(chosen)) * known
            place = tokens + torch.repeat_interleave(first, of_runs, output_size=count)
            return Batch(self.vectors, None, place, begin, lengths)
        distinct, places, rows = [], [], 0
        for of_run in tokens.split(of_runs.tolist()):  # type: ignore[no-untyped-call]
            seen = torch.zeros(known, dtype=torch.bool)
            seen[of_run] = True
            distinct.append(seen.nonzero()[:, 0])
            places.append((seen.cumsum(0) - 1 + rows).index_select(0, of_run))
            rows += len(distinct[-1])
        return Batch(self.vectors, distinct, torch.cat(places), begin, lengths)

    def chunks(self, rows: NDArray[np.int64]) -> list[Batch]:
        """``rows`` as batches of one run, for what is computed outside training."""
        return [self.batch(torch.from_numpy(rows[i : i + CHUNK])[None]) for i in range(0, len(rows), CHUNK)]

    def dual(self, rows: NDArray[np.int64]) -> torch.Tensor | None:
        """Number the tokens of ``rows`` anew, as columns of their own, and return their vectors: (tokens, width).

        None, and nothing changes, where these tokens are more than the vectors are wide, or one-hot already.
        """
        if isinstance(self.vectors, OneHot):
            return None
        distinct = self.batch(torch.from_numpy(rows)[None]).distinct
        assert distinct is not None
        [used] = distinct
        if len(used) > self.vectors.shape[1]:
            return None
        vectors = self.vectors[used]
        number = torch.zeros(len(self.vectors), dtype=torch.int64)
        number[used] = torch.arange(len(used))
        self.tokens, self.vectors = number[self.tokens], OneHot(len(used), 0.0, 1.0)
        return vectors


def bag_max(table: torch.Tensor, place: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
    """The maximum over each bag of rows of ``table``, zeros for an empty one: shape (bags, outputs)."""
    if not table.requires_grad:
        return _highest(table, place, begin)
    made: torch.Tensor = _BagMax.apply(table, place, begin)  # type: ignore[no-untyped-call]
    return made


def _highest(table: torch.Tensor, place: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
    """The maximum over each bag, by gathering bags of about the same length side by side: a third of the time of
    torch.embedding_bag's."""
    lengths = torch.diff(begin, append=torch.tensor([len(place)]))
    made = table.new_zeros(len(begin), table.shape[1])
    filled = torch.argsort(lengths)[int((lengths == 0).sum()) :]
    together = max(SIDE_BY_SIDE * max(len(begin), 1) // max(len(place) * table.shape[1], 1), 8)
    for first in range(0, len(filled), together):
        bags = filled[first : first + together]
        nth = torch.arange(int(lengths[bags[-1]]))
        # a shorter bag repeats its last row
        at = begin[bags, None] + torch.minimum(nth, lengths[bags, None] - 1)
        rows = table.index_select(0, place.index_select(0, at.flatten()))
        made[bags] = rows.view(*at.shape, -1).amax(dim=1)
    return made


class _BagMax(torch.autograd.Function):
    """Only the winners have a gradient. Which row won is read from the maximum itself: as a 64-bit number a 32-bit one
    ends in 29 zeros, in which the row's number is written."""

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, place: torch.Tensor, begin: torch.Tensor) -> torch.Tensor:
        rows, outputs = table.shape
        marked = table.double().view(torch.int64) | torch.arange(rows)[:, None]
        highest = _highest(marked.view(torch.float64), place, begin)
        # a number that is none may have lost its row
        winner = (highest.view(torch.int64) & (2**29 - 1)).clamp_(max=rows - 1)
        filled = torch.diff(begin, append=torch.tensor([len(place)])) > 0
        ctx.save_for_backward(winner * outputs + torch.arange(outputs), filled)
        ctx.shape = table.shape
        return highest.float()

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
