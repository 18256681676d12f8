"""A site in federated training: its rows, and its answers to what it is asked. Only answers leave it."""

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from conceptbridge.disclosure.suppress import is_enough
from conceptbridge.learn.arm_job import ArmJob
from conceptbridge.learn.draws import Draws
from conceptbridge.learn.federated.answers import Answer, checked
from conceptbridge.learn.federated.input_space import tokens_of
from conceptbridge.learn.input_space import Space
from conceptbridge.learn.registry import learner
from conceptbridge.learn.site import LABELLED, Site
from conceptbridge.learn.training import split_part, too_few
from conceptbridge.learn.windows import persons_with
from conceptbridge.study.learners import LearnerSpec


@dataclass(frozen=True)
class LocalRows:
    """A site's rows as the model sees them: its training rows, at the positions ``train`` of the ``labelled`` ones, and
    those that check it: none where too few persons have the event, or have it not. ``space`` is the model's."""

    site: str
    min_cell_count: int
    space: Space
    labelled: Draws
    train: NDArray[np.int64]
    checks: Draws


class Participant(Protocol):
    """What a module of federated training (``LearnerSpec.federation``) does at a site."""

    def answer(self, question: str, asked: dict[str, Any]) -> Answer: ...


def federation_of(spec: LearnerSpec) -> Any:
    """The module that trains a learner on the rows of several sites; the rule ``federate`` names it as well."""
    return import_module(str(spec.federation))


class Client:
    """A site of the ``job``.

    Its training rows are without the tokens of fewer training persons than ``min_cell_count``, with and without the
    event where a module's sums would tell of each (``BY_CLASS``).
    """

    def __init__(self, job: ArmJob, site: Site) -> None:
        self.job, self.site = job, site
        self.federation = federation_of(learner(job.learner))
        self.participant: Participant | None = None
        self.enough = self._enough_persons()

    def answer(self, question: str, asked: dict[str, Any]) -> Answer:
        """Answer a question. Raises StudyError when the answer must not leave."""
        if question == "enrol":
            answer = self._enrol()
        elif question == "enter":
            answer = self._enter(asked["space"])
        else:
            assert self.participant is not None
            answer = self.participant.answer(question, asked)
        return checked(question, answer, self.job.budget.min_cell_count)

    def _enrol(self) -> Answer:
        rows, budget = self.site.rows, self.job.budget
        labels = rows.labels[rows.of("train")]
        reason = too_few(labels, max(budget.min_events, budget.min_cell_count))
        if reason is None and not self._both_classes("train"):
            reason = f"fewer than {budget.min_cell_count} persons with the event, or without it,"
        if reason is not None:
            return {"reason": f"{reason} among the training rows at {self.site.name}"}
        check_rows = len(rows.of("validation")) if self._both_classes("validation") else 0
        counts = {"rows": len(labels), "events": int(labels.sum()), "check_rows": check_rows}
        return counts | tokens_of(self.site, self.job, self.enough)

    def _enter(self, space: Space) -> Answer:
        rows = self.site.rows
        # what too few persons have is in no training row
        held = replace(rows, training_rows=np.where(self.enough, rows.training_rows, 0))
        site, labelled = replace(self.site, rows=held), rows.of(*LABELLED)
        train = split_part(site, labelled).train
        least = max(self.job.budget.min_rows, 1)
        checking = rows.of("validation") if self._both_classes("validation") else labelled[:0]
        local = LocalRows(
            site.name,
            self.job.budget.min_cell_count,
            space,
            site.draws(space, labelled, least, train),
            train,
            site.draws(space, checking),
        )
        self.participant = self.federation.participant(learner(self.job.learner), local)
        return {}

    def _both_classes(self, split: str) -> bool:
        """Whether enough persons have a row of the split with the event, and one without."""
        rows, few = self.site.rows, self.job.budget.min_cell_count
        of_split = rows.of(split)
        persons = [len(np.unique(rows.person_ids[of_split[rows.labels[of_split] == label]])) for label in (0, 1)]
        return is_enough(min(persons), few)

    def _enough_persons(self) -> NDArray[np.bool_]:
        """Which tokens enough training persons have: (tokens,)."""
        rows, few = self.site.rows, self.job.budget.min_cell_count
        parts = [rows]
        if self.federation.BY_CLASS:
            parts = [rows.take(np.flatnonzero(rows.labels == label)) for label in (0, 1)]
        enough = rows.training_rows >= max(self.job.budget.min_rows, 1)
        for part in parts:
            enough &= is_enough(persons_with(part), few)
        return enough
