"""The learners that a study can name, and what a study knows of each: its settings, their ranges and defaults.

A learner's class is in a layer above this one, so it is found by name: among our own, or through the entry point group
``conceptbridge.learners`` of an installed package. Planning the workflow imports this module and the learners', so they
import nothing heavy at the top.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from conceptbridge.core.errors import StudyError
from conceptbridge.core.registry import Registry

LEARNERS = Registry(
    "learner",
    "conceptbridge.learners",
    {
        "cnn": "conceptbridge.learn.learners.cnn:CNN",
        "transformer": "conceptbridge.learn.learners.transformer:Transformer",
        "lightgbm": "conceptbridge.learn.learners.lightgbm:LightGBM",
        "logistic": "conceptbridge.learn.learners.logistic:Logistic",
    },
)

Schema = Mapping[str, Any]

# the ranges of most settings
COUNT: Schema = {"type": "integer", "minimum": 1}
POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0}
NOT_NEGATIVE: Schema = {"type": "number", "minimum": 0}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
BELOW_ONE: Schema = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}


@dataclass(frozen=True)
class Setting:
    """A setting of a learner: a description for readers, the JSON ``schema`` of a value, and whether a study may give a
    list of values instead, of which the best on validation rows is kept.

    ``extends``: where that is the lowest or highest of the list, the search goes one step further, in the same ratio.
    A list that spans the whole range of a setting needs no such step.
    """

    about: str
    schema: Schema
    searchable: bool = True
    extends: bool = True

    @property
    def given(self) -> dict[str, Any]:
        """The JSON schema of what a study may give."""
        value, about = dict(self.schema), {"description": self.about}
        if not self.searchable:
            return about | value
        return about | {"anyOf": [value, {"type": "array", "minItems": 1, "uniqueItems": True, "items": value}]}

    def beyond(self, tried: Sequence[Any], chosen: Any) -> Any:
        """Return the value one step beyond ``chosen``, in the same ratio, if it is the lowest or highest of the
        ``tried`` ones; None for another one, and where the setting does not extend or allows no further value."""
        values = sorted({value for value in tried if isinstance(value, int | float) and not isinstance(value, bool)})
        if not self.extends or len(values) < 2 or chosen not in (values[0], values[-1]) or values[0] <= 0:
            return None
        neighbour = values[1] if chosen == values[0] else values[-2]
        further = float(f"{chosen * chosen / neighbour:.3g}")
        further = max(further, self.schema.get("minimum", further))
        further = min(further, self.schema.get("maximum", further))
        if further >= (limit := self.schema.get("exclusiveMaximum", float("inf"))):
            further = (chosen + limit) / 2
        if self.schema["type"] == "integer":
            further = round(further)
        return None if further == chosen else further


class LearnerSpec:
    """What a study knows of a learner. ``conceptbridge.learn.learner.Learner`` adds what it does."""

    name: ClassVar[str]
    """Its name in a study's config."""
    settings: ClassVar[Mapping[str, Setting]]
    """Its settings, by name."""
    tuning: ClassVar[Mapping[str, Mapping[str, Setting]]]
    """The settings of each strategy that continues training at a target; there they replace ``settings``."""
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]]
    """The defaults of each preset, in the shape of a study's config. ``fair`` has every setting, another preset only
    what differs."""
    sees: ClassVar[Literal["windows", "events"]] = "events"
    """How it gets a row: ``windows``, where the task has any, with an event as a token of its window, and values as
    tokens with a weight (``Examples.weights``); or its ``events`` one by one (``Examples.days``, ``values``)."""
    takes_passes: ClassVar[bool] = False
    """Whether it trains in passes over the rows, so that the study's ``max_passes`` is one of its settings."""
    federation: ClassVar[str | None] = None
    """The module that trains it on the rows of several sites without moving one (``learn.federated``), found by name,
    so that an edit of it runs no other arm again. None: there is no way, and ``not_federated`` says why."""
    not_federated: ClassVar[str] = "its models cannot be averaged"
    """A clause for arm.json and the page."""
    cap: ClassVar[str | None] = None
    """The setting that caps the length of a run that validation loss ends; the learner doubles it once
    (``Model.capped``). None: it has none."""

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> str | None:
        """Say what is wrong with settings that are each valid on their own; None if nothing is."""
        return None

    @classmethod
    def default(cls, preset: str) -> dict[str, Any]:
        """Return the defaults of a preset; a strategy's section comes from one preset as a whole."""
        return {**cls.defaults["fair"], **cls.defaults.get(preset, {})}

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """Return the JSON schema of what a study may give."""
        parts = {part: _object(settings, "object") for part, settings in cls.tuning.items()}
        given = _object(cls.settings, ["object", "null"])
        return given | {"properties": given["properties"] | parts}

    @classmethod
    def searched(cls, settings: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return those of ``settings`` that are lists of candidates."""
        declared = cls._declared()
        return {key: value for key, value in settings.items() if isinstance(value, list) and declared[key].searchable}

    @classmethod
    def beyond(cls, setting: str, tried: Sequence[Any], chosen: Any) -> Any:
        """Return the next value of a setting if ``chosen`` is at an edge of the ``tried`` ones; else None."""
        return cls._declared()[setting].beyond(tried, chosen)

    @classmethod
    def _declared(cls) -> dict[str, Setting]:
        return {name: setting for part in (*cls.tuning.values(), cls.settings) for name, setting in part.items()}


def find_learner(name: str) -> type[LearnerSpec]:
    """Return the class of a learner. Raises StudyError if there is none of that name, or it is not a learner."""
    result = LEARNERS.load(name)
    if not (isinstance(result, type) and issubclass(result, LearnerSpec) and getattr(result, "name", "") == name):
        raise StudyError(
            f"the learner {name!r} of the module {LEARNERS[name]} must be a subclass of conceptbridge.learn.learner."
            f"Learner whose `name` is {name!r}"
        )
    if not re.fullmatch("[a-z][a-z0-9_-]*", name):  # folders and files are named after it
        raise StudyError(f"the learner {name!r}: a name has only lower-case letters, digits, - and _; rename it")
    return result


def _object(settings: Mapping[str, Setting], kind: str | list[str]) -> dict[str, Any]:
    properties = {name: setting.given for name, setting in settings.items()}
    return {"type": kind, "additionalProperties": False, "properties": properties}
