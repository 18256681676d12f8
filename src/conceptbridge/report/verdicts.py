"""The verdict on a target where some arm is better than chance: one line, from the primary family of tests alone."""

from conceptbridge.report.case import Case, Row, describe, is_local

NO_DIFFERENCE = "No difference seen"
NO_LOCAL = "Only transferred models: there is no local one to compare with."


def verdict_on(case: Case) -> str:
    """Return the verdict, as a sentence."""
    recommended, reference = case.recommended, case.reference
    if not is_local(recommended):
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
        if case.best_transferred is None:
            return "Keep your own model: there is no transferred one to compare with."
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
    return f"the local model on {row['embedding']}" if is_local(row) else "the transferred model"


def _what_differs(recommended: Row, reference: Row) -> str:
    if recommended["learner"] == reference["learner"]:
        return f"on {recommended['embedding']}"
    if recommended["embedding"] == reference["embedding"]:
        return f"with {recommended['learner']}"
    return f"with {recommended['learner']} on {recommended['embedding']}"
