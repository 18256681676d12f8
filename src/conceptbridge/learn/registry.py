"""The learners, by the names that a study uses."""

from importlib import import_module
from typing import Any

from conceptbridge.core.errors import StudyError

#: a learner is a module with fit, tune, predict, save and load; it is imported only when it is used, so that its change
#: runs its own arms again and no others
LEARNERS = {
    "attention": "conceptbridge.learn.learners.attention",
    "cnn": "conceptbridge.learn.learners.cnn",
    "lightgbm": "conceptbridge.learn.learners.lightgbm",
    "logistic": "conceptbridge.learn.learners.logistic",
}


def learner(name: str) -> Any:
    """The module of a learner. Raises StudyError when there is none of that name."""
    if name not in LEARNERS:
        raise StudyError(f"there is no learner {name!r}; there are {', '.join(LEARNERS)}")
    return import_module(LEARNERS[name])
