"""Rows as tensors, without padding: the tokens of a batch lie one after another, each run's distinct ones listed
once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from conceptbridge.learn.examples import Examples, OneHot

#: rows whose logits are computed at once outside training
CHUNK = 4096
#: bags whose rows are compared at once
SIDE_BY_SIDE = 64


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
