"""The verdict on a target where some arm is better than chance: one sentence of a fixed set, from the primary family of
tests alone."""

from conceptbridge.report.case import Case, Row, in_words, is_local

NO_DIFFERENCE = "no difference is seen"
NO_LOCAL = "No model of your own can be trained here, so there is nothing to compare with."
KEEP = "Keep your own model"
_WORSE = "the model chosen on the validation rows did worse on the test rows"


def verdict_on(case: Case) -> str:
    """Return the verdict, as a sentence."""
    recommended, reference = case.recommended, case.reference
    if not is_local(recommended):
        if case.best_local is None:
            return NO_LOCAL
        if all(one.difference.sign > 0 for one in case.local):
            return f"Use {in_words(recommended)}."
        for one in case.local:
            if one.difference.sign < 0:
                return f"{KEEP}: {_WORSE}." if one is case.local_control else f"Keep {in_words(one.arm)}: {_WORSE}."
        bar = next(one for one in case.local if one.difference.sign == 0)
        if reference is not None and reference.difference.sign > 0:
            own = in_words(reference.arm)
            better = f"{_subject(recommended)} beats {own}"
            return f"{KEEP} for now: {better}, but is not shown to beat {_bar(bar.arm, bar is case.local_control)}."
        return f"{KEEP} for now: {NO_DIFFERENCE} between {_subject(recommended)} and {in_words(bar.arm)}."
    if reference is None:
        if case.best_transferred is None:
            return f"{KEEP}: there is no other to compare with."
        return f"{KEEP}: no model from elsewhere did better on the validation rows."
    if reference.difference.sign > 0:
        return f"{KEEP}, {_what_differs(recommended, reference.arm)}."
    if reference.difference.sign < 0:
        return f"Keep {in_words(reference.arm)}: {_WORSE}."
    names = [in_words(recommended), in_words(reference.arm)]
    if names[0] == names[1]:
        names = [f"{name} ({row['learner']})" for name, row in zip(names, (recommended, reference.arm), strict=True)]
    return f"{KEEP}: {NO_DIFFERENCE} between {names[0]} and {names[1]}."


def _bar(row: Row, control: bool) -> str:
    """Name a local model that has to be beaten."""
    return f"{in_words(row)}, a control without meaning" if control else in_words(row)


def _subject(row: Row) -> str:
    """Name a model as the subject of a clause; a name with a comma is closed by another."""
    name = in_words(row)
    return f"{name}," if "," in name else name


def _what_differs(recommended: Row, reference: Row) -> str:
    if recommended["learner"] == reference["learner"]:
        return f"built on {recommended['embedding']}"
    if recommended["embedding"] == reference["embedding"]:
        return f"trained by {recommended['learner']}"
    return f"trained by {recommended['learner']} on {recommended['embedding']}"
