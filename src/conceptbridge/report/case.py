"""What is compared at one target: the recommended arm, the arms beside it, and how much better it is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from conceptbridge.evaluate.multiple_testing import ALPHA
from conceptbridge.evaluate.schemas import ARM, EXTERNAL
from conceptbridge.study.strategies import strategy as find_strategy

Row = Mapping[str, Any]


class Interval(NamedTuple):
    """An estimate with its limits, None where there are none, and Holm's p where a claim can rest on it."""

    estimate: float | None
    lower: float | None
    upper: float | None
    p: float | None = None
    places: int = 2

    def __str__(self) -> str:
        if self.estimate is None:
            return "not estimable"
        if self.lower is None or self.upper is None:
            return f"{_rounded(self.estimate, self.places)} (no limits)"
        lower, upper = _rounded(self.lower, self.places), _rounded(self.upper, self.places)
        return f"{_rounded(self.estimate, self.places)} [{lower}, {upper}]"

    @property
    def sign(self) -> int:
        """1 or -1 where Holm's p says that there is a difference, otherwise 0."""
        if self.p is None or self.estimate is None or self.p >= ALPHA:
            return 0
        return 1 if self.estimate > 0 else -1


class Compared(NamedTuple):
    """An arm that the recommended one is compared with, and how much better the recommended arm is."""

    arm: Row
    difference: Interval


class Case(NamedTuple):
    """The recommended arm of a target, and what it is compared with; None where there is no such arm, or it is it."""

    recommended: Row
    reference: Compared | None
    best_local: Compared | None
    local_control: Compared | None
    best_transferred: Compared | None

    @property
    def local(self) -> list[Compared]:
        """The local arms that have to be beaten before anything is worth transferring."""
        return [one for one in (self.best_local, self.local_control) if one is not None]


def describe(row: Row, prefix: str = "") -> str:
    """Name an arm in words; with the prefix ``ref_``, the reference arm of a comparison."""
    embedding, learner, strategy, source = key_of(row, prefix)
    if strategy == EXTERNAL:
        return f"{embedding}, from its file"
    return find_strategy(str(strategy)).label.format(source=source, model=f"{learner} on {embedding}")


#: the names that the built-in embeddings of no vectors have in every study, in a reader's words
_MODEL_ON = {"onehot": "model on codes", "translated": "translated model"}


def in_words(row: Row, prefix: str = "") -> str:
    """Name a model for who reads the first screen: where it comes from and what it reads, without its learner."""
    embedding, _, strategy, source = key_of(row, prefix)
    if strategy == EXTERNAL:
        return f"{embedding}, from its file"
    model = _MODEL_ON.get(str(embedding), f"model on {embedding}")
    label = find_strategy(str(strategy)).label
    return f"your own {model}" if source == row["target"] else label.format(source=source, model=model)


def key_of(row: Row, prefix: str = "") -> tuple[str | None, ...]:
    """Return what names an arm at a target."""
    return tuple(row[prefix + name] for name in ARM)


def is_local(row: Row) -> bool:
    """Say whether the arm's model was trained at the target itself."""
    return bool(row["source"] == row["target"])


def auroc_of(arm: Row) -> Interval:
    """Return an arm's AUROC with its limits."""
    return Interval(arm["auroc"], arm["auroc_lower"], arm["auroc_upper"])


def difference_of(row: Row) -> Interval:
    """Return the difference of a comparison with its limits and Holm's p."""
    return Interval(row["difference"], row["lower"], row["upper"], row["p_holm"], 3)


def _rounded(value: float, places: int) -> str:
    text = f"{value:.{places}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) < 0 else text.replace("-", "")
