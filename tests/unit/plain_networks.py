"""The networks and their training as one would write them down in PyTorch: every row padded, and what depends on a
token alone computed once per batch."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from conceptbridge.learn.networks.network import TrainingOrder
from conceptbridge.learn.rows import Examples
from conceptbridge.learn.search import Run

Tensors = dict[str, torch.Tensor]
Drop = Callable[[torch.Tensor], torch.Tensor]
#: logits of weights, the batch's distinct vectors, (distinct, width), which of them each row has in each window, (rows,
#: windows, tokens), where there is a token at all, of the same shape, and dropout
Logits = Callable[[Tensors, torch.Tensor, torch.Tensor, torch.Tensor, Drop], torch.Tensor]
CHUNK = 2048


def cnn(w: Tensors, x: torch.Tensor, at: torch.Tensor, there: torch.Tensor, drop: Drop) -> torch.Tensor:
    """The paper's network, with a maximum in each window."""
    features = torch.relu(x @ w["filters-1"] + w["filter_bias-1"])
    pooled = (nn.functional.embedding(at, features) * there[..., None]).amax(dim=2)
    return drop(pooled.flatten(1)) @ w["head"] + w["head_bias"]


class Plain:
    """A network on some rows, each of them a set of tokens per window."""

    def __init__(self, logits: Logits, examples: Examples) -> None:
        assert isinstance(examples.vectors, np.ndarray)
        windows = range(examples.windows)
        window = np.zeros(len(examples.tokens), np.int8) if examples.in_window is None else examples.in_window
        of_rows = (np.split(array, examples.offsets[1:-1]) for array in (examples.tokens, window))
        sets = [[np.unique(tokens[at == w]) for w in windows] for tokens, at in zip(*of_rows, strict=True)]
        self.logits, self.vectors = logits, torch.from_numpy(examples.vectors)
        self.labels = torch.from_numpy(examples.labels.astype(np.int64))
        longest = max(len(tokens) for of_row in sets for tokens in of_row)
        self.tokens = torch.zeros(len(sets), examples.windows, max(1, longest), dtype=torch.int64)
        self.there = torch.zeros(self.tokens.shape, dtype=torch.bool)
        for i, of_row in enumerate(sets):
            for w, tokens in enumerate(of_row):
                self.tokens[i, w, : len(tokens)], self.there[i, w, : len(tokens)] = torch.from_numpy(tokens), True

    def of(self, w: Tensors, rows: np.ndarray, drop: Drop = lambda pooled: pooled) -> torch.Tensor:
        """The logits of these rows: (rows, 2)."""
        distinct, at = torch.unique(self.tokens[rows], return_inverse=True)
        return self.logits(w, self.vectors[distinct], at, self.there[rows], drop)

    def predict(self, w: Tensors) -> np.ndarray:
        """Probability of the outcome, (rows,)."""
        with torch.no_grad():
            chunks = torch.arange(len(self.labels)).split(CHUNK)
            logits = torch.cat([self.of(w, rows.numpy()) for rows in chunks]).double()
        return torch.softmax(logits, dim=1)[:, 1].numpy()

    def loss(self, w: Tensors, rows: np.ndarray) -> float:
        """Mean cross-entropy on these rows."""
        with torch.no_grad():
            logits = torch.cat([self.of(w, rows[i : i + CHUNK]) for i in range(0, len(rows), CHUNK)]).double()
            return float(nn.functional.cross_entropy(logits, self.labels[rows])) if len(rows) else math.nan

    def train(self, start: dict[str, np.ndarray], run: Run, frozen: bool) -> Iterator[tuple[Tensors, float]]:
        """Yield the weights, which move on, and the loss on the checked rows: at the start and after every pass."""
        s, w = run.settings, {name: nn.Parameter(torch.tensor(array)) for name, array in start.items()}
        optimiser = torch.optim.SGD(
            [tensor for name, tensor in w.items() if name.startswith("head") or not frozen],
            lr=s["learning_rate"],
            momentum=s["momentum"],
            nesterov=True,
            weight_decay=s["weight_decay"],
        )
        order, keep = TrainingOrder(run), np.float32(1 - s["dropout"])

        def drop(pooled: torch.Tensor) -> torch.Tensor:
            return pooled * torch.from_numpy(order.dropout.random(tuple(pooled.shape), dtype=np.float32) < keep) / keep

        yield dict(w), self.loss(dict(w), run.part.check)
        for _ in range(s["max_passes"]):
            for _ in range(s["max_pass_steps"]):
                [rows], _ = order.take(1, 0, keep)
                optimiser.zero_grad()
                nn.functional.cross_entropy(self.of(dict(w), rows, drop), self.labels[rows]).backward()
                optimiser.step()
            yield dict(w), self.loss(dict(w), run.part.check)
