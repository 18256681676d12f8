"""Where a token stands in the space of a model: a window before the index is a place, as a state is, and so is a value.

Of W windows the places of states come first, window by window as ``vocabulary.states.SLOTS``; then, with values, those
of each window's values: of its last day, their mean, and numbers that no concept's text has (``NUMBERS``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conceptbridge.vocabulary.states import SLOTS

#: a window's places of values
LAST, MEAN, NUMBER = range(3)
#: the numbers of a row: tokens of the window, days with a token, and age (of the first window alone)
NUMBERS = ("records", "days with records", "age")
#: concepts of a person, or of the index, rather than of a day: they are in the first window alone
PERSONAL = ("age", "sex", "month")

#: the bags of places that are summed by themselves: of values, and of numbers
VALUED, NUMBERED = -1, -2


@dataclass(frozen=True)
class Windows:
    """The windows in which a model sees a row: their first and last days, the latest first, and whether with values."""

    days: tuple[tuple[int, int], ...]
    values: bool

    @classmethod
    def read(cls, spec: Mapping[str, Any] | None) -> "Windows | None":
        """The windows that ``to_dict`` told of; None where there are none."""
        return None if spec is None else cls(tuple((first, last) for first, last in spec["days"]), spec["values"])

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"days": [list(window) for window in self.days], "values": self.values}

    @property
    def places(self) -> int:
        """How many places there are."""
        return len(self.days) * (len(SLOTS) + (3 if self.values else 0))

    @property
    def plain(self) -> bool:
        """Whether the places are those of a bag without windows."""
        return self.places == len(SLOTS)

    def width(self, components: int) -> int:
        """The width of a place, given ``components`` of vectors: each of ``NUMBERS`` has a dimension of its own."""
        return max(components, len(NUMBERS)) if self.values else components

    def of_value(self, window: int, kind: int) -> int:
        """The place of a window's ``LAST`` or ``MEAN`` values, or of its ``NUMBER``s."""
        return len(self.days) * len(SLOTS) + 3 * window + kind

    def window_of(self, places: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """The window of each of these places."""
        at = np.asarray(places, np.int64)
        value = at - len(self.days) * len(SLOTS)
        return np.where(value < 0, at // len(SLOTS), value // 3)

    def kind_of(self, places: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """What each of these places is in its window, whichever that is: a state slot, or a kind of value."""
        at = np.asarray(places, np.int64)
        value = at - len(self.days) * len(SLOTS)
        return np.where(value < 0, at % len(SLOTS), len(SLOTS) + value % 3)

    def is_number(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these places are of ``NUMBERS``."""
        value = places - len(self.days) * len(SLOTS)
        return np.asarray((value >= 0) & (value % 3 == NUMBER), np.bool_)

    def bags(self, places: Sequence[int]) -> NDArray[np.int64]:
        """Which of these places are pooled together: the number of the window of states; ``VALUED`` and ``NUMBERED``,
        below 0, for places of values and of numbers, each of which is summed by itself."""
        window: NDArray[np.int64] = np.asarray(places, np.int64) // len(SLOTS)
        by_itself = np.where(self.is_number(np.asarray(places, np.int64)), NUMBERED, VALUED)
        return np.where(window < len(self.days), window, by_itself)


def windows_of(windows: Windows | None, onehot: bool) -> int:
    """In how many windows tokens are pooled; one-hot, a window is a column, and all are one bag."""
    return 1 if windows is None or onehot else len(windows.days)


def width_in_window(width: int, filled: Sequence[int], windows: Windows) -> int:
    """The width of the places of each kind, where those that are ``filled`` have this width together."""
    return width // len(filled) * len(set(windows.kind_of(filled).tolist()))


def window_key(key: str, window: int) -> str:
    """The key of a token in a window."""
    return f"{key} @{window}"


def value_key(concept: str, kind: int, window: int) -> str:
    """The key of a concept's ``LAST`` or ``MEAN`` value in a window, or of one of ``NUMBERS``."""
    return window_key(f"{concept}|{('value last', 'value mean', 'value')[kind]}", window)


def concept_of(key: str) -> str:
    """The key of a token's concept."""
    return key.rpartition("|")[0]
