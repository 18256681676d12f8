"""What the models of an answer look at: a bar to the right raises the predicted risk, one to the left lowers it."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from matplotlib.figure import Figure

from conceptbridge.core.plot_style import new_figure
from conceptbridge.evaluate.schemas import BEST_LOCAL, RECOMMENDED, REFERENCE
from conceptbridge.report.case import in_words
from conceptbridge.report.figures.panels import LINES, Row, panels, set_title
from conceptbridge.report.figures.registry import TOKENS_DRAWN

NONE = "no model to look at: no arm is recommended, or its rows are not here"
#: characters of a line of a token's name, and the most lines of a name
WIDTH, MOST = 46, 2

_RAISES, _LOWERS = LINES[1][0], LINES[0][0]
_ROLES = {RECOMMENDED: "chosen", REFERENCE: "reference", BEST_LOCAL: "best of its own"}


def importance(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the share of each token in what changes a model's predictions, with the sign of its effect, from the rows of
    ``importance`` of one task: a row of panels per target, the chosen model at the left and another at the right."""
    beside = [(target, models_beside(rows["importance"], target)) for target in _targets(rows["importance"])]
    beside = [(target, models) for target, models in beside if models]
    if not beside:
        return panels([], NONE)[0]
    figure = new_figure(11, 0.5 + 2.9 * len(beside))
    axes = figure.subplots(len(beside), 2, squeeze=False)
    for (target, models), places in zip(beside, axes, strict=True):
        for panel, (role, tokens) in zip(places, models, strict=False):
            _draw(panel, tokens[:TOKENS_DRAWN])
            title = f"{target}, {_ROLES[role]}: {in_words(tokens[0])} ({tokens[0]['learner']})"
            set_title(panel, "\n".join(wrap(title, 60)))
        for spare in places[len(models) :]:
            spare.set_visible(False)
    return figure


def models_beside(rows: Sequence[Row], target: str) -> list[tuple[str, list[Row]]]:
    """Return the models to show of a target, at most two, and their tokens: the chosen one, and the reference or, where
    that is the same, the best of its own."""
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
    panel.set_yticks(range(len(tokens)), [_name(row) for row in tokens], fontsize=7)
    panel.set_ylim(max(len(tokens), 4) - 0.4, -0.6)
    panel.axvline(0, color="0.3", lw=0.8)
    panel.tick_params(axis="y", length=0)
    panel.spines["left"].set_visible(False)
    panel.grid(axis="x", color="0.9")
    panel.set_axisbelow(True)
    panel.set_xlabel("lowers the risk   \N{LEFTWARDS ARROW}   share, %   \N{RIGHTWARDS ARROW}   raises it", fontsize=7)


def _name(row: Row) -> str:
    text = row["text"] + (f" (read as {row['stands_for_text']})" if row["stands_for_text"] else "")
    lines = wrap(text, WIDTH)
    return "\n".join([*lines[:MOST], *(["\N{HORIZONTAL ELLIPSIS}"] if len(lines) > MOST else [])])
