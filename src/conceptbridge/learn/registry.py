"""The learners, by the name that a study uses."""

from importlib import import_module
from typing import Any

from conceptbridge.errors import StudyError

#: a learner is a module with fit, tune, predict, save and load; it is imported only when it is used
LEARNERS = {
    "attention": "conceptbridge.learn.attention",
    "cnn": "conceptbridge.learn.cnn",
    "lightgbm": "conceptbridge.learn.boosting",
    "logistic": "conceptbridge.learn.logistic",
}


def learner(name: str) -> Any:
    """The module of a learner. Raises StudyError when there is none of that name."""
    if name not in LEARNERS:
        raise StudyError(f"there is no learner {name!r}; there are {', '.join(LEARNERS)}")
    return import_module(LEARNERS[name])
