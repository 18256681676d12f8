"""Federated averaging (McMahan et al. 2017): each site takes a few steps from the same weights, and these are averaged.

Many short rounds are what it takes: after 4 to 10 steps the sites' weights are still near each other, and their average
is as good as a model of all rows; after 50 it is not (docs/federated.md). An optional pull to the weights that a round
began with (the proximal term of FedProx, Li et al. 2020) is taken at the end of its steps.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.learn import draws
from conceptbridge.learn.federated.answers import Answer
from conceptbridge.learn.federated.client import LocalRows
from conceptbridge.learn.federated.sites import Sites, summed
from conceptbridge.learn.input_space import Space
from conceptbridge.learn.learner import Learner
from conceptbridge.learn.search import AT_CAP, WITHIN, Part, Run, cross_entropy

#: whether a token needs enough persons with the event, and enough without it; an update is of some rows, drawn anew
BY_CLASS = False
#: decimals of a validation loss: more choose no better round
DECIMALS = 6

Weights = dict[str, NDArray[np.float32]]


def refusal(onehot: bool) -> str | None:
    """Why there is no model on one-hot columns, or on vectors."""
    return None


def train(learner: Learner[Any], sites: Sites, space: Space, runs: Sequence[Run]) -> Any:
    """One network a run, from the round with the lowest validation loss, over all sites by their validation rows.

    The weights that are averaged count by a site's training rows. Without validation rows the last round is kept.
    """
    model = learner.begin(space, runs)
    [rounds] = {run.settings["rounds"] for run in runs}
    asked_runs = [(run.seed, {**run.settings}) for run in runs]
    weights, best = model.weights, model.weights
    lowest, kept = np.full(len(runs), np.inf), np.zeros(len(runs), np.int64)
    for number in range(1, rounds + 2):
        # the loss of the weights that the round begins with; the last question is for that alone
        asked = {"weights": weights, "runs": asked_runs, "number": number, "last": number > rounds}
        answers = sites.ask("update", asked)
        if sites.check_rows.any():
            losses = summed([answer.get("losses") for answer in answers], sites.check_rows / sites.check_rows.sum())
            lower = losses < lowest
        else:
            losses, lower = lowest, np.full(len(runs), True)
        if lower.any():
            lowest, kept = np.where(lower, losses, lowest), np.where(lower, number - 1, kept)
            best = {name: _chosen(lower, weights[name], best[name]) for name in best}
        if number <= rounds:
            share = sites.rows / sites.rows.sum()
            weights = {
                name: summed([answer["weights"][name] for answer in answers], share).astype(np.float32)
                for name in weights
            }
    return replace(
        model,
        weights=best,
        kept=kept.tolist(),
        losses=lowest.tolist(),
        steps=sum(rounds * run.settings["steps"] for run in runs) * len(sites.names),
        capped=[AT_CAP if at == rounds and sites.check_rows.any() else WITHIN for at in kept.tolist()],
    )


def _chosen(lower: NDArray[np.bool_], new: NDArray[np.float32], old: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.where(lower.reshape(-1, *[1] * (new.ndim - 1)), new, old)
    return result


def participant(learner: Learner[Any], local: LocalRows) -> "Participant":
    """What this does at a site."""
    return Participant(learner, local)


class Participant:
    """A site that takes steps."""

    def __init__(self, learner: Learner[Any], local: LocalRows) -> None:
        self.learner, self.local = learner, local
        self.blank: Any = None

    def answer(self, question: str, asked: dict[str, Any]) -> Answer:
        """To "update": the loss of the weights on the rows that check them, and, unless it is the last question, what
        they are after the steps of a round."""
        assert question == "update"
        runs = [
            Run(seed, settings, Part(np.zeros(0, np.int64), np.zeros(0, np.int64))) for seed, settings in asked["runs"]
        ]
        model = replace(self._blank(runs), weights=asked["weights"])
        answer: Answer = {}
        if len(self.local.checks[0]):
            with np.errstate(over="ignore", invalid="ignore"):  # too high a learning rate ends in numbers that are none
                probability = draws.predict(self.learner, model, self.local.checks)
            labels = self.local.checks[0].labels
            answer["losses"] = np.array([cross_entropy(labels, of_member) for of_member in probability]).round(DECIMALS)
        if not asked["last"]:
            answer["weights"] = self._after_steps(model, runs, asked["number"])
        return answer

    def _after_steps(self, model: Any, runs: Sequence[Run], number: int) -> Weights:
        own = [self._of_round(run, number) for run in runs]
        seeds = [run.seed for run in runs]
        result = {name: np.empty_like(array) for name, array in model.weights.items()}
        for k, examples in enumerate(self.local.labelled):
            at = [i for i, seed in enumerate(seeds) if seed - 1 == k or len(self.local.labelled) == 1]
            if not at:
                continue
            tuned, _ = self.learner.tune(model.take(at), examples, [own[i] for i in at], False)
            for name, array in tuned.weights.items():
                result[name][at] = array
        for i, run in enumerate(runs):
            pull = run.settings["proximal"] * run.settings["learning_rate"] * run.settings["steps"]
            if pull:
                for name, array in model.weights.items():
                    result[name][i] = array[i] + (result[name][i] - array[i]) / np.float32(1 + pull)
        return result

    def _of_round(self, run: Run, number: int) -> Run:
        """A run of the round's steps and no more, on rows that are drawn anew at every site and in every round."""
        steps = run.settings["steps"]
        one_pass = {
            "max_passes": 1,
            "min_pass_steps": steps,
            "max_pass_steps": steps,
            "checks_per_pass": 1,
            "patience": 1,
        }
        settings = {**run.settings, **one_pass, "steps_before": (number - 1) * steps}
        told = hashlib.sha256(f"{run.seed} {number} {self.local.site}".encode()).digest()
        part = Part(self.local.train, self.local.train[:0])
        return Run(int.from_bytes(told[:7], "big"), settings, part, self.local.min_cell_count)

    def _blank(self, runs: Sequence[Run]) -> Any:
        if self.blank is None or self.blank.seeds != [run.seed for run in runs]:
            self.blank = self.learner.begin(self.local.space, runs)
        return self.blank
