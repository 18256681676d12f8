"""Trains and uses the transformer: one run after the other, by AdamW (Loshchilov and Hutter 2019), on a GPU where
PyTorch finds one and else on one core, where equal seeds give equal bytes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch.nn import functional

from conceptbridge.learn.networks import network as networks
from conceptbridge.learn.networks.descent import Descent, joined
from conceptbridge.learn.networks.events import Events, Padded, buckets, chunks, events_of, padded
from conceptbridge.learn.networks.input_weights import mixed, widened
from conceptbridge.learn.networks.network import Network, TrainingOrder, Weights, first_draws, untrained
from conceptbridge.learn.networks.token_table import product
from conceptbridge.learn.networks.transformer import (
    HEAD,
    MATRICES,
    PROJECTION,
    Tensor,
    Tensors,
    draw,
    embed,
    features,
    logits,
    on_device,
    table_of,
)
from conceptbridge.learn.rows import Examples, OneHot
from conceptbridge.learn.search import Rows, Run

#: rows that are padded to one length in a step, and places (events and padding) that are computed at once in a
#: prediction: more do not fit a core's cache, fewer do not fill a GPU
BUCKET = {"cpu": 16, "cuda": 1024}
PLACES = {"cpu": 4096, "cuda": 131_072}
#: the steps in which the learning rate rises to its full length, and the norm of the gradient that is not exceeded
WARM_UP, LARGEST_GRADIENT = 100, 1.0


@dataclass(frozen=True)
class EventNetwork(Network):
    """A trained transformer; ``tokens``: how many of a row's last events it sees."""

    tokens: int = 0

    def save(self, folder: Path) -> dict[str, Any]:
        return super().save(folder) | {"tokens": self.tokens}


def fit(examples: Examples, runs: Sequence[Run]) -> EventNetwork:
    """Train one network per run."""
    start = begin(examples.vectors.shape[1], runs)
    return _descend([member(start, i) for i in range(len(runs))], start.tokens, examples, runs, False, ())[0]


def begin(width: int, runs: Sequence[Run]) -> EventNetwork:
    """One untrained network per run."""
    start = untrained([draw(first_draws(run), width, run.settings) for run in runs], runs)
    return EventNetwork(**vars(start), tokens=runs[0].settings["tokens"])


def tune(
    source: EventNetwork, examples: Examples, runs: Sequence[Run], head_only: bool, depths: Sequence[float] = ()
) -> tuple[EventNetwork, list[EventNetwork]]:
    """Go on from the source's members, one per run, with the last linear layer alone (``head_only``) or with all.

    Returns the networks at their lowest loss, and those after each of ``depths``, shares of the steps.
    """
    start = [member(source, i) for i in range(len(runs))]
    return _descend(start, source.tokens, examples, runs, head_only, depths)


def widen(network: EventNetwork, vectors: OneHot, head_only: bool) -> EventNetwork | None:
    """The network with weights for the added tokens; None where these weights are frozen."""
    if head_only:
        return None
    return _reading(network, widened(network.weights[PROJECTION], vectors, network.seeds))


def translate(network: EventNetwork, mix: csr_array, center: float) -> EventNetwork:
    """The network with weights for tokens that are mixes of its own."""
    return _reading(network, mixed(network.weights[PROJECTION], mix, center))


def predict(network: EventNetwork, examples: Examples) -> NDArray[np.float64]:
    """Probability of the outcome: shape (members, rows), in the rows' order."""
    device, events = _device(), events_of(examples, network.tokens)
    result = np.empty((len(network.seeds), len(examples)))
    with reproducible(0, device):
        for i, of_member in enumerate(result):
            w = tensors(member(network, i), device)
            table = torch.from_numpy(product(network.weights[PROJECTION][i], examples.vectors)).to(device)
            of_rows = _gathered(w, table, events, np.arange(len(examples)))
            of_member[:] = torch.softmax(logits(w, of_rows).double(), dim=1)[:, 1].cpu().numpy()
    return result


def load(folder: Path, description: Mapping[str, Any]) -> EventNetwork:
    """The network that ``save`` wrote to ``folder``; ``description`` is its model.json."""
    return EventNetwork(**vars(networks.load(folder, description)), tokens=description["tokens"])


def _descend(
    start: Sequence[Weights],
    limit: int,
    examples: Examples,
    runs: Sequence[Run],
    frozen: bool,
    depths: Sequence[float],
) -> tuple[EventNetwork, list[EventNetwork]]:
    device, events = _device(), examples.cached(("events", limit), lambda: events_of(examples, limit))
    each, marked = [], []
    for own, run in zip(start, runs, strict=True):
        with reproducible(run.seed, device):
            each.append(_Run(run, own, examples, events, frozen))
            marked.append([*each[-1].descend(depths)])
    best, along = joined(each, runs, marked, depths)
    return EventNetwork(**vars(best), tokens=limit), [EventNetwork(**vars(one), tokens=limit) for one in along]


class _Run(Descent):
    """A run of steps of AdamW. With ``frozen`` they move the head alone, and what it reads is computed once."""

    def __init__(self, run: Run, start: Weights, examples: Examples, events: Events, frozen: bool) -> None:
        super().__init__(run, start)
        self.device, self.events, self.order = _device(), events, TrainingOrder(run)
        self.w, self.vectors = tensors(start, self.device), on_device(examples.vectors, self.device)
        self.labels = torch.from_numpy(examples.labels.astype(np.int64)).to(self.device)
        self.place = np.arange(examples.vectors.shape[0])
        self.gathered = self.of_rows(np.arange(len(examples))) if frozen else None
        trained = {name: w.requires_grad_() for name, w in self.w.items() if name in HEAD or not frozen}
        # a bias or the gain of a norm is one number per output; a matrix has one per input and output
        penalised = [w for name, w in trained.items() if name in MATRICES]
        others = [w for name, w in trained.items() if name not in MATRICES]
        decay = self.settings["weight_decay"]
        groups = [{"params": penalised, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        self.trained, self.optimiser = [*trained.values()], torch.optim.AdamW(groups)

    def take_steps(self, steps: int) -> None:
        rows, _ = self.order.take(steps, 0, np.float32(1))
        # a round of federated training goes on from the steps of those before it
        for n, batch in enumerate(rows, self.settings.get("steps_before", 0) + self.taken + 1):
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings["learning_rate"] * min(n / WARM_UP, 1.0)
            self.optimiser.zero_grad()
            torch.autograd.backward(functional.cross_entropy(*self.of_batch(batch)))
            torch.nn.utils.clip_grad_norm_(self.trained, LARGEST_GRADIENT)
            self.optimiser.step()

    def of_batch(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """The logits of a step's rows, in some order, and their labels."""
        dropout, place = self.settings["dropout"], self.place
        if self.gathered is None:
            groups = [padded(self.events, some) for some in buckets(self.events, rows, BUCKET[self.device.type])]
            listed = np.unique(np.concatenate([self.events.tokens[some.at[some.there]] for some in groups]))
            place[listed] = np.arange(len(listed))
            table = table_of(self.w[PROJECTION], self.vectors, torch.from_numpy(listed).to(self.device))
            gathered = torch.cat([_features(self.w, table, place, self.events, some, dropout) for some in groups])
            rows = np.concatenate([some.rows for some in groups])
        else:
            gathered = self.gathered[rows]
        return logits(self.w, functional.dropout(gathered, dropout)), self.labels[rows]

    @torch.no_grad()
    def of_rows(self, rows: Rows) -> Tensor:
        """What the head reads of these rows: (rows, width)."""
        listed = torch.arange(self.vectors.shape[0], device=self.device)
        return _gathered(self.w, table_of(self.w[PROJECTION], self.vectors, listed), self.events, rows)

    @torch.no_grad()
    def loss(self) -> float:
        if not len(self.check):
            return math.inf
        gathered = self.of_rows(self.check) if self.gathered is None else self.gathered[self.check]
        return float(functional.cross_entropy(logits(self.w, gathered).double(), self.labels[self.check]))

    def weights(self) -> Weights:
        return {name: w.detach().cpu().numpy().copy() for name, w in self.w.items()}


def _features(
    w: Tensors, table: Tensor, place: NDArray[np.int64], events: Events, some: Padded, dropout: float = 0.0
) -> Tensor:
    """What the class token has gathered of some rows; ``place``: where each token is in the ``table``."""
    with torch.autocast(table.device.type, torch.bfloat16, enabled=table.device.type == "cuda"):
        x, there = embed(w, table, place, events, some)
        return features(w, x, None if some.there.all() else there, dropout).float()


@torch.no_grad()
def _gathered(w: Tensors, table: Tensor, events: Events, rows: Rows) -> Tensor:
    """The same of any rows, in their order, with the ``table`` of all tokens."""
    place, result = np.arange(len(table)), torch.empty(len(rows), len(w["class"]), device=table.device)
    for some in chunks(events, rows, PLACES[table.device.type]):
        result[some] = _features(w, table, place, events, padded(events, rows[some]))
    return result


def member(network: Network, i: int) -> Weights:
    return {name: array[i] for name, array in network.weights.items()}


def _reading(network: EventNetwork, projection: NDArray[np.float32]) -> EventNetwork:
    return replace(network, weights=network.weights | {PROJECTION: projection})


def tensors(weights: Weights, device: torch.device) -> dict[str, Tensor]:
    return {name: torch.tensor(array, device=device) for name, array in weights.items()}


def _device() -> torch.device:
    """A GPU where PyTorch finds one: CUDA_VISIBLE_DEVICES chooses it, or none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Draw dropout from ``seed``; on a processor in one thread, with which equal seeds give equal bytes."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(strict or device.type == "cpu")
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)
