"""What may leave a site: tables and documents by name, with every column or key that they may have."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from conceptbridge.evaluate.schemas import METHOD_LIMITS, SCHEMAS, TRANSLATION_SHARES, TRANSLATIONS, schema
from conceptbridge.learn.federated.answers import ENROLMENT, KEYS
from conceptbridge.tasks.leaks import SCHEMA as LEAKS
from conceptbridge.tasks.prevalence import SCHEMA as PREVALENCE
from conceptbridge.translate.profile_file import SCHEMA as PROFILE
from conceptbridge.vocabulary.build import SCHEMA as VOCABULARY

#: counts of persons, rows or events: none may be below min_cell_count
COUNTS = frozenset({"persons", "persons_with_event", "rows", "events", "train_rows", "train_events", "check_rows"})
COUNTS |= {"read", "visits"}
#: numbers that come from the study's settings, or are positions in a list
SETTINGS = frozenset(
    {"seed", "seeds", "steps", "trials", "size", "smallest", "largest", "bin", "wide_bin", "replicates", "resamples"}
)
#: columns and fields that can hold what a hospital has written; in all others only the program and the config write
HOSPITAL_TEXTS = frozenset({"text", "name", "concept_code", "stands_for_text"})
#: what a column of persons, visits, rows or dates would be called
ROW_LEVEL = re.compile(r"(^|_)(person|subject|patient|visit|row|encounter|mrn|birth|date|datetime)(_|$)|_id$", re.I)


class Table(NamedTuple):
    """A table that may leave: what it is, its schema, the columns that identify a row, and those that hold concepts."""

    about: str
    schema: pa.Schema
    key: tuple[str, ...]
    concepts: tuple[str, ...] = ()


_ARM = ("task", "embedding", "learner", "strategy", "source", "target")
_CELL = (*_ARM, "split", "metric", "threshold", "alert_rate")
_QUESTION = ("task", "target", "question", "metric", *_ARM[1:5], *(f"ref_{name}" for name in _ARM[1:5]))
_KEYS = {
    "metrics": ("estimates with confidence limits", _CELL),
    "seeds": ("estimates of every seed", (*_CELL, "seed")),
    "comparisons": ("differences between models", _QUESTION),
    "effects": ("mean AUROC over sources, with variances", (*_ARM[:4], "target")),
    "subgroups": ("estimates in subgroups", (*_ARM, "dimension", "group", "metric")),
    "unseen": ("share of events whose token a source never saw", ("task", "source", "target")),
    "curves": ("learning and tuning curves", (*_ARM, "size", "depth", "split")),
    "breakeven": ("break-even numbers of local events", (*_ARM, "local_embedding", "local_learner")),
    "binned_curves": ("calibration, ROC and net benefit in bins", (*_ARM, "bin")),
    "training_budget": ("what each model was given and used", _ARM),
    "site": ("the cohort by split", ("task", "site", "split")),
}

SHARED_TOKENS = pa.schema(
    [
        ("key", pa.string()),
        ("text", pa.string()),
        ("concept_id", pa.int64()),
        ("state", pa.string()),
        ("domain", pa.string()),
        ("rows", pa.int64()),
    ]
)
"""Tokens as they may leave: those of at least ``min_cell_count`` training persons."""

_TOKEN = ("key", "concept_id")
_TRANSLATED = ("task", "embedding", "source", "target")
_PAIR = ("token", "anchor")
TABLES = {name: Table(about, SCHEMAS[name], key) for name, (about, key) in _KEYS.items()} | {
    "method_limits": Table("limits for methods", schema(METHOD_LIMITS), (*_QUESTION[:3], "quantity", *_QUESTION[4:])),
    "translations": Table(
        "what concepts are read as at another site",
        schema(TRANSLATIONS),
        (*_TRANSLATED, "kind", "token"),
        ("token", "stands_for"),
    ),
    "translation_shares": Table("how much is read by what", schema(TRANSLATION_SHARES), _TRANSLATED),
    "tokens": Table("concepts that training rows hold", SHARED_TOKENS, ("key",), _TOKEN),
    "vocabulary": Table(
        "concepts of enough persons, with their texts", VOCABULARY, ("key",), (*_TOKEN, "concept_code")
    ),
    "profile": Table("persons with each concept, and with pairs of them", PROFILE, _PAIR, _PAIR),
    "enrolment": Table("the rows with which a site takes part in federated training", ENROLMENT, ("rows",)),
    "federated_keys": Table("concepts that enough training rows hold", KEYS, ("key",), ("key",)),
    "splits": Table("how often the outcome comes in each split", PREVALENCE, ("split",)),
    "leaks": Table("predictors nearest to the outcome", LEAKS, ("key",), _TOKEN),
}
"""Parquet files, by the name of the file without its suffix."""


CSV = {"attrition": ("what is left after each inclusion step", ("step", "persons", "rows", "events"))}
"""CSV files: what each is, and its columns."""

_SPENT = {"trials", "steps", "kept", "chosen", "extended", "at_edge"}
_QUALITY = {"tables", "read", "kept", "dropped", "repaired", "noted", "persons", "visits", "events", "names"}
_QUALITY |= {"condition_status", "status_share", "status_recorded"}
_QUALITY |= {"rows", "unmapped_share", "named_share", "named_by_source_share", "years"}
DOCUMENTS: dict[str, tuple[str, frozenset[str], frozenset[str]]] = {
    "arm": (
        "what a model was trained on and spent",
        frozenset({"sources", "reason", "spent", "train_rows", "train_events", "sizes", "size", "replicate"} | _SPENT)
        | {"rows", "events", "reached", "train", "validation"},
        frozenset({"sources", "chosen"}),
    ),
    "quality": (
        "what was read of the extract, repaired and dropped, as counts",
        frozenset(_QUALITY | {"concepts_in_use", "named_by_the_extract", "named_by_the_vocabulary"}),
        frozenset({"tables", "dropped", "repaired", "noted", "events", "names", "condition_status"}),
    ),
    "model": (
        "a model: its seeds, and the space of its inputs",
        frozenset({"learner", "strategy", "source", "target", "seeds", "kept", "space", "recalibration"})
        # and the fields that its learner declares
        | {"embedding", "fingerprint", "backend", "names", "slots", "scale", "added", "windows", "days", "values"},
        frozenset({"recalibration"}),
    ),
    "vocabulary": (
        "concepts that training rows hold, with their texts",
        frozenset({"tokens", "key", "concept_id", "vocabulary", "concept_code", "domain", "name", "named_by"})
        | {"state", "text"},
        frozenset(),
    ),
    "metrics": (
        "how a model does at its source",
        frozenset({"trained", "train_rows", "train_events", "cohort", "metrics", "persons", "rows", "events"})
        | {"split", "metric", "estimate", "lower", "upper", "seed_sd", "seeds", "reason"}
        | {"first_year", "last_year", "tokens_per_row"}
        | {"spent"}
        | _SPENT,
        frozenset({"chosen"}),
    ),
}
"""JSON files, by name: what each is, the keys it may have at any depth, and the keys below which any key may stand."""

CARD = "card.md"
"""The model card: what the program, the manifest and the metrics say, once more for readers."""

PROSE = {".md": "a text for readers", ".html": "a page for readers"}


def target_tables(study: Mapping[str, Any]) -> list[str]:
    """The tables of each task at a target, of a study that compares so (``Study.compared``)."""
    resampled = study.get("evaluation", {}).get("training") == "resampled"
    of_translations = ["translations", "translation_shares"] if study.get("translated") else []
    return [*SCHEMAS, *(["method_limits"] if resampled else []), *of_translations]
