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
SIDE_BY_SIDE = 32


@dataclass(frozen=True)
class Batch:
    """The records of a batch, each run's own: ``distinct`` are a run's tokens (None: all there are), ``place`` of each
    token of the records is its row among those of all runs one after another, ``begin`` where each record begins among
    these tokens."""

    vectors: torch.Tensor | OneHot
    distinct: list[torch.Tensor | None]
    place: torch.Tensor
    begin: torch.Tensor
    lengths: torch.Tensor

    def through(self, weight: torch.Tensor) -> list[torch.Tensor]:
        """Each run's distinct tokens times its ``weight`` (runs, width, outputs): shape (tokens, outputs) each."""
        if isinstance(self.vectors, OneHot):
            center, scale = self.vectors.center, self.vectors.scale
            own = [w if at is None else w[at] for at, w in zip(self.distinct, weight, strict=True)]
            if center == 0 and scale == 1:
                return own
            return [(tokens - center * w.sum(0)) * scale for tokens, w in zip(own, weight, strict=True)]
        return [self.vectors[at] @ w for at, w in zip(self.distinct, weight, strict=True)]


class Records:
    """Examples as tensors; the tokens of record i are ``lengths[i]`` of ``tokens`` from ``offsets[i]`` on."""

    def __init__(self, examples: Examples, ordered: bool) -> None:
        self.vectors = examples.vectors if isinstance(examples.vectors, OneHot) else torch.from_numpy(examples.vectors)
        self.labels = torch.from_numpy(examples.labels.astype(np.int64))
        row_of, token, width = examples.row_of, examples.tokens, max(examples.vectors.shape[0], 1)
        if (
            not ordered
        ):  # a set has each token once; asked for counts as well, NumPy sorts, 20 times as fast as it hashes
            row_of, token = np.divmod(np.unique(row_of * width + token, return_counts=True)[0], width)
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
        count = int(lengths.sum())
        at = torch.arange(count) + torch.repeat_interleave(self.offsets[flat] - begin, lengths, output_size=count)
        tokens = self.tokens.index_select(0, at)
        known, place, rows = self.vectors.shape[0], [], 0
        distinct: list[torch.Tensor | None] = []
        for of_run in tokens.split(lengths.view(chosen.shape).sum(1).tolist()):  # type: ignore[no-untyped-call]
            # rows of a one-hot weight cost nothing to have: listing the distinct ones would cost more
            if isinstance(self.vectors, OneHot) and len(of_run) >= known:
                distinct.append(None)
                place.append(of_run + rows)
                rows += known
                continue
            seen = torch.zeros(known, dtype=torch.bool)
            seen[of_run] = True
            own = seen.nonzero()[:, 0]
            distinct.append(own)
            place.append((seen.cumsum(0) - 1 + rows).index_select(0, of_run))
            rows += len(own)
        return Batch(self.vectors, distinct, torch.cat(place), begin, lengths)

    def chunks(self, rows: NDArray[np.int64]) -> list[Batch]:
        """``rows`` as batches of one run, for what is computed outside training."""
        return [self.batch(torch.from_numpy(rows[i : i + CHUNK])[None]) for i in range(0, len(rows), CHUNK)]

    def dual(self, rows: NDArray[np.int64]) -> torch.Tensor | None:
        """Number the tokens of ``rows`` anew, as columns of their own, and return their vectors: (tokens, width).

        None, and nothing changes, where these tokens are more than the vectors are wide, or one-hot already.
        """
        if isinstance(self.vectors, OneHot):
            return None
        used = self.batch(torch.from_numpy(rows)[None]).distinct[0]
        assert used is not None
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
    for first in range(0, len(filled), SIDE_BY_SIDE):
        bags = filled[first : first + SIDE_BY_SIDE]
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
