"""A token in words: the concept's name, its state or what its number is, and when."""

from collections.abc import Mapping, Sequence

from conceptbridge.learn.places import NUMBERS, PERSONAL, Windows, concept_of
from conceptbridge.learn.rows import SiteRows
from conceptbridge.vocabulary.states import with_state

#: what a value is called
_VALUES = {"value last": "last value", "value mean": "mean value"}


def in_words(key: str, text: str | None, windows: Windows | None) -> str:
    """Say what a token is: "temperature, last value, day of the index".

    ``text`` is the concept's name; the key stands for one that has none.
    """
    base, _, window = key.rpartition(" @") if windows is not None else (key, "", "")
    concept, _, state = base.rpartition("|")
    parts = [text or concept or base]
    if concept in NUMBERS and state == "value":
        parts = ["age"] if concept == "age" else [f"number of {concept}"]
    elif state in _VALUES:
        parts.append(_VALUES[state])
    else:
        parts = [with_state(parts[0], state)]
    if windows is not None and window.isdigit() and concept not in PERSONAL:
        parts.append(_days(*windows.days[int(window)]))
    return ", ".join(parts)


def named(key: str, names: Mapping[str, str], windows: Windows | None) -> str | None:
    """A token in words, by the names that ``names_of`` has; None without one: a key can hold a hospital's."""
    base = key.rpartition(" @")[0] if windows is not None else key
    concept = concept_of(base)
    text = names.get(base) or names.get(concept)
    return in_words(key, text, windows) if text or concept in NUMBERS or concept.isdigit() else None


def words_of(rows: SiteRows) -> list[str]:
    """Every token of the rows in words, by position."""
    return [in_words(key, text, rows.windows) for key, text in zip(rows.keys, rows.texts, strict=True)]


def names_of(keys: Sequence[str], texts: Sequence[str | None]) -> dict[str, str]:
    """The name of each token, and of each concept: that of the first of its tokens that has one."""
    names: dict[str, str] = {}
    for key, text in zip(keys, texts, strict=True):
        if text is not None:
            names.setdefault(key, text)
            names.setdefault(concept_of(key), text)
    return names


def _days(first: int, last: int) -> str:
    if first == last == 0:
        return "day of the index"
    if last in (0, -1):
        return f"the {-first} days before" if last else f"the index and the {-first} days before"
    return f"{-last} to {-first} days before" if last != first else f"{-first} days before"
