"""The learners, by the names that a study uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from conceptbridge.study.learners import LEARNERS, find_learner

if TYPE_CHECKING:
    from conceptbridge.learn.learner import Learner

__all__ = ["LEARNERS", "learner"]


def learner(name: str) -> Learner[Any]:
    """The learner of that name; only its own module is imported, so that its change runs its own arms again and no
    others. Raises StudyError when there is none."""
    return cast("type[Learner[Any]]", find_learner(name))()
