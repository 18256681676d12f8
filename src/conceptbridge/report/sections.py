"""The sections of the page, in groups and in order."""

from typing import NamedTuple


class Group(NamedTuple):
    """A group of sections, which a template of the same name holds."""

    id: str
    title: str
    says: str = ""


class Section(NamedTuple):
    """A section of the page: its group, its name among the links at the top, and its title.

    A ``folded`` one is for authors: it opens on demand.
    """

    group: str
    name: str
    title: str
    folded: bool = False


GROUPS = (
    Group("answers", "Answers"),
    Group("models", "Models", "How well each way of making a model does, at each hospital and over all."),
    Group("data", "Data", "Whose data these are, what was left out, and what the hospitals have in common."),
    Group("methods", "Methods", "How the numbers were made; at the end, folded, what authors need."),
)

SECTIONS = {
    "answers": Section("answers", "What to do", "What to do at each hospital"),
    "evidence": Section("answers", "Hospital by hospital", "Hospital by hospital"),
    "transfer": Section("models", "Transfer", "From hospital to hospital"),
    "importance": Section("models", "What models look at", "What the models look at"),
    "curves": Section("models", "Local data, tuning", "How much local data, how much tuning"),
    "decisions": Section("models", "Calibration, decisions", "Calibration and decisions"),
    "summary": Section("models", "Over all hospitals", "Over all hospitals, and at a new one"),
    "arms": Section("models", "All arms", "All arms"),
    "comparisons": Section("models", "Comparisons", "Comparisons"),
    "subgroups": Section("models", "Subgroups", "Subgroups"),
    "method-limits": Section(
        "models", "Trained models or methods", "Limits for these trained models, and for the methods"
    ),
    "sites": Section("data", "Hospitals and patients", "Hospitals and patients"),
    "attrition": Section("data", "Who was left out", "Who was left out"),
    "overlap": Section("data", "Overlap", "Overlap of vocabularies, unseen concepts"),
    "translations": Section("data", "Translation", "What we read your words as"),
    "leaks": Section("data", "Near the outcome", "Near the outcome"),
    "quality": Section("data", "Data quality", "Data quality"),
    "embeddings": Section("methods", "Embeddings", "Embeddings"),
    "training-budget": Section("methods", "Training budget", "Training budget"),
    "glossary": Section("methods", "Glossary", "Glossary"),
    "files": Section("methods", "Tables and figures to save", "For authors: tables and figures to save", folded=True),
    "checklist": Section("methods", "Checklist", "For authors: reporting checklist", folded=True),
    "provenance": Section("methods", "Provenance", "For authors: provenance", folded=True),
}
