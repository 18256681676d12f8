"""The answer for every target, in words, from the rows of the joint tables alone.

A claim is a difference of the study's one family of tests whose Holm's p is below 0.05, at a target where some arm is
better than chance. Everything else is given with its limits and called exploratory. "No difference seen" is never "no
difference".
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from conceptbridge.evaluate.multiple_testing import ALPHA
from conceptbridge.evaluate.schemas import (
    ANY_ABOVE_CHANCE,
    ARM,
    BELOW,
    CHANCE,
    CONTROL,
    NEVER,
    RECOMMENDATION,
    VS_BEST_LOCAL,
    VS_BEST_TRANSFERRED,
    VS_LOCAL_CONTROL,
)
from conceptbridge.study.strategies import strategy as find_strategy

Row = Mapping[str, Any]
NO_BETTER = "No model is shown to do better than chance."
NO_DIFFERENCE = "No difference seen"
NO_LOCAL = "Use the transferred model: there is no local model to compare with."


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


def answers(
    arms: Sequence[Row], comparisons: Sequence[Row], sites: Sequence[Row], breakeven: Sequence[Row]
) -> Iterator[Answer]:
    """Yield one answer per task and target.

    ``comparisons`` are those of AUROC. Evaluation chose the recommended arm, the reference, and the best local and
    transferred arms on validation rows; what is said of them comes from test rows.
    """
    for task, target in dict.fromkeys((row["task"], row["target"]) for row in arms):
        splits = {row["split"]: row for row in sites if (row["task"], row["site"]) == (task, target)}
        of_target = [
            [row for row in rows if (row["task"], row["target"]) == (task, target)]
            for rows in (arms, comparisons, breakeven)
        ]
        yield _answer(task, target, splits, *of_target)


def _answer(
    task: str,
    target: str,
    splits: Mapping[str, Row],
    arms: Sequence[Row],
    comparisons: Sequence[Row],
    breakeven: Sequence[Row],
) -> Answer:
    by_key = {key_of(row): row for row in arms}
    asked = {row["question"]: row for row in comparisons if row["question"] != CONTROL}
    events = splits["train"]["events"] if "train" in splits else None
    chosen = asked.get(RECOMMENDATION)
    if chosen is None or by_key[key_of(chosen)]["auroc"] is None:
        sentence = f"No arm can be recommended: {_why_not(arms)}."
        return Answer(task, target, events, None, "Not estimable.", sentence, [])

    recommended = by_key[key_of(chosen)]

    def compared(question: str) -> Compared | None:
        row = asked.get(question)
        arm = by_key.get(key_of(row, "ref_")) if row is not None else None
        return None if row is None or arm is None or arm is recommended else Compared(arm, _difference(row))

    case = Case(
        recommended,
        *(compared(name) for name in (RECOMMENDATION, VS_BEST_LOCAL, VS_LOCAL_CONTROL, VS_BEST_TRANSFERRED)),
    )
    gate = asked[ANY_ABOVE_CHANCE]["p_holm"]
    above = gate is not None and gate < ALPHA
    controls = [row for row in comparisons if row["question"] == CONTROL]
    in_its_place = [Compared(by_key[key_of(row, "ref_")], _difference(row)) for row in controls if _has_other(row)]
    sentences = [
        *_what_is_reached(case, chosen),
        *_on_what_it_rests(splits, asked[CHANCE], above),
        *(_what_is_gained(case) if above else []),
        *(_catches_up(case, chosen, breakeven) if above else []),
        *(_against_controls(case.recommended, in_its_place) if above else []),
        *(_cannot_tell(row) for row in controls if not _has_other(row)),
    ]
    verdict = _verdict(case, chosen) if above else "Too few events to say." if gate is None else NO_BETTER
    return Answer(task, target, events, above, verdict, " ".join(sentences), list(_evidence(case, in_its_place)))


def _verdict(case: Case, chosen: Row) -> str:
    recommended, reference = case.recommended, case.reference
    if not _is_local(recommended):
        if case.best_local is None:
            return NO_LOCAL
        if all(one.difference.sign > 0 for one in case.local):
            return "Use the transferred model."
        for one in case.local:
            if one.difference.sign < 0:
                worse = "the transferred model that the validation rows chose is worse on the test rows."
                return f"Stay local: {worse}" if one is case.local_control else f"Keep {_short(one.arm)}: {worse}"
        bar = next(one for one in case.local if one.difference.sign == 0)
        if reference is not None and reference.difference.sign > 0:
            name = f"a local model on {bar.arm['embedding']}, which has no meaning"
            name = name if bar is case.local_control else _short(bar.arm)
            return f"Stay local for now: transfer beats the reference, but is not shown to beat {name}."
        return f"{NO_DIFFERENCE} between the transferred model and {_short(bar.arm)}."
    if reference is None:
        if chosen["ref_embedding"] is None and case.best_transferred is None:
            return "Keep your own model."
        return "Keep your own model: no transferred model did better on the validation rows."
    if reference.difference.sign > 0:
        return f"Keep your own model, {_what_differs(recommended, reference.arm)}."
    if reference.difference.sign < 0:
        return f"Keep {_short(reference.arm)}: the model that the validation rows chose is worse on the test rows."
    names = [_short(recommended), _short(reference.arm)]
    if names[0] == names[1]:
        names = [describe(recommended), describe(reference.arm)]
    return f"Keep your own model. {NO_DIFFERENCE} between {names[0]} and {names[1]}."


def _short(row: Row) -> str:
    return f"the local model on {row['embedding']}" if _is_local(row) else "the transferred model"


def _what_differs(recommended: Row, reference: Row) -> str:
    if recommended["learner"] == reference["learner"]:
        return f"on {recommended['embedding']}"
    if recommended["embedding"] == reference["embedding"]:
        return f"with {recommended['learner']}"
    return f"with {recommended['learner']} on {recommended['embedding']}"


def _what_is_reached(case: Case, chosen: Row) -> Iterator[str]:
    """Say what the recommended arm reaches, and what those that it is compared with do."""
    reaches = f"{_subject(case.recommended)} reaches an AUROC of {_auroc(case.recommended)}."
    yield reaches[0].upper() + reaches[1:]
    if case.reference is not None:
        arm, difference = case.reference
        yield f"The reference ({describe(arm)}) reaches {_auroc(arm)}: {_seen(difference)}."
    elif chosen["reason"] == "the recommended arm is the reference":
        yield "It is the reference."
    else:
        yield f"There is no reference: {chosen['reason']}."
    same = case.reference.arm if case.reference is not None else None
    if case.best_local is not None and case.best_local.arm is not same:
        arm, difference = case.best_local
        best = f"The best local model on the validation rows ({describe(arm)})"
        yield f"{best} reaches {_auroc(arm)}: {_seen(difference)}."
    if case.local_control is not None:
        arm, difference = case.local_control
        yield (
            f"A control did better still there: {describe(arm)}, whose vectors have no meaning, reaches {_auroc(arm)} "
            f"on the test rows: {_seen(difference)}."
        )


def _seen(difference: Interval) -> str:
    """Say whether a difference was seen in the family of tests."""
    what = NO_DIFFERENCE.lower() if difference.sign == 0 else "a difference seen"
    return f"{what}, {difference}{_holm(difference)}"


def _on_what_it_rests(splits: Mapping[str, Row], chance: Row, above: bool) -> Iterator[str]:
    """Say on how many validation events arms were chosen, and whether the chosen one is above chance by itself."""
    validation = splits.get("validation", {})
    if validation.get("events") is not None:
        persons = validation.get("persons_with_event")
        of_persons = f" of {persons:,} persons" if persons not in (None, validation["events"]) else ""
        yield f"Arms were chosen on {validation['events']:,} validation events{of_persons}."
    elif validation:
        yield "Arms were chosen on so few validation events, or rows without, that their number is not shown."
    if above and (chance["lower"] is None or chance["lower"] <= 0):
        yield "Some model here does better than chance; the limits of this one do not exclude it."


def _what_is_gained(case: Case) -> Iterator[str]:
    """Say where a gain over the reference comes from, unless it is from transfer."""
    if case.reference is None or case.reference.difference.sign <= 0:
        return
    recommended, reference = case.recommended, case.reference.arm
    learner, embedding = (recommended[name] != reference[name] for name in ("learner", "embedding"))
    if _is_local(recommended):
        what = "learner and its embedding" if learner and embedding else "learner" if learner else "embedding"
        yield f"The gain over the reference is that of another {what} at home, not of transfer."
        if case.local_control is not None and case.local_control.difference.sign <= 0:
            yield "A local model on vectors without meaning is not shown to gain less."
    elif any(one.difference.sign <= 0 for one in case.local):
        yield "So the gain over the reference may come from another embedding or learner at home as well."


def _catches_up(case: Case, chosen: Row, breakeven: Sequence[Row]) -> Iterator[str]:
    """Say where the learning curve of the reference crosses the recommended arm."""
    if _is_local(chosen):
        return
    for row in breakeven:
        same = key_of(row) == key_of(chosen) and row["local_embedding"] == chosen["ref_embedding"]
        if not same or row["local_learner"] != chosen["ref_learner"]:
            continue
        curve = "Exploratory: by its learning curve, the reference"
        if row["status"] == NEVER:
            yield f"{curve} does not catch up within {row['largest']:,} local events."
        elif row["status"] == BELOW:
            yield f"{curve} is level at the smallest number of local events tried, {row['smallest']:,}."
        else:
            lower = f"{row['lower']:,.0f}" if row["lower"] is not None else f"under {row['smallest']:,}"
            upper = f"{row['upper']:,.0f}" if row["upper"] is not None else f"over {row['largest']:,}"
            yield f"{curve} catches up at about {row['events']:,.0f} local events [{lower}, {upper}]."
        return


def _against_controls(recommended: Row, controls: Sequence[Compared]) -> Iterator[str]:
    """Give what the controls reach in the recommended arm's place: no claim is made of it."""
    if not controls:
        return
    reached = ", ".join(f"{arm['embedding']} {_auroc(arm)}" for arm, _ in controls)
    said = f"Exploratory: in place of {recommended['embedding']}, {reached}."
    if any(by.lower is None or by.upper is None or by.lower <= 0 <= by.upper for _, by in controls):
        said += " Limits that include 0 leave open whether the meaning of the names matters."
    yield said


def _cannot_tell(row: Row) -> str:
    return f"Whether the meaning of the names matters here cannot be told: {row['reason']}."


def _has_other(row: Row) -> bool:
    return row["ref_embedding"] is not None


def _evidence(case: Case, controls: Sequence[Compared]) -> Iterator[Evidence]:
    """Yield the lines of the table beside an answer, each arm once."""
    yield Evidence("recommended", describe(case.recommended), _auroc(case.recommended), None)
    named = [case.recommended]
    for role, one in (
        ("reference", case.reference),
        ("best local model", case.best_local),
        ("local, on a control", case.local_control),
        ("best transferred model (exploratory)", case.best_transferred),
        *(("control (exploratory)", control) for control in controls),
    ):
        if one is not None and not any(one.arm is arm for arm in named):
            named.append(one.arm)
            yield Evidence(role, describe(one.arm), _auroc(one.arm), one.difference)


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
    return Interval(row["difference"], row["lower"], row["upper"], row["p_holm"], 3)


def _holm(difference: Interval) -> str:
    if difference.p is None:
        return ""
    return ", Holm p < 0.001" if difference.p < 0.001 else f", Holm p {difference.p:.3f}"


def _rounded(value: float, places: int) -> str:
    text = f"{value:.{places}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) < 0 else text.replace("-", "")
