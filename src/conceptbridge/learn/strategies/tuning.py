"""What both ways of tuning share: the source's model goes on training on the target's rows."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from conceptbridge.learn import draws
from conceptbridge.learn.arm_files import SourceResult, TrainedModel
from conceptbridge.learn.search import Part, search
from conceptbridge.learn.strategies.source_models import SourceModels, result_of_parts
from conceptbridge.learn.training import Arm


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
        model, budget, learner = trained.model, arm.budget, trained.learner
        given, tested = arm.labelled(trained.space), arm.tested(trained.space)

        def tune(runs: Any, depths: Sequence[float]) -> Any:
            starts = model.take([model.seeds.index(run.seed) for run in runs])
            return draws.tune(learner, starts, given, runs, self.head_only, depths)

        tuned, along, [spent, *_] = search(
            tune, parts, budget.settings, budget.searched, budget.max_trials, budget.seeds, budget.depths
        )
        arm.save(tuned.take(range(budget.seeds)), trained.space, source)
        each = np.split(draws.predict(learner, tuned, tested), len(parts))
        result = result_of_parts(asdict(spent), parts, each)
        for depth, there in zip(budget.depths, along, strict=False):
            along_the_way = draws.predict(learner, there.take(range(budget.seeds)), tested)
            result.curves.append((None, None, depth, along_the_way))
        return result
