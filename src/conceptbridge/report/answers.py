"""The answer for every target, in words, from the rows of the joint tables alone."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from conceptbridge.evaluate.multiple_testing import ALPHA
from conceptbridge.evaluate.schemas import (
    ARM,
    BELOW,
    CHANCE,
    CONTROL,
    NEVER,
    RECOMMENDATION,
    VS_BEST_LOCAL,
    VS_BEST_TRANSFERRED,
)
from conceptbridge.study.strategies import strategy as find_strategy

Row = Mapping[str, Any]
NO_BETTER = "No model does better than chance, as far as this study can see."
NO_DIFFERENCE = "No difference seen"


class Interval(NamedTuple):
    """An estimate with its limits, None where there are none, and Holm's p where it comes from a comparison."""

    estimate: float | None
    lower: float | None
    upper: float | None
    p: float | None = None

    def __str__(self) -> str:
        if self.estimate is None:
            return "not estimable"
        places = 2 if self.p is None else 3  # a difference is small, and which side of 0 it is matters
        if self.lower is None or self.upper is None:
            return f"{_rounded(self.estimate, places)} (no limits)"
        return f"{_rounded(self.estimate, places)} [{_rounded(self.lower, places)}, {_rounded(self.upper, places)}]"

    @property
    def sign(self) -> int:
        """1 or -1 where Holm's p says there is a difference, otherwise 0."""
        if self.p is None or self.estimate is None or self.p >= ALPHA:
            return 0
        return 1 if self.estimate > 0 else -1


class Evidence(NamedTuple):
    """One line beside an answer: an arm, its AUROC, and how much better the recommended arm is."""

    role: str
    arm: str
    auroc: Interval
    difference: Interval | None


class Answer(NamedTuple):
    """What the study says about one task at one target; ``above_chance`` is None where nothing is estimable."""

    task: str
    target: str
    events: int | None
    above_chance: bool | None
    verdict: str
    sentence: str
    evidence: Sequence[Evidence]


def answers(
    arms: Sequence[Row], comparisons: Sequence[Row], sites: Sequence[Row], breakeven: Sequence[Row]
) -> Iterator[Answer]:
    """Yield one answer per task and target.

    ``comparisons`` are those of AUROC. Evaluation chose the recommended arm, the reference, and the best local and
    transferred arms on validation rows; what is said of them comes from test rows. A difference is seen where Holm's p
    is below 0.05.
    """
    for task, target in dict.fromkeys((row["task"], row["target"]) for row in arms):
        events = [row["events"] for row in sites if (row["task"], row["site"], row["split"]) == (task, target, "train")]
        of_target = [
            [row for row in rows if (row["task"], row["target"]) == (task, target)]
            for rows in (arms, comparisons, breakeven)
        ]
        yield _answer(task, target, events[0] if events else None, *of_target)


def _answer(
    task: str,
    target: str,
    events: int | None,
    arms: Sequence[Row],
    comparisons: Sequence[Row],
    breakeven: Sequence[Row],
) -> Answer:
    by_key = {key_of(row): row for row in arms}
    asked = {row["question"]: row for row in comparisons if row["question"] != CONTROL}
    chosen = asked.get(RECOMMENDATION)
    if chosen is None or by_key[key_of(chosen)]["auroc"] is None:
        sentence = f"No arm can be recommended: {_why_not(arms)}."
        return Answer(task, target, events, None, "Not estimable.", sentence, [])
    recommended = by_key[key_of(chosen)]
    auroc, chance = _auroc(recommended), _difference(asked[CHANCE])
    reference, difference = by_key.get(key_of(chosen, "ref_")), _difference(chosen)
    evidence = [Evidence("recommended", describe(recommended), auroc, None)]
    sentence = f"{_subject(recommended)} reaches an AUROC of {auroc}"
    if reference is None:
        sentence += f"; {chosen['reason'] or 'there is no reference'}."
    elif reference is recommended:
        sentence += ". It is the reference."
    else:
        evidence.append(Evidence("reference", describe(reference), _auroc(reference), difference))
        sentence += f"; the reference ({describe(reference)}) reaches {_auroc(reference)}."
        sentence += f" The difference is {difference}{_holm(difference)}."
    for question, role in ((VS_BEST_LOCAL, "best local model"), (VS_BEST_TRANSFERRED, "best transferred model")):
        best = by_key[key_of(asked[question], "ref_")] if question in asked else recommended
        if best is not recommended and best is not reference:
            against = _difference(asked[question])
            evidence.append(Evidence(role, describe(best), _auroc(best), against))
            seen = NO_DIFFERENCE.lower() if against.sign == 0 else "difference seen"
            sentence += f" The {role} on the validation rows ({describe(best)}) reaches {_auroc(best)}: "
            sentence += f"{seen} ({against}{_holm(against)})."
    if chance.sign > 0:
        sentence += _catches_up(chosen, breakeven, difference.sign > 0)
    controls = [
        (by_key[key_of(row, "ref_")], _difference(row))
        for row in comparisons
        if row["question"] == CONTROL and key_of(row, "ref_") != key_of(chosen, "ref_")
    ]
    evidence += [Evidence("control", describe(arm), _auroc(arm), by) for arm, by in controls]
    if controls and chance.sign > 0:
        sentence += f" {_against_controls(recommended, controls)}"
    verdict = _verdict(chance, recommended, reference, difference)
    return Answer(task, target, events, chance.sign > 0, verdict, sentence[0].upper() + sentence[1:], evidence)


def _verdict(chance: Interval, recommended: Row, reference: Row | None, difference: Interval) -> str:
    if chance.p is None:
        return "Too few events to say."
    if chance.sign <= 0:
        return NO_BETTER
    own = _is_local(recommended)
    if reference is None:
        return "Keep your own model." if own else "Use the transferred model: there is no local model to compare with."
    if recommended is reference:
        best = "no transferred model did better on the validation rows."
        return (
            f"Keep your own model: {best}" if own else "Keep the reference: no model did better on the validation rows."
        )
    if difference.sign > 0:
        return f"Keep your own model, on {recommended['embedding']}." if own else "Use the transferred model."
    name = describe if _short(recommended) == _short(reference) else _short
    if difference.sign == 0:
        return f"{NO_DIFFERENCE} between {name(recommended)} and {name(reference)}."
    return f"Keep {name(reference)}: the model that the validation rows chose is worse on the test rows."


def _short(row: Row) -> str:
    return f"the local model on {row['embedding']}" if _is_local(row) else "the transferred model"


def _catches_up(chosen: Row, breakeven: Sequence[Row], better: bool) -> str:
    """Say from how many local events the reference is as good as the recommended arm, which is ``better`` or not."""
    if _is_local(chosen):
        return ""
    for row in breakeven:
        same = key_of(row) == key_of(chosen) and row["local_embedding"] == chosen["ref_embedding"]
        if same and row["local_learner"] == chosen["ref_learner"]:
            if row["status"] == NEVER:
                return f" A local model does not catch up within {row['largest']:,} events." if better else ""
            if row["status"] == BELOW:
                return f" A local model is as good from {row['smallest']:,} events or fewer."
            lower = f"{row['lower']:,.0f}" if row["lower"] is not None else f"under {row['smallest']:,}"
            upper = f"{row['upper']:,.0f}" if row["upper"] is not None else f"over {row['largest']:,}"
            return f" A local model catches up at about {row['events']:,.0f} events [{lower}, {upper}]."
    return ""


def _against_controls(recommended: Row, controls: Sequence[tuple[Row, Interval]]) -> str:
    """Say what the controls reach in the recommended arm's place, and whether the arm is better than they are."""
    reached = ", ".join(f"{arm['embedding']} {_auroc(arm)}" for arm, _ in controls)
    known = [(arm["embedding"], by.sign) for arm, by in controls if by.estimate is not None]
    unclear = [name for name, sign in known if sign == 0]
    better = [name for name, sign in known if sign < 0]
    said = [f"{NO_DIFFERENCE.lower()} from {_listed(unclear, 'or')}"] if unclear else []
    said += [f"{_listed(better, 'and')} did better"] if better else []
    if known and not said:
        said = ["the gain is in the meaning of the names"]
    reached = f"With a control in place of {recommended['embedding']}: {reached}"
    return f"{reached}; {', '.join(said)}." if said else f"{reached}."


def _listed(names: Sequence[str], last: str) -> str:
    *before, end = names
    return f"{', '.join(before)} {last} {end}" if before else end


def _why_not(arms: Sequence[Row]) -> str:
    """Return the most frequent reason why these arms have no estimate."""
    reasons = Counter(row["reason"] for row in arms if row["reason"]).most_common(1)
    return reasons[0][0] if reasons else "the study has no such arm"


def describe(row: Row, prefix: str = "") -> str:
    """Name an arm in words; with the prefix ``ref_``, the reference arm of a comparison."""
    embedding, learner, strategy, source = key_of(row, prefix)
    return find_strategy(str(strategy)).label.format(source=source, model=f"{learner} on {embedding}")


def _is_local(row: Row) -> bool:
    """Say whether the arm's model was trained at the target itself."""
    return bool(row["source"] == row["target"])


def key_of(row: Row, prefix: str = "") -> tuple[str | None, ...]:
    """Return what names an arm at a target."""
    return tuple(row[prefix + name] for name in ARM)


def _subject(row: Row) -> str:
    """Name an arm as the subject of a sentence; a name with a comma is closed by another."""
    name = describe(row)
    return f"{name}," if "," in name else name


def _auroc(arm: Row) -> Interval:
    return Interval(arm["auroc"], arm["auroc_lower"], arm["auroc_upper"])


def _difference(row: Row) -> Interval:
    return Interval(row["difference"], row["lower"], row["upper"], row["p_holm"])


def _holm(difference: Interval) -> str:
    if difference.p is None:
        return ""
    return ", Holm p < 0.001" if difference.p < 0.001 else f", Holm p {difference.p:.3f}"


def _rounded(value: float, places: int) -> str:
    text = f"{value:.{places}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) < 0 else text.replace("-", "")
