"""The learners that a study can name, and what it has to know of each: its settings, their ranges and their defaults.

A learner's class lies in a layer above this one, so it is found by name: among our own, or through an entry point
``conceptbridge.learners`` of an installed package. Read whenever the workflow is planned, so nothing heavy is imported
here, nor at the top of a learner's module.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from conceptbridge.core.errors import StudyError
from conceptbridge.core.registry import Registry

LEARNERS = Registry(
    "learner",
    "conceptbridge.learners",
    {
        "cnn": "conceptbridge.learn.learners.cnn:CNN",
        "attention": "conceptbridge.learn.learners.attention:Attention",
        "lightgbm": "conceptbridge.learn.learners.lightgbm:LightGBM",
        "logistic": "conceptbridge.learn.learners.logistic:Logistic",
    },
)

Schema = Mapping[str, Any]

# the ranges that most settings have
COUNT: Schema = {"type": "integer", "minimum": 1}
POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0}
NOT_NEGATIVE: Schema = {"type": "number", "minimum": 0}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
BELOW_ONE: Schema = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}


@dataclass(frozen=True)
class Setting:
    """A setting of a learner: what it is, for readers; the JSON ``schema`` of a value; and whether a study may give a
    list of values instead, of which the best on validation rows is kept."""

    about: str
    schema: Schema
    searchable: bool = True

    @property
    def given(self) -> dict[str, Any]:
        """The JSON schema of what a study may give."""
        one = dict(self.schema)
        if not self.searchable:
            return one
        return {"anyOf": [one, {"type": "array", "minItems": 1, "uniqueItems": True, "items": one}]}


class LearnerSpec:
    """What a study has to know of a learner. ``conceptbridge.learn.learner.Learner`` adds what it does."""

    name: ClassVar[str]
    """The word for it in a study's config."""
    settings: ClassVar[Mapping[str, Setting]]
    """By name."""
    tuning: ClassVar[Mapping[str, Mapping[str, Setting]]]
    """The settings of each strategy that goes on training at a target; there they take the place of ``settings``."""
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Of each preset, in the shape of a study's config. ``fair`` has every setting; another preset has what differs."""
    takes_steps: ClassVar[bool] = False
    """Whether it is trained in steps, so that the study's ``steps`` is one of its settings."""

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> str | None:
        """What is wrong with a study's settings that are right one by one; None for nothing."""
        return None

    @classmethod
    def default(cls, preset: str) -> dict[str, Any]:
        """The defaults of a preset; a strategy's part is taken from one preset as a whole."""
        return {**cls.defaults["fair"], **cls.defaults.get(preset, {})}

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """The JSON schema of what a study may give."""
        parts = {part: _object(settings, "object") for part, settings in cls.tuning.items()}
        given = _object(cls.settings, ["object", "null"])
        return given | {"properties": given["properties"] | parts}

    @classmethod
    def searched(cls, settings: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Those of ``settings`` that are lists of candidates."""
        declared = {name: one for part in (*cls.tuning.values(), cls.settings) for name, one in part.items()}
        return {key: value for key, value in settings.items() if isinstance(value, list) and declared[key].searchable}


def find_learner(name: str) -> type[LearnerSpec]:
    """The class of a learner. Raises StudyError when there is none of that name, or it is no learner."""
    found = LEARNERS.load(name)
    if not (isinstance(found, type) and issubclass(found, LearnerSpec) and getattr(found, "name", "") == name):
        raise StudyError(
            f"the learner {name!r} of the module {LEARNERS[name]} has to be a class of conceptbridge.learn.learner."
            f"Learner whose `name` is {name!r}"
        )
    if not re.fullmatch("[a-z][a-z0-9_-]*", name):  # folders and files are named after it
        raise StudyError(f"the learner {name!r}: a name is of lower-case letters, digits, - and _; rename it")
    return found


def _object(settings: Mapping[str, Setting], kind: str | list[str]) -> dict[str, Any]:
    properties = {name: setting.given for name, setting in settings.items()}
    return {"type": kind, "additionalProperties": False, "properties": properties}
