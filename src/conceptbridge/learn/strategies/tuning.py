"""What both ways of tuning share: the source's model goes on training on the target's rows."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

from conceptbridge.learn import draws
from conceptbridge.learn.arm_files import Probability, SourceResult, TrainedModel
from conceptbridge.learn.search import Part, Spent, search
from conceptbridge.learn.site import LABELLED
from conceptbridge.learn.strategies.source_models import SourceModels, result_of_parts
from conceptbridge.learn.training import Arm
from conceptbridge.study.backends import find_backend


class Tuning(SourceModels):
    """The source's model goes on training on the target's rows."""

    uses_target_labels = True
    trains = True
    tunes = True
    has_learning_curve = True
    #: whether all but the last part of the model stays as it is
    head_only: ClassVar[bool]

    def transfer(self, arm: Arm, source: str, trained: TrainedModel, parts: Sequence[Part]) -> SourceResult:
        """Tune every seed's model on each of ``parts``, and keep what the validation rows like best on the way."""
        least = arm.budget.min_rows
        shared = arm.labelled(trained.space, least), arm.tested(trained.space)
        each: list[Probability] = []
        about: Spent | None = None
        along: list[Probability] = []
        for part in parts:
            wider = self.with_target_tokens(arm, trained, part)
            given, tested = shared if wider is trained else (arm.labelled(wider.space, least), arm.tested(wider.space))

            def tune(runs: Any, depths: Sequence[float], start: TrainedModel = wider, given: Any = given) -> Any:
                members = start.model.take([start.model.seeds.index(run.seed) for run in runs])
                return draws.tune(start.learner, members, given, runs, self.head_only, depths)

            # the way of tuning is followed on all rows
            budget = arm.budget if part.size is None else replace(arm.budget, depths=())
            tuned, on_the_way, [spent] = search(tune, [part], budget, trained.learner)
            each.append(replace(wider, model=tuned).predict(tested))
            if about is None:
                about, along = spent, [replace(wider, model=model).predict(tested) for model in on_the_way]
                arm.save(tuned, wider.space, source)
        assert about is not None
        result = result_of_parts(asdict(about), parts, each)
        for depth, probability in zip(arm.budget.depths, along, strict=False):
            result.curves.append((None, None, depth, probability))
        return result

    def with_target_tokens(self, arm: Arm, trained: TrainedModel, part: Part) -> TrainedModel:
        """The source's model, if it is one-hot with columns for the target's training tokens of this part that it never
        had; they begin at zero. Any other embedding has vectors for them."""
        if find_backend(trained.space.backend).vectors != "none":
            return trained
        rows = arm.target_site.rows
        if part.size is not None:
            rows = rows.trained_on(rows.of(*LABELLED)[part.train])
        least = max(arm.budget.min_rows, 1)
        space = trained.space.with_tokens(
            [key for key, n in zip(rows.keys, rows.training_rows, strict=True) if n >= least]
        )
        if space.added == 0:
            return trained
        vectors, _ = space.draws(rows, None)[0]
        model = trained.learner.widen(trained.model, vectors, self.head_only)
        return trained if model is None else replace(trained, model=model, space=space)
