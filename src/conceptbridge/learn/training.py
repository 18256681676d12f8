"""What strategies share: the arm that is being made, the rows it may learn from, and training on them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.disclosure.suppress import both_classes_at_least
from conceptbridge.learn import draws
from conceptbridge.learn.arm_files import SourceResult, TrainedModel, load_model, save_model
from conceptbridge.learn.arm_job import ArmJob, Budget
from conceptbridge.learn.draws import Draws
from conceptbridge.learn.input_space import NoVectorError, Space, fit_space
from conceptbridge.learn.registry import learner
from conceptbridge.learn.search import Part, search, sized_parts
from conceptbridge.learn.site import LABELLED, TESTED, Site
from conceptbridge.learn.weight_digits import round_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arm:
    """An arm that is being made: its job, the data that its strategy needs, and the folder that models are saved in."""

    job: ArmJob
    folder: Path
    #: None where the model of all sources is trained alone; without labels where the strategy uses none of them
    target: Site | None = None
    #: the other sites' rows
    other_sites: Sequence[Site] = ()
    #: source -> folder of its local arm
    source_arms: Mapping[str, Path] = field(default_factory=dict)
    #: folder of the model of all sources' rows, for a target that is none of them
    shared_arm: Path | None = None
    #: source -> how its model is brought in the target's words (``translated.translate_model``)
    translations: Mapping[str, Callable[[TrainedModel], TrainedModel]] = field(default_factory=dict)

    @property
    def budget(self) -> Budget:
        """What the arm may spend."""
        return self.job.budget

    @property
    def target_site(self) -> Site:
        """The target, of a strategy that cannot do without."""
        assert self.target is not None
        return self.target

    def load(self, arm: Path, source: str) -> TrainedModel:
        """A source's model in the folder ``arm``, translated where there is a translation.

        Raises StudyError when it was made with another embedding, or cannot be translated.
        """
        trained = load_model(arm / "models" / source, self.job.learner, self.job.embedding.fingerprint)
        return self.translations[source](trained) if source in self.translations else trained

    def save(self, model: Any, space: Space, source: str, **more: Any) -> None:
        """Save a source's model in the arm's folder."""
        about = {"learner": self.job.learner, "strategy": self.job.strategy, "source": source}
        about |= {"target": self.target.name} if self.target else {}
        save_model(model, space, self.folder / "models" / source, about | more)

    @property
    def labels(self) -> NDArray[np.int8]:
        """Of the target's training and validation rows."""
        rows = self.target_site.rows
        return rows.labels[rows.of(*LABELLED)]

    def labelled(self, space: Space, min_rows: int = 0) -> Draws:
        """The target's training and validation rows, as a model of ``space`` sees them; one that learns from the
        training rows does so without the tokens of fewer than ``min_rows`` of them."""
        labelled = self.target_site.rows.of(*LABELLED)
        return self.target_site.draws(space, labelled, min_rows, split_part(self.target_site, labelled).train)

    def tested(self, space: Space) -> Draws:
        """The target's validation and test rows, as a model of ``space`` sees them."""
        return self.target_site.draws(space, self.target_site.rows.of(*TESTED))


def train(arm: Arm, on: Site, labelled: NDArray[np.int64], parts: Sequence[Part]) -> SourceResult:
    """Fit space and learner on each of ``parts`` of the ``labelled`` rows of the site ``on``, save the first model, of
    all the rows, and predict the target, if there is one. A part after the first is a point of the learning curve."""
    of_learner, budget, embedding = learner(arm.job.learner), arm.budget, arm.job.embedding
    result = SourceResult({"reason": None})
    for part in parts:
        # a smaller part knows only its own tokens
        rows = on.rows if part.size is None else on.rows.trained_on(labelled[part.train])
        seen = Site(on.name, rows, on.table)
        try:
            space = fit_space(
                embedding.name,
                embedding.fingerprint,
                embedding.backend,
                rows,
                on.table,
                budget.min_rows,
                budget.scale,
                budget.components,
                budget.seeds if embedding.drawn else 1,
            )
        except NoVectorError as error:
            if part.size is None:
                return SourceResult({"reason": f"{error} at {on.name}"})
            continue
        given = seen.draws(space, labelled, budget.min_rows, part.train)

        def fit(runs: Any, depths: Sequence[float], given: Draws = given) -> Any:
            return draws.fit(of_learner, given, runs), []

        model, _, [spent] = search(fit, [part], budget, of_learner)
        if part.size is None:
            model = round_weights(of_learner, model, partial(draws.predict, of_learner, draws=given))
            arm.save(model, space, on.name)
        for seen_once in given:
            seen_once.cache.clear()  # the rows that are predicted need the memory
        probability = draws.predict(of_learner, model, arm.tested(space)) if arm.target else None
        if part.size is None:
            result.probability, result.entry["spent"] = probability, asdict(spent)
        elif probability is not None:
            result.curves.append((part.size, part.replicate, None, probability))
    return result


@dataclass(frozen=True)
class TargetParts:
    """What a model may learn from at a target: ``parts`` are all of its labelled rows, then each sized subset, by
    position among them; ``sizes`` says what each subset holds, ``reason`` why nothing can be trained there."""

    parts: list[Part]
    sizes: list[dict[str, Any]]
    reason: str | None


def target_parts(target: Site, budget: Budget) -> TargetParts:
    """All labelled rows of the target and its sized subsets; a subset of too few events or rows is left out."""
    labelled = target.rows.of(*LABELLED)
    labels, people = target.rows.labels[labelled], target.rows.person_ids[labelled]
    whole = split_part(target, labelled)
    reason = too_few(labels[whole.train], budget.min_events)
    parts, sizes = [whole], []
    for part in sized_parts(labels, people, whole.train, budget.sizes, budget.replicates):
        rows = labels[np.concatenate([part.train, part.check])]
        few, held = too_few(rows, budget.min_events), counts(rows, budget)
        about: dict[str, Any] = {"size": part.size, "replicate": part.replicate}
        sizes.append(about | {"rows": held["train_rows"], "events": held["train_events"], "reason": few})
        if few is None:
            parts.append(part)
    return TargetParts(parts, sizes, reason and f"{reason} among the training rows at {target.name}")


def split_part(site: Site, labelled: NDArray[np.int64]) -> Part:
    """The site's training rows to train on and its validation rows to check, by position among the ``labelled``."""
    is_train = site.rows.split[labelled].astype(str) == "train"
    return Part(np.flatnonzero(is_train), np.flatnonzero(~is_train))


def too_few(labels: NDArray[np.int8], min_events: int) -> str | None:
    """Say what of these labels is too little to train on; None where there is enough."""
    events = int(labels.sum())
    for count, what in ((events, "events"), (len(labels) - events, "rows without the event")):
        if count < min_events:
            return f"fewer than {min_events} {what}"
    return None


def counts(labels: NDArray[np.int8], budget: Budget) -> dict[str, int | None]:
    """How many rows were trained on and how many events: None where either class is a small count."""
    rows, events = len(labels), int(labels.sum())
    shown = both_classes_at_least(events, rows, budget.min_cell_count)
    return {"train_rows": rows if shown else None, "train_events": events if shown else None}


def training_counts(site: Site, budget: Budget) -> dict[str, int | None]:
    """``counts`` of a site's training rows."""
    return counts(site.rows.labels[site.rows.of("train")], budget)
