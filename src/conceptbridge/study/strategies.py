"""Strategies: how a model reaches the target. What each of them declares, and where it is found by its name.

Adding a strategy takes one file with a subclass of ``Strategy`` and one line in ``STRATEGIES``. Another package
declares its class in the entry point group ``conceptbridge.strategies``. A strategy's module is imported only on
demand, so its code counts for its own arms and no others.
"""

import re
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar

from conceptbridge.core.errors import StudyError
from conceptbridge.core.registry import Registry

#: our own are in the order of tables
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
        "federated": "conceptbridge.learn.strategies.federated:Federated",
    },
)
#: the strategy whose models the others start from; every study has it
LOCAL = "local"


class Needs(StrEnum):
    """What a strategy needs. The workflow has one rule for each."""

    OWN_ROWS = "the target's own rows"
    SOURCE_MODELS = "local models of the other sources"
    SHARED_ROWS = "rows of several sites"
    ROUNDS = "rounds of several sites"


#: what a strategy needs whose model is of several sites
JOINT = (Needs.SHARED_ROWS, Needs.ROUNDS)


class Strategy:
    """How a model reaches the target: what it needs, its budget, and what the page says about it.

    A subclass sets ``name``, ``needs``, ``label`` and ``sentence``, and writes ``run``; the defaults below are those of
    a strategy that trains nothing.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]
    #: whether it learns from the target's labels; otherwise it does not get them
    uses_target_labels: ClassVar[bool] = False
    #: whether it trains, so that the learner's settings are in its budget
    trains: ClassVar[bool] = False
    #: the section of the learner's settings that replaces the searched ones
    settings_section: ClassVar[str | None] = None
    #: whether it is also trained on the study's smaller numbers of labelled events
    has_learning_curve: ClassVar[bool] = False
    #: whether it continues to train the source's model, with a curve along the way
    tunes: ClassVar[bool] = False
    #: the source in tables; None for the name of the site that the model comes from
    source: ClassVar[str | None] = None
    #: whether its model is the same at all targets that are not sources, so that it is trained once for them
    same_for_other_targets: ClassVar[bool] = False
    #: the label of its arms on the page; ``{model}`` is the learner on the embedding, ``{source}`` the model's site
    label: ClassVar[str]
    #: what it does, for the page: a clause that follows its name
    sentence: ClassVar[str]

    def run(self, arm: Any) -> Any:
        """Train or transfer the models of an arm, and return each source's result.

        ``arm`` (``learn.training.Arm``) has the job, the data that the strategy ``needs`` and the folder for saved
        models. Returns source -> ``learn.arm_files.SourceResult``; too few rows or events give a result with a reason,
        not an error.
        """
        raise NotImplementedError


@cache
def strategy(name: str) -> Strategy:
    """Return the strategy of that name. Raises StudyError if there is none, or its declaration is wrong."""
    loaded = STRATEGIES.load(name)
    if not (isinstance(loaded, type) and issubclass(loaded, Strategy)):
        raise StudyError(f"the strategy {name!r} of {STRATEGIES[name]} must be a subclass of {__name__}.Strategy")
    result = loaded()
    _check(name, result)
    return result


def _check(name: str, found: Strategy) -> None:
    """Check a declaration, so that a mistake in another package shows before a job starts."""
    declared = {key: getattr(found, key, None) for key in ("name", "needs", "label", "sentence")}
    if declared["name"] != name or not re.fullmatch("[a-z][a-z0-9_-]*", name) or name == "sources":
        raise StudyError(
            f"the strategy {name!r}: its class has the name {declared['name']!r}; both must be the same, have only "
            "lower-case letters, digits, - and _, and not be 'sources'"
        )
    if missing := [key for key, value in declared.items() if not value]:
        raise StudyError(f"the strategy {name!r}: its class does not set {', '.join(missing)}")
    shared = found.needs == Needs.SHARED_ROWS
    if (found.needs in JOINT) == (found.source is None):
        raise StudyError(f"the strategy {name!r}: `source` names {Needs.SHARED_ROWS}; it needs {found.needs}")
    if found.same_for_other_targets and (found.uses_target_labels or not shared):
        raise StudyError(f"the strategy {name!r}: only a model of other sites' rows alone is the same for all targets")
    if (found.settings_section or found.tunes) and not found.trains:
        raise StudyError(f"the strategy {name!r}: `settings_section` and `tunes` need `trains`")
    if found.has_learning_curve and not found.uses_target_labels:
        raise StudyError(f"the strategy {name!r}: `has_learning_curve` needs `uses_target_labels`")
