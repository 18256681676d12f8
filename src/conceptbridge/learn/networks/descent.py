"""Passes over the rows until validation loss ends them: what the training of all networks has in common."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from conceptbridge.core.paced_log import PacedLog
from conceptbridge.learn.networks.network import Network, Weights, logger
from conceptbridge.learn.search import WITHIN, Run, cap_use


class Descent(ABC):
    """A run and where it is.

    It takes at most ``max_passes`` passes over its training rows. ``checks_per_pass`` times a pass its loss on its
    checked rows is looked at; its weights are kept where that is lowest, those that it begins with included, or at the
    end where there are no such rows. After ``patience`` passes without a lower one it is over. A run whose patience is
    not over at the cap gets as many passes again.
    """

    def __init__(self, run: Run, start: Weights) -> None:
        self.settings, self.check = run.settings, run.part.check
        self.best, self.lowest, self.kept, self.taken = start, math.inf, 0, 0
        self.capped = WITHIN
        self.pass_steps = steps_per_pass(len(run.part.train), self.settings)
        self.cap: int = self.settings["max_passes"] * self.pass_steps

    @abstractmethod
    def take_steps(self, steps: int) -> None:
        """Take the next ``steps``."""

    @abstractmethod
    def loss(self) -> float:
        """Mean cross-entropy on the checked rows; infinite where there are none, so that the last weights are kept."""

    @abstractmethod
    def weights(self) -> Weights:
        """A copy of the weights as they meet any vector."""

    def step_at(self, depth: float) -> int:
        """The step at a share of the way to the cap."""
        return round(depth * self.cap)

    def descend(self, depths: Sequence[float]) -> Iterator[Weights]:
        """Go on until it is over; yields the weights after each of ``depths``, shares of the steps up to the cap.

        With ``depths`` it takes all steps up to the last of them.
        """
        patience = self.settings["patience"] * self.pass_steps
        every = max(self.pass_steps // self.settings["checks_per_pass"], 1)
        # without rows that check it, and where patience cannot end it before, the cap is a number of steps and no limit
        end = 2 * self.cap if len(self.check) and patience < self.cap else self.cap
        marks = {self.step_at(depth) for depth in depths}
        log = PacedLog(logger)
        self.best, self.lowest = self.weights(), self.loss()
        marked, over = {0: self.best}, False
        for step in sorted({*range(every, end, every), self.cap, end} | marks - {0}):
            if over and step > max(marks, default=0):
                break
            self.take_steps(step - self.taken)
            self.taken = step
            if step in marks:
                marked[step] = self.weights()
            if over or (step % every and step not in (self.cap, end)):
                continue
            loss = self.loss()
            if loss <= self.lowest:
                self.best, self.lowest, self.kept = self.weights(), loss, step
            passes = (step / self.pass_steps, end / self.pass_steps)
            log.info("pass %.0f of at most %.0f, lowest validation loss %.4f", *passes, self.lowest)
            # who has run out of patience only goes on for the marks
            over = step - self.kept >= patience
            self.capped = cap_use(step, self.cap, end, over)
        yield from (marked[self.step_at(depth)] for depth in depths)


def joined(
    each: Sequence[Descent], runs: Sequence[Run], marked: Sequence[Sequence[Weights]], depths: Sequence[float]
) -> tuple[Network, list[Network]]:
    """The network of all runs, at their lowest loss, and those after each of ``depths``: ``marked``, run by run."""
    steps = sum(run.taken for run in each)
    logger.info("%d runs, %d steps, lowest losses %s", len(runs), steps, [run.lowest for run in each])

    def network(weights: Sequence[Weights], kept: list[int], losses: list[float], steps: int) -> Network:
        stacked = {name: np.stack([own[name] for own in weights]) for name in weights[0]}
        return Network(stacked, [run.seed for run in runs], kept, losses, steps, [run.capped for run in each])

    best = network([run.best for run in each], [run.kept for run in each], [run.lowest for run in each], steps)
    along = []
    for k, depth in enumerate(depths):
        kept = [run.step_at(depth) for run in each]
        along.append(network([of_run[k] for of_run in marked], kept, [math.nan] * len(runs), 0))
    return best, along


def steps_per_pass(rows: int, settings: Mapping[str, Any]) -> int:
    """The steps of a pass: as many as take each training row once, but at least ``min_pass_steps`` and, where it is not
    0, at most ``max_pass_steps``."""
    steps: int = max(-(-rows // settings["batch"]), settings["min_pass_steps"])
    return min(steps, settings["max_pass_steps"] or steps)
