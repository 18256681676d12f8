"""Networks as they are kept, and what their training draws at random."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from conceptbridge.learn.search import WITHIN, Run

logger = logging.getLogger(__name__)

Matrix = NDArray[np.float32]
Weights = dict[str, Matrix]


@dataclass(frozen=True)
class Network:
    """A trained network's weights, (runs, inputs, outputs) each, with the seed of each run, the step at which its
    weights were kept, its loss on the rows that checked it, and what it used of its cap (``learner.Model.capped``);
    ``steps`` were computed for all runs together."""

    weights: Weights
    seeds: list[int]
    kept: list[int]
    losses: list[float]
    steps: int
    capped: list[int]

    def take(self, members: Sequence[int]) -> Self:
        """The network of these members, in this order."""
        at = list(members)
        return replace(
            self,
            weights={name: array[at] for name, array in self.weights.items()},
            seeds=[self.seeds[i] for i in at],
            kept=[self.kept[i] for i in at],
            losses=[self.losses[i] for i in at],
            capped=[self.capped[i] for i in at],
        )

    def join(self, others: Sequence["Network"]) -> Self:
        """The network of these members and those of ``others``."""
        each: list[Network] = [self, *others]
        return replace(
            self,
            weights={name: np.concatenate([one.weights[name] for one in each]) for name in self.weights},
            seeds=[seed for one in each for seed in one.seeds],
            kept=[kept for one in each for kept in one.kept],
            losses=[loss for one in each for loss in one.losses],
            steps=sum(one.steps for one in each),
            capped=[used for one in each for used in one.capped],
        )

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``weights.safetensors`` to ``folder`` and return what model.json has to hold."""
        save_file({name: np.ascontiguousarray(a) for name, a in self.weights.items()}, folder / "weights.safetensors")
        return {"seeds": self.seeds, "kept": self.kept}


def load(folder: Path, description: Mapping[str, Any]) -> Network:
    """The network that ``Network.save`` wrote."""
    seeds, weights = description["seeds"], load_file(folder / "weights.safetensors")
    return Network(weights, seeds, description["kept"], [math.nan] * len(seeds), 0, [WITHIN] * len(seeds))


def untrained(drawn: Sequence[Weights], runs: Sequence[Run]) -> Network:
    """The network of the ``drawn`` weights, one member a run."""
    weights = {name: np.stack([own[name] for own in drawn]) for name in drawn[0]}
    losses, nothing = [math.nan] * len(runs), [0] * len(runs)
    return Network(weights, [run.seed for run in runs], nothing, losses, 0, [WITHIN] * len(runs))


def uniform(rng: np.random.Generator, shape: tuple[int, int], fan_in: float) -> Matrix:
    """First weights as nn.Linear and nn.Conv1d draw them: uniform within 1 / sqrt(fan in)."""
    return (rng.random(shape, dtype=np.float32) * 2 - 1) / np.float32(math.sqrt(fan_in))


def first_draws(run: Run) -> np.random.Generator:
    """What the first weights of a run are drawn from."""
    return np.random.default_rng(run.seed)


class TrainingOrder:
    """The training rows of a run's steps, one permutation after another, and what passes dropout in each."""

    def __init__(self, run: Run) -> None:
        self.batch, self.rows = run.settings["batch"], run.part.train
        # of their own, so that neither depends on how many steps are taken at once
        self.orders, self.dropout = (np.random.default_rng([run.seed, stream]) for stream in (1, 2))
        self.left = self.rows[:0]

    def take(self, steps: int, outputs: int, keep: np.float32) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The rows of the next ``steps``, (steps, batch), and which of ``outputs`` features of each pass, where a share
        ``keep`` does: (steps, batch, outputs)."""
        wanted = steps * self.batch
        missing = max(wanted - len(self.left), 0)
        rounds = -(-missing // len(self.rows))
        order = np.concatenate([self.left, *(self.orders.permutation(self.rows) for _ in range(rounds))])
        self.left = order[wanted:]
        shape = (steps, self.batch)
        return order[:wanted].reshape(shape), self.dropout.random((*shape, outputs), dtype=np.float32) < keep
