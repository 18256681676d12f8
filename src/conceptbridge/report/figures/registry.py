"""The figures of a study: their names, captions and places on the page.

Plain names alone, so that the rules can read them while they plan.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of figure: drawn from the joint tables ``inputs``, shown in a ``section`` of the page.

    ``text`` says in words what it shows. ``needs`` is a column of its first input: the page leaves the figure out where
    that column is empty.
    """

    name: str
    caption: str
    text: str
    section: str
    inputs: tuple[str, ...]
    needs: str | None = None


TOKENS_DRAWN = 10
"""Tokens of each model in the figure ``importance``, and on the page."""

_BINNED = ("binned_curves",)

TRANSFER = Kind(
    "transfer",
    "Transfer matrix",
    "Heat map of AUROC with 95 % limits by embedding and strategy (rows), and by target and source (columns). Of more "
    "than 40 directions it shows the mean over sources, without limits. The table of all arms holds its numbers.",
    "transfer",
    ("arms",),
)
"""One figure per task and learner."""

BY_TASK = (
    Kind(
        "forest",
        "The models that matter",
        "AUROC on test rows with 95 % limits, at each hospital: the model that the validation rows chose (filled), the "
        "best that the hospital can train by itself, the reference, and the best of those from elsewhere.",
        "answers",
        ("comparisons", "arms"),
        "embedding",
    ),
    Kind(
        "learning",
        "Learning curves and break-even",
        "AUROC by labelled local events, of local models and of the recommended model. Shaded: 95 % limits, and those "
        "of the break-even.",
        "curves",
        ("curves", "arms", "comparisons", "breakeven"),
        "size",
    ),
    Kind(
        "depth",
        "Tuning depth",
        "AUROC by share of the tuning budget, mean over sources, one line per embedding.",
        "curves",
        ("curves",),
        "depth",
    ),
    Kind(
        "importance",
        "What the models look at",
        "For each hospital, the ten findings and values that change the predictions of the chosen model most, and of "
        "the reference or the best other one. To the right: it raises the predicted risk; to the left: it lowers it. "
        "Last value and mean are one bar where they say the same. The table below holds the numbers.",
        "importance",
        ("importance",),
        "share",
    ),
    Kind(
        "calibration",
        "Calibration",
        "Observed by predicted share, the grey line is perfect. Points are bins; the curve is a logistic regression on "
        "a spline of the prediction's logit, its band the 95 % limits with every test person counted once. Below: how "
        "the predictions of the recommended arm are distributed.",
        "decisions",
        (*_BINNED, "sites"),
    ),
    Kind(
        "roc",
        "ROC and precision-recall curves",
        "Above: sensitivity by 1 - specificity. Below: PPV by sensitivity.",
        "decisions",
        _BINNED,
    ),
    Kind(
        "net-benefit",
        "Net benefit",
        "Net benefit by threshold, beside alerting all rows and none; with 95 % limits at the study's own thresholds.",
        "decisions",
        (*_BINNED, "metrics"),
    ),
    Kind(
        "hospitals",
        "Hospital by hospital, on average, and at a new one",
        "The kind of arm from elsewhere that validation rows chose at most hospitals: its AUROC and its difference "
        "from the reference at each of them, mean over sources, with 95 % limits. Diamond: the random-effects mean. "
        "Last line: where 95 % of new hospitals are expected.",
        "summary",
        ("summary", "effects", "comparisons"),
        "estimate",
    ),
    Kind(
        "flow",
        "Flow of patients",
        "What each step of inclusion leaves, at each hospital, and how the rest is split. “?”: a small count, or "
        "one that would give one away.",
        "attrition",
        ("attrition", "splits"),
    ),
    Kind(
        "overlap",
        "Overlap of vocabularies",
        "Share of the target's tokens that the source has, by concept and by text.",
        "overlap",
        ("overlap",),
    ),
)
"""One figure per task."""

ALIGNMENT = Kind(
    "alignment",
    "Alignment of names that the source lacks",
    "Cosine between a text that the source lacks and the nearest text that it has.",
    "overlap",
    ("alignment",),
)
"""One figure per study."""

INPUTS = tuple(dict.fromkeys(name for kind in (TRANSFER, *BY_TASK, ALIGNMENT) for name in kind.inputs))
"""The joint tables that figures are drawn from."""


class StudyFigure(NamedTuple):
    """One figure of a study: the files are ``{name}.svg``, ``.pdf`` and ``.png``."""

    kind: Kind
    name: str
    caption: str
    task: str | None = None
    learner: str | None = None


def study_figures(tasks: Sequence[str], learners: Sequence[str]) -> Iterator[StudyFigure]:
    """Yield every figure of a study, in order."""
    for task in tasks:
        for learner in learners:
            caption = f"{TRANSFER.caption} of task {task}, learner {learner}"
            yield StudyFigure(TRANSFER, f"{TRANSFER.name}-{task}-{learner}", caption, task, learner)
    for task in tasks:
        for kind in BY_TASK:
            yield StudyFigure(kind, f"{kind.name}-{task}", f"{kind.caption}, task {task}", task)
    yield StudyFigure(ALIGNMENT, ALIGNMENT.name, ALIGNMENT.caption)
