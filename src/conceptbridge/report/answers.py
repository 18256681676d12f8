"""The answer for every target, in words, from the rows of the joint tables alone.

A claim is a difference of the study's one family of tests whose Holm's p is below 0.05, at a target where some arm is
better than chance. Everything else is given with its limits and called exploratory. "No difference seen" is never "no
difference".
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from conceptbridge.core.read_parquet import read_table
from conceptbridge.evaluate.multiple_testing import ALPHA
from conceptbridge.evaluate.schemas import (
    ANY_ABOVE_CHANCE,
    BELOW,
    CHANCE,
    CONTROL,
    NEVER,
    RECOMMENDATION,
    VS_BEST_LOCAL,
    VS_BEST_TRANSFERRED,
    VS_LOCAL_CONTROL,
)
from conceptbridge.report.case import (
    Case,
    Compared,
    Interval,
    Row,
    auroc_of,
    describe,
    difference_of,
    is_local,
    key_of,
)
from conceptbridge.report.verdicts import NO_DIFFERENCE, verdict_on

NO_BETTER = "No model is shown to do better than chance."
TOO_FEW = "Not enough patients to tell"
NOTHING_TO_SAY = "Nothing can be said: no model could be tested here."
NOT_TESTED = "not tested"
#: roles of the arm with the highest AUROC on validation rows
RECOMMENDED, HIGHEST = "recommended", "highest on the validation rows"


class Evidence(NamedTuple):
    """One line beside an answer: an arm, its AUROC, and how much better the recommended arm is."""

    role: str
    arm: str
    auroc: Interval
    difference: Interval | None


class Answer(NamedTuple):
    """What the study says about one task at one target.

    ``events`` are those of the target's training rows. ``above_chance`` is None where nothing is estimable. ``gain`` is
    what the verdict rests on: the best model of the target's own, and how much better the recommended arm is.
    ``level_from`` says from how many local events on the reference is as good.
    """

    task: str
    target: str
    events: int | None
    above_chance: bool | None
    verdict: str
    sentence: str
    evidence: Sequence[Evidence]
    gain: Compared | None = None
    level_from: str = ""

    @property
    def how_sure(self) -> str:
        """Whether the gain is a difference seen, in a few words."""
        if self.gain is None or self.gain.difference.p is None:
            return NOT_TESTED
        p = self.gain.difference.p
        said = "p < 0.001" if p < 0.001 else f"p {p:.3f}"
        return f"{'seen' if self.gain.difference.sign else 'not seen'}, {said}"


def answers_in(tables: Path) -> list[Answer]:
    """Return the answers of a study from the folder of its joint tables."""
    names = ("arms", "comparisons", "sites", "breakeven")
    arms, comparisons, sites, breakeven = (read_table(tables / f"{name}.parquet").to_pylist() for name in names)
    return list(answers(arms, [row for row in comparisons if row["metric"] == "auroc"], sites, breakeven))


def not_estimable(tables: Path) -> int:
    """Return how many arms of a study have no estimate."""
    return int(read_table(tables / "arms.parquet", columns=["auroc"])["auroc"].null_count)


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
        why_not = _why_not(arms)
        # so every reason begins that a hospital with more patients would not have
        verdict = _too_few(splits) if why_not.startswith("fewer than") else NOTHING_TO_SAY
        return Answer(task, target, events, None, verdict, f"No arm can be recommended: {why_not}.", [])

    recommended = by_key[key_of(chosen)]

    def compared(question: str) -> Compared | None:
        row = asked.get(question)
        arm = by_key.get(key_of(row, "ref_")) if row is not None else None
        return None if row is None or arm is None or arm is recommended else Compared(arm, difference_of(row))

    case = Case(
        recommended,
        *(compared(name) for name in (RECOMMENDATION, VS_BEST_LOCAL, VS_LOCAL_CONTROL, VS_BEST_TRANSFERRED)),
    )
    gate = asked[ANY_ABOVE_CHANCE]["p_holm"]
    above = gate is not None and gate < ALPHA
    controls = [row for row in comparisons if row["question"] == CONTROL]
    in_its_place = [Compared(by_key[key_of(row, "ref_")], difference_of(row)) for row in controls if _has_other(row)]
    sentences = [
        *_what_is_reached(case, chosen),
        *_on_what_it_rests(splits, asked[CHANCE], above),
        *(_what_is_gained(case) if above else []),
        *(_catches_up(case, chosen, breakeven) if above else []),
        *(_against_controls(case.recommended, in_its_place) if above else []),
        *(_cannot_tell(row) for row in controls if not _has_other(row)),
    ]
    verdict = verdict_on(case) if above else _too_few(splits) if gate is None else NO_BETTER
    evidence = list(_evidence(case, in_its_place, above))
    level_from = _level_from(_break_even_of(chosen, breakeven)) if above else ""
    return Answer(
        task, target, events, above, verdict, " ".join(sentences), evidence, _gain(case) if above else None, level_from
    )


def _too_few(splits: Mapping[str, Row]) -> str:
    """Say that there are too few, and how many where that may be shown."""
    persons = splits.get("test", {}).get("persons_with_event")
    return f"{TOO_FEW}." if persons is None else f"{TOO_FEW} ({persons:,} with the event among the test rows)."


def _gain(case: Case) -> Compared | None:
    """Return the comparison that the verdict rests on: with the best local model, or where there is none other than the
    recommended arm, with the reference."""
    if is_local(case.recommended):
        return case.reference
    undecided = [one for one in case.local if one.difference.sign <= 0]
    return next(iter(undecided or case.local), None)


def _what_is_reached(case: Case, chosen: Row) -> Iterator[str]:
    """Say what the recommended arm reaches, and what those that it is compared with do."""
    reaches = f"{_subject(case.recommended)} reaches an AUROC of {auroc_of(case.recommended)}."
    yield reaches[0].upper() + reaches[1:]
    if case.reference is not None:
        arm, difference = case.reference
        yield f"The reference ({describe(arm)}) reaches {auroc_of(arm)}: {_seen(difference)}."
    elif chosen["reason"] == "the recommended arm is the reference":
        yield "It is the reference."
    else:
        yield f"There is no reference: {chosen['reason']}."
    same = case.reference.arm if case.reference is not None else None
    if case.best_local is not None and case.best_local.arm is not same:
        arm, difference = case.best_local
        best = f"The best local model on the validation rows ({describe(arm)})"
        yield f"{best} reaches {auroc_of(arm)}: {_seen(difference)}."
    if case.local_control is not None:
        arm, difference = case.local_control
        yield (
            f"A control did better still there: {describe(arm)}, whose vectors have no meaning, reaches "
            f"{auroc_of(arm)} on the test rows: {_seen(difference)}."
        )


def _seen(difference: Interval) -> str:
    """Say whether a difference was seen in the family of tests."""
    what = NO_DIFFERENCE if difference.sign == 0 else "a difference is seen"
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
    if is_local(recommended):
        what = "learner and its embedding" if learner and embedding else "learner" if learner else "embedding"
        yield f"The gain over the reference is that of another {what} at home, not of transfer."
        if case.local_control is not None and case.local_control.difference.sign <= 0:
            yield "A local model on vectors without meaning is not shown to gain less."
    elif any(one.difference.sign <= 0 for one in case.local):
        yield "So the gain over the reference may come from another embedding or learner at home as well."


def _catches_up(case: Case, chosen: Row, breakeven: Sequence[Row]) -> Iterator[str]:
    """Say where the learning curve of the reference crosses the recommended arm."""
    row = _break_even_of(chosen, breakeven)
    if row is None:
        return
    curve = "Exploratory: by its learning curve, the reference"
    if row["status"] == NEVER:
        yield f"{curve} does not catch up within {row['largest']:,} local events."
    elif row["status"] == BELOW:
        yield f"{curve} is level at the smallest number of local events tried, {row['smallest']:,}."
    else:
        lower = f"{row['lower']:,.0f}" if row["lower"] is not None else f"under {row['smallest']:,}"
        upper = f"{row['upper']:,.0f}" if row["upper"] is not None else f"over {row['largest']:,}"
        yield f"{curve} catches up at about {row['events']:,.0f} local events [{lower}, {upper}]."


def _break_even_of(chosen: Row, breakeven: Sequence[Row]) -> Row | None:
    """Return the break-even of the recommended arm with the reference; None for a local arm, or where there is none."""
    if is_local(chosen):
        return None
    local = (chosen["ref_embedding"], chosen["ref_learner"])
    same = (row for row in breakeven if key_of(row) == key_of(chosen))
    return next((row for row in same if (row["local_embedding"], row["local_learner"]) == local), None)


def _level_from(row: Row | None) -> str:
    """Say in a few words from how many local events on the reference is as good as the recommended arm."""
    if row is None:
        return ""
    if row["status"] == NEVER:
        return f"more than {row['largest']:,}"
    if row["status"] == BELOW:
        return f"at most {row['smallest']:,}"
    return f"about {row['events']:,.0f}"


def _against_controls(recommended: Row, controls: Sequence[Compared]) -> Iterator[str]:
    """Give what the controls reach in the recommended arm's place: no claim is made of it."""
    if not controls:
        return
    reached = ", ".join(f"{arm['embedding']} {auroc_of(arm)}" for arm, _ in controls)
    said = f"Exploratory: in place of {recommended['embedding']}, {reached}."
    if any(by.lower is None or by.upper is None or by.lower <= 0 <= by.upper for _, by in controls):
        said += " Limits that include 0 leave open whether the meaning of the names matters."
    yield said


def _cannot_tell(row: Row) -> str:
    return f"Whether the meaning of the names matters here cannot be told: {row['reason']}."


def _has_other(row: Row) -> bool:
    return row["ref_embedding"] is not None


def _evidence(case: Case, controls: Sequence[Compared], above: bool) -> Iterator[Evidence]:
    """Yield the lines of the table beside an answer, each arm once. Nothing is recommended that may be no better than
    chance."""
    yield Evidence(RECOMMENDED if above else HIGHEST, describe(case.recommended), auroc_of(case.recommended), None)
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
            yield Evidence(role, describe(one.arm), auroc_of(one.arm), one.difference)


def _why_not(arms: Sequence[Row]) -> str:
    """Return the most frequent reason why these arms have no estimate."""
    reasons = Counter(row["reason"] for row in arms if row["reason"]).most_common(1)
    return reasons[0][0] if reasons else "the study has no such arm"


def _subject(row: Row) -> str:
    """Name an arm as the subject of a sentence; a name with a comma is closed by another."""
    name = describe(row)
    return f"{name}," if "," in name else name


def _holm(difference: Interval) -> str:
    if difference.p is None:
        return ""
    return ", Holm p < 0.001" if difference.p < 0.001 else f", Holm p {difference.p:.3f}"
