"""What the models of an answer look at: a bar to the right raises the predicted risk, one to the left lowers it."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure

from conceptbridge.core.plot_style import new_figure
from conceptbridge.evaluate.schemas import BEST_LOCAL, BEST_TRANSFERRED, RECOMMENDED, REFERENCE
from conceptbridge.report.case import in_words
from conceptbridge.report.figures.panels import LINES, Row, panels
from conceptbridge.report.figures.registry import TOKENS_DRAWN

NONE = "no model to look at: no arm is recommended, or its rows are not here"
#: characters of a line of a token's name, and the most lines of a name
WIDTH, MOST = 54, 2

_LAST, _MEAN = "last value", "mean value"

_RAISES, _LOWERS = LINES[1][0], LINES[0][0]
_ROLES = {
    RECOMMENDED: "chosen",
    REFERENCE: "reference",
    BEST_LOCAL: "best of its own",
    BEST_TRANSFERRED: "best from elsewhere",
}


def importance(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the share of each token in what changes a model's predictions, with the sign of its effect, from the rows of
    ``importance`` of one task: a row of panels per target, the chosen model at the left and another at the right."""
    beside = [(target, models_beside(rows["importance"], target)) for target in _targets(rows["importance"])]
    beside = [(target, models) for target, models in beside if models]
    if not beside:
        return panels([], NONE)[0]
    figure = new_figure(11, 0.4 + 3.2 * len(beside))
    axes = figure.subplots(len(beside), 2, squeeze=False)
    for (target, models), places in zip(beside, axes, strict=True):
        for panel, (role, tokens) in zip(places, models, strict=False):
            _draw(panel, _together(tokens)[:TOKENS_DRAWN])
            title = f"{target}, {_ROLES[role]}: {in_words(tokens[0])} ({tokens[0]['learner']})"
            panel.set_title(fill(title, 62), fontsize=9, fontweight="bold", loc="right")
        for spare in places[len(models) :]:
            spare.set_visible(False)
    return figure


def models_beside(rows: Sequence[Row], target: str) -> list[tuple[str, list[Row]]]:
    """Return the models to show of a target, at most two, and their tokens: the chosen one, and the reference or, where
    that is the same, the best of its own or from elsewhere."""
    models: dict[str, list[Row]] = {}
    for row in rows:
        if row["target"] == target and row["role"] in _ROLES:
            models.setdefault(row["role"], []).append(row)
    return list(models.items())[:2]


def _targets(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["target"] for row in rows))


def _draw(panel: Any, tokens: Sequence[Row]) -> None:
    signed = [100 * row["share"] * (1 if row["effect"] > 0 else -1) for row in tokens]
    panel.barh(range(len(tokens)), signed, color=[_RAISES if one > 0 else _LOWERS for one in signed], height=0.7)
    panel.set_yticks(range(len(tokens)), [_name(row) for row in tokens], fontsize=6.5)
    panel.set_ylim(max(len(tokens), 4) - 0.4, -0.6)
    panel.axvline(0, color="0.3", lw=0.8)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    panel.grid(axis="x", color="0.9")
    panel.set_axisbelow(True)
    panel.set_xlabel("lowers the risk   \N{LEFTWARDS ARROW}   share, %   \N{RIGHTWARDS ARROW}   raises it", fontsize=7)


def _together(tokens: Sequence[Row]) -> list[Row]:
    """The tokens with the last value and the mean of the same values, where these say the same, as one."""
    result: dict[tuple[str, float, float], Row] = {}
    for row in tokens:
        place = (row["text"].replace(_MEAN, _LAST), row["share"], row["effect"])
        if place in result:
            text = place[0].replace(_LAST, "last value and mean")
            result[place] = {**result[place], "text": text, "share": 2 * row["share"]}
        else:
            result[place] = row
    return sorted(result.values(), key=lambda row: -row["share"])


def _name(row: Row) -> str:
    text, other = row["text"].split(", "), (row["stands_for_text"] or "").split(", ")
    if len(other) > 1 and other[-1] == text[-1]:  # of the same window
        other.pop()
    named = ", ".join(text) + (f" (read as {', '.join(other)})" if other[0] else "")
    return fill(named, WIDTH, max_lines=MOST, placeholder="\N{HORIZONTAL ELLIPSIS}")
