"""Where the state of a token lives: its state slot."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: a slot's states; any other state is a category, whose value is in the text
SLOTS = {
    "present": ("present",),
    "absent": ("absent",),
    "high": ("high", "very high", "positive"),
    "low": ("low", "very low"),
    "normal": ("normal", "middle", "negative"),
    "category": (),
}
#: the states that a text need not name where states are slots
PLACED = tuple(state for states in SLOTS.values() for state in states)

#: state -> the first of its slot, which stands for them all; a category stands for itself
BROAD = {state: states[0] for states in SLOTS.values() for state in states}

_SLOT_OF = {state: slot for slot, states in enumerate(SLOTS.values()) for state in states}


def with_state(text: str, state: str) -> str:
    """Return the text with the state, unless it is that of a finding which is there, or the text names it, as it does
    where states are words or categories."""
    return text if state in ("", "present") or state.casefold() in text.casefold() else f"{text}, {state}"


def slots_of(states: Sequence[str]) -> NDArray[np.int64]:
    """The slot of each state, by its position in ``SLOTS``: shape (states,)."""
    return np.array([_SLOT_OF.get(state, len(SLOTS) - 1) for state in states], dtype=np.int64)
