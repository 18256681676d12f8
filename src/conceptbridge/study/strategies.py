"""Strategies: how a model reaches the target. What each of them declares, and where it is found by its name.

Adding a strategy takes one file with a subclass of ``Strategy`` and one line in ``STRATEGIES``. Another package names
its class in the entry point group ``conceptbridge.strategies``. A strategy's module is imported only when it is asked
for, so that its code is the code of its own arms and of no others.
"""

import re
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar

from conceptbridge.core.errors import StudyError
from conceptbridge.core.registry import Registry

#: our own stand in the order of tables
STRATEGIES = Registry(
    "strategy",
    "conceptbridge.strategies",
    {
        "local": "conceptbridge.learn.strategies.local:Local",
        "direct": "conceptbridge.learn.strategies.direct:Direct",
        "recalibrate": "conceptbridge.learn.strategies.recalibrate:Recalibrate",
        "tune-head": "conceptbridge.learn.strategies.tune_head:TuneHead",
        "tune-all": "conceptbridge.learn.strategies.tune_all:TuneAll",
        "pooled": "conceptbridge.learn.strategies.pooled:Pooled",
        "leave-one-out": "conceptbridge.learn.strategies.leave_one_out:LeaveOneOut",
    },
)
#: the strategy whose models the others begin with; every study has it
LOCAL = "local"


class Needs(StrEnum):
    """What a strategy works with. The workflow has one rule for each."""

    OWN_ROWS = "the target's own rows"
    SOURCE_MODELS = "local models of the other sources"
    SHARED_ROWS = "rows of several sites"


class Strategy:
    """How a model reaches the target: what it needs, what it is budgeted with, what the page says of it.

    A subclass sets ``name``, ``needs``, ``label`` and ``sentence``, and writes ``run``; the defaults below are those of
    a strategy that trains nothing.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]
    #: whether it learns from the target's labels; where not, it is not given them
    uses_target_labels: ClassVar[bool] = False
    #: whether it trains, so that the learner's settings are in its budget
    trains: ClassVar[bool] = False
    #: the section of the learner's settings that replaces those which are searched
    settings_section: ClassVar[str | None] = None
    #: whether it is also trained on the study's smaller numbers of labelled events
    has_learning_curve: ClassVar[bool] = False
    #: whether it goes on training the source's model, with a curve along the way
    tunes: ClassVar[bool] = False
    #: what stands as the source in tables; None for the name of the site that the model is from
    source: ClassVar[str | None] = None
    #: whether its model is the same at all targets that are no source, so that it is trained once for them
    same_for_other_targets: ClassVar[bool] = False
    #: names one of its arms on the page; ``{model}`` is the learner on the embedding, ``{source}`` the site it is from
    label: ClassVar[str]
    #: what it does, for the page: a clause that follows its name
    sentence: ClassVar[str]

    def run(self, arm: Any) -> Any:
        """Make the arm and return each source's result.

        ``arm`` (``learn.training.Arm``) has the job, the data that the strategy ``needs`` and the folder that models
        are saved in. Returns source -> ``learn.arm_files.SourceResult``; too few rows or events are a result with a
        reason, not an error.
        """
        raise NotImplementedError


@cache
def strategy(name: str) -> Strategy:
    """The strategy of that name. Raises StudyError when there is none, or it is not declared as it has to be."""
    found = STRATEGIES.load(name)
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise StudyError(f"the strategy {name!r} of {STRATEGIES[name]} has to be a subclass of {__name__}.Strategy")
    result = found()
    _check(name, result)
    return result


def _check(name: str, found: Strategy) -> None:
    """Check a declaration: what another package gets wrong is told by name, before a job starts."""
    declared = {key: getattr(found, key, None) for key in ("name", "needs", "label", "sentence")}
    if declared["name"] != name or not re.fullmatch("[a-z][a-z0-9_-]*", name) or name == "sources":
        raise StudyError(
            f"the strategy {name!r}: its class has the name {declared['name']!r}; both have to be the same, of "
            "lower-case letters, digits, - and _, and not 'sources'"
        )
    if missing := [key for key, value in declared.items() if not value]:
        raise StudyError(f"the strategy {name!r}: its class does not say its {', '.join(missing)}")
    shared = found.needs == Needs.SHARED_ROWS
    if shared == (found.source is None):
        raise StudyError(f"the strategy {name!r}: `source` names {Needs.SHARED_ROWS}; it needs {found.needs}")
    if found.same_for_other_targets and (found.uses_target_labels or not shared):
        raise StudyError(f"the strategy {name!r}: only a model of other sites' rows alone is the same for all targets")
    if (found.settings_section or found.tunes) and not found.trains:
        raise StudyError(f"the strategy {name!r}: `settings_section` and `tunes` are of a strategy that `trains`")
    if found.has_learning_curve and not found.uses_target_labels:
        raise StudyError(f"the strategy {name!r}: a learning curve is by the target's labels, which it does not use")
