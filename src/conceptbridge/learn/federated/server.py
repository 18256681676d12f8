"""Who asks the sites: makes one input space of what they tell, trains one model with them, and keeps the best."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from conceptbridge.disclosure.suppress import both_classes_at_least
from conceptbridge.learn.arm_files import SourceResult
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.federated.answers import Answer
from conceptbridge.learn.federated.client import federation_of
from conceptbridge.learn.federated.input_space import joint_space
from conceptbridge.learn.federated.sites import Asked, Sites
from conceptbridge.learn.registry import learner
from conceptbridge.learn.search import Part, Run, search
from conceptbridge.learn.training import Arm
from conceptbridge.study.backends import find_backend
from conceptbridge.study.learners import LearnerSpec

logger = logging.getLogger(__name__)

#: the source of a model of all sites, in tables
ALL = "all"


def refusal(job: ArmJob) -> str | None:
    """Why there is no federated model of the job's learner and embedding, whatever the sites hold; None if there is."""
    spec, embedding = learner(job.learner), job.embedding
    if spec.federation is None:
        return spec.not_federated
    kind = find_backend(embedding.backend).vectors
    if embedding.learned:
        return f"{embedding.name} is learned at one site and has no vectors for the rows of several"
    if kind == "permuted":
        return f"{embedding.name} permutes the texts of all sites, of which the rare ones stay at home"
    if kind == "rows":
        return f"{embedding.name} has a vector per row, so that no token is in the rows of several persons"
    reason: str | None = federation_of(spec).refusal(kind == "none")
    return reason


def refused(reason: str) -> SourceResult:
    """What comes of a learner and embedding for which there is no federated model."""
    return SourceResult({"train_rows": None, "train_events": None, "reason": reason})


def federate(arm: Arm, asked: Asked) -> SourceResult:
    """Train one model with the sites, save it in the arm's folder, and say what it took.

    A site of too few rows takes no part; with fewer than two others there is no model, which is a finding. No row of a
    site is seen, and all seeds have the same space. ``refusal`` has been asked before.
    """
    job, budget = arm.job, arm.budget
    enrolled = dict(zip(asked.names, asked.ask("enrol", {}, asked.names), strict=True))
    absent = [str(answer["reason"]) for answer in enrolled.values() if "reason" in answer]
    present = {name: answer for name, answer in enrolled.items() if "reason" not in answer}
    for reason in absent:
        logger.info("takes no part: %s", reason)
    if len(present) < 2:
        return SourceResult(
            _counts([], budget.min_cell_count) | {"reason": f"fewer than two sites: {'; '.join(absent)}"}
        )
    counts = _counts(list(present.values()), budget.min_cell_count)
    space = joint_space(job, list(present.values()))
    if space is None:
        reason = f"no token of enough persons has a vector at {' and '.join(present)}"
        return SourceResult(counts | {"reason": reason})
    asked.ask("enter", {"space": space}, list(present))
    rows, events, check_rows = (
        np.array([answer[name] for answer in present.values()], np.float64) for name in ("rows", "events", "check_rows")
    )
    sites = Sites(list(present), rows, events, check_rows, len(space.projections), asked)
    of_learner = learner(job.learner)
    federation = federation_of(of_learner)

    def train(runs: Sequence[Run], depths: Sequence[float]) -> tuple[Any, list[Any]]:
        return federation.train(of_learner, sites, space, runs), []

    nothing = Part(np.zeros(0, np.int64), np.zeros(0, np.int64))  # the rows are the sites'
    with threadpool_limits(1):  # the same bytes on one core or eight
        model, _, [spent] = search(train, [nothing], budget, _Limits(of_learner))
    arm.save(model, space, ALL)
    return SourceResult(counts | {"reason": None, "spent": asdict(spent)})


@dataclass(frozen=True)
class _Limits:
    """The limits of a learner's settings; what caps a run is its number of rounds."""

    learner: LearnerSpec

    @property
    def cap(self) -> str | None:
        return "rounds" if "federated" in self.learner.tuning else self.learner.cap

    def beyond(self, setting: str, tried: Sequence[Any], chosen: Any) -> Any:
        return self.learner.beyond(setting, tried, chosen)


def _counts(answers: Sequence[Answer], min_cell_count: int) -> dict[str, int | None]:
    """How many training rows and events there are at all sites together."""
    rows, events = (sum(answer[name] for answer in answers) for name in ("rows", "events"))
    shown = both_classes_at_least(events, rows, min_cell_count)
    return {"train_rows": rows if shown else None, "train_events": events if shown else None}
