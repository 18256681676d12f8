"""Networks as they are kept, and what their training draws at random."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from conceptbridge.learn.search import Run

logger = logging.getLogger(__name__)

Matrix = NDArray[np.float32]
Weights = dict[str, Matrix]


@dataclass(frozen=True)
class Network:
    """A trained network's weights, (runs, inputs, outputs) each, with the seed of each run, the step at which its
    weights were kept, and its loss on the rows that checked it; ``steps`` were computed for all runs together."""

    weights: Weights
    seeds: list[int]
    kept: list[int]
    losses: list[float]
    steps: int

    def take(self, members: Sequence[int]) -> "Network":
        """The network of these members, in this order."""
        at = list(members)
        return Network(
            {name: array[at] for name, array in self.weights.items()},
            [self.seeds[i] for i in at],
            [self.kept[i] for i in at],
            [self.losses[i] for i in at],
            self.steps,
        )

    def join(self, others: Sequence["Network"]) -> "Network":
        """The network of these members and those of ``others``."""
        each = [self, *others]
        return Network(
            {name: np.concatenate([one.weights[name] for one in each]) for name in self.weights},
            [seed for one in each for seed in one.seeds],
            [kept for one in each for kept in one.kept],
            [loss for one in each for loss in one.losses],
            sum(one.steps for one in each),
        )

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``weights.safetensors`` to ``folder`` and return what model.json has to hold."""
        save_file({name: np.ascontiguousarray(a) for name, a in self.weights.items()}, folder / "weights.safetensors")
        return {"seeds": self.seeds, "kept": self.kept}


def load(folder: Path, description: Mapping[str, Any]) -> Network:
    """The network that ``Network.save`` wrote."""
    seeds = description["seeds"]
    return Network(load_file(folder / "weights.safetensors"), seeds, description["kept"], [math.nan] * len(seeds), 0)


def uniform(rng: np.random.Generator, shape: tuple[int, int], fan_in: int) -> Matrix:
    """First weights as nn.Linear and nn.Conv1d draw them: uniform within 1 / sqrt(fan in)."""
    return (rng.random(shape, dtype=np.float32) * 2 - 1) / np.float32(math.sqrt(fan_in))


def first_draws(run: Run) -> np.random.Generator:
    """What the first weights of a run are drawn from."""
    return np.random.default_rng(run.seed)


def training_order(run: Run) -> tuple[NDArray[np.int64], np.random.Generator]:
    """The training rows of a run's steps, (steps x batch,), one permutation after another, and what its dropout is
    drawn from."""
    rng = np.random.default_rng([run.seed, 1])
    wanted = run.settings["steps"] * run.settings["batch"]
    rounds = -(-wanted // len(run.part.train))
    order = np.concatenate([rng.permutation(run.part.train) for _ in range(rounds)])
    return order[:wanted], rng
