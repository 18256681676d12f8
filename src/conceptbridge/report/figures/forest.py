"""The models that the answers name, with their limits, hospital by hospital."""

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from conceptbridge.core.plot_style import new_figure
from conceptbridge.evaluate.schemas import PRIMARY, RECOMMENDATION, VS_BEST_TRANSFERRED
from conceptbridge.report.case import in_words, is_local, key_of
from conceptbridge.report.figures.panels import LINES, TOO_FEW, Row, panels

_OWN, _ELSEWHERE = LINES[0][0], LINES[1][0]


def forest(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the AUROC of each model with its limits, from the rows of ``comparisons`` and ``arms`` of one task: those of
    the target's own in one colour, those from elsewhere in another, the chosen one filled."""
    drawn = list(_named(rows["comparisons"], rows["arms"]))
    if not drawn:
        return panels([], TOO_FEW)[0]
    figure = new_figure(9.2, 0.9 + 0.27 * (len(drawn) + len({arm["target"] for arm, _ in drawn})))
    axes = figure.add_subplot()
    at, names, places, before = 0.0, [], [], None
    for arm, chosen in drawn:
        if arm["target"] != before:
            at += 0.6
            axes.text(-0.02, at, f"at {arm['target']}", transform=axes.get_yaxis_transform(), ha="right", va="center",
                      fontweight="bold")  # fmt: skip
            at, before = at + 1, arm["target"]
        colour = _OWN if is_local(arm) else _ELSEWHERE
        if arm["auroc_lower"] is not None:
            axes.plot([arm["auroc_lower"], arm["auroc_upper"]], [at, at], color=colour, lw=1.5)
        axes.plot(arm["auroc"], at, marker="o", ms=6, mec=colour, mfc=colour if chosen else "white", ls="")
        names.append(f"{in_words(arm)} ({arm['learner']})")
        places.append(at)
        at += 1
    axes.set_yticks(places, names)
    axes.set_ylim(at, 0)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.set_xlabel("AUROC on test rows")
    return figure


def _named(comparisons: Sequence[Row], arms: Sequence[Row]) -> Iterator[tuple[Row, bool]]:
    """Yield the arms that the primary comparisons of each target name, each once, and whether it is the chosen one."""
    by_key = {(row["target"], *key_of(row)): row for row in arms if row["auroc"] is not None}
    seen = set()
    for target in dict.fromkeys(row["target"] for row in arms):
        asked = [row for row in comparisons if row["target"] == target and row["metric"] == "auroc"]
        for question in (*PRIMARY, VS_BEST_TRANSFERRED):
            for row in (row for row in asked if row["question"] == question):
                for prefix in ("", "ref_"):
                    place = (target, *key_of(row, prefix))
                    if place in by_key and place not in seen:
                        seen.add(place)
                        yield by_key[place], question == RECOMMENDATION and not prefix
