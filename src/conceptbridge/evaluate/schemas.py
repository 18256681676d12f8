"""The tables that evaluation writes for one task at one target: their columns, their keys, and what some columns say.

Plain names alone, so that the rules can read them while they plan: PyArrow is imported when a schema is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Arm(NamedTuple):
    """One way of making a model, at a task and target that the context gives: what is compared."""

    embedding: str
    learner: str
    strategy: str
    source: str


ARM = Arm._fields
"""The columns that name an arm."""
ARM_AT_TARGET = ("task", *ARM, "target")
"""The columns that name an arm of the study."""

EXTERNAL, ELSEWHERE = "external", "elsewhere"
"""Learner and strategy of a model whose predictions come from a file, and its source; its embedding is its name."""

ANY_ABOVE_CHANCE, RECOMMENDATION = "any_above_chance", "recommendation"
VS_BEST_LOCAL, VS_LOCAL_CONTROL = "vs_best_local", "vs_local_control"
CHANCE, CONTROL, VS_BEST_TRANSFERRED = "chance", "control", "vs_best_transferred"
VS_CONTROL, TRANSFER_GAIN, VS_EXTERNAL = "vs_control", "transfer_gain", "vs_external"
"""Questions of ``comparisons``; ``comparisons.pairs`` says what each compares."""
PRIMARY = (RECOMMENDATION, VS_BEST_LOCAL, VS_LOCAL_CONTROL)
"""The questions whose AUROCs are the study's one family of tests; ``ANY_ABOVE_CHANCE`` is the gate before it. All
others are exploratory."""

WITHIN, BELOW, NEVER = "within the sizes", "at the smallest size already", "not reached within the largest size"
"""Status of ``breakeven``: where the curves cross, relative to the sizes tried."""

_TEXT, _INTEGER, _SMALL, _NUMBER = "string", "int64", "int32", "double"
Columns = tuple[tuple[str, str], ...]


def columns(kind: str, *names: str) -> Columns:
    """Return columns of one type: "string", "int64", "int32" or "double"."""
    return tuple((name, kind) for name in names)


_PLACE = columns(_TEXT, *ARM_AT_TARGET)
_CELL = columns(_TEXT, *ARM_AT_TARGET, "split", "metric") + columns(_NUMBER, "threshold", "alert_rate")
_COUNTS = columns(_INTEGER, "rows", "events")
_REASON = columns(_TEXT, "reason")

COLUMNS: Mapping[str, Columns] = {
    "metrics": (
        *_CELL,
        *columns(_NUMBER, "estimate", "lower", "upper"),
        *columns(_TEXT, "method"),
        *columns(_NUMBER, "seed_sd"),
        *columns(_SMALL, "seeds"),
        *_COUNTS,
        *_REASON,
    ),
    "seeds": (*_CELL, *columns(_SMALL, "seed"), *columns(_NUMBER, "estimate")),
    "comparisons": (
        *columns(_TEXT, "task", "target", "question", "metric", *ARM, *(f"ref_{name}" for name in ARM)),
        *columns(_NUMBER, "difference", "lower", "upper", "error", "p"),
        *columns(_TEXT, "method"),
        *_COUNTS,
        *_REASON,
    ),
    "effects": (
        *columns(_TEXT, "task", *ARM[:3], "target"),
        *columns(_SMALL, "sources"),
        *columns(_NUMBER, "auroc", "auroc_variance", "difference", "difference_variance"),
    ),
    "subgroups": (
        *_PLACE,
        *columns(_TEXT, "dimension", "group", "metric"),
        *columns(_NUMBER, "estimate", "lower", "upper", "seed_sd"),
        *_COUNTS,
        *_REASON,
    ),
    "unseen": (
        *columns(_TEXT, "task", "source", "target"),
        *columns(_NUMBER, "events", "events_by_text", "median_of_rows"),
    ),
    "curves": (
        *_PLACE,
        *columns(_INTEGER, "size"),
        *columns(_NUMBER, "depth"),
        *columns(_TEXT, "split"),
        *columns(_NUMBER, "estimate", "lower", "upper", "auroc_sd"),
        *columns(_SMALL, "replicates"),
    ),
    "breakeven": (
        *_PLACE,
        *columns(_TEXT, "local_embedding", "local_learner"),
        *columns(_NUMBER, "events", "lower", "upper"),
        *columns(_INTEGER, "smallest", "largest"),
        *columns(_TEXT, "status"),
    ),
    "binned_curves": (
        *_PLACE,
        *columns(_TEXT, "role"),
        *columns(_SMALL, "bin", "wide_bin"),
        *columns(_NUMBER, "cut", "share", "predicted", "observed"),
        *columns(_NUMBER, "sensitivity", "specificity", "ppv", "net_benefit", "net_benefit_all"),
    ),
    "training_budget": (
        *_PLACE,
        *columns(_INTEGER, "train_rows", "train_events", "trials", "steps"),
        *columns(_TEXT, "kept", "chosen", "extended", "at_edge"),
        *_REASON,
    ),
    "site": (
        *columns(_TEXT, "task", "site", "split"),
        *columns(_INTEGER, "persons", "rows", "events", "persons_with_event"),
        *columns(_SMALL, "first_year", "last_year"),
        *columns(_NUMBER, "tokens_per_row", "without_events", "sex_unknown", "race_unknown"),
    ),
}
"""Name -> columns and their types; each table is a file of that name. ``evaluate.evaluate`` says what is in them."""

METHOD_LIMITS: Columns = (
    *columns(_TEXT, "task", "target", "quantity", "question", *ARM, *(f"ref_{name}" for name in ARM)),
    *columns(_NUMBER, "estimate", "lower", "upper", "method_lower", "method_upper", "training_sd"),
    *columns(_SMALL, "resamples"),
    *_REASON,
)
"""The table ``method_limits``, which a study with ``evaluation.training: resampled`` has too: one row per headline arm
(``quantity`` auroc) and per difference between two of them. ``evaluate.method_limits`` says what is in it."""


TRANSLATIONS: Columns = (
    *columns(_TEXT, "task", "embedding", "source", "target", "kind", "token", "text", "by", "stands_for"),
    *columns(_TEXT, "stands_for_text"),
    *columns(_INTEGER, "persons"),
    *columns(_NUMBER, "weight", "name_cosine", "profile_cosine", "agreement"),
)
TRANSLATION_SHARES: Columns = (
    *columns(_TEXT, "task", "embedding", "source", "target"),
    *columns(_INTEGER, "tokens"),
    *columns(_NUMBER, "same_code", "translated", "corrected", "left_out"),
)
"""The tables ``translations`` and ``translation_shares``, which a study with a translation has too.
``translate.summary`` says what is in them."""

RECOMMENDED, REFERENCE, BEST_LOCAL = "recommended", "reference", "best_local"
BEST_TRANSFERRED, AT_SOURCE = "best_transferred", "at_source"
"""What a model of ``importance`` is to a target; the last, a source's own, which a target's recommended one is from."""
IMPORTANCE: Columns = (
    *columns(_TEXT, "task", "target", "role", *ARM),
    *columns(_SMALL, "place"),
    *columns(_TEXT, "token", "text", "kind", "stands_for", "stands_for_text"),
    *columns(_NUMBER, "share", "effect"),
)
"""The table ``importance``: the tokens that models look at most on the rows of ``target``; ``learn.importance`` says
what is in it."""


def schema(of: Columns) -> Any:
    """Return the ``pyarrow.Schema`` of columns."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in of])


class _Schemas(Mapping[str, Any]):
    """Name -> ``pyarrow.Schema``, made when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return schema(COLUMNS[name])

    def __iter__(self) -> Iterator[str]:
        return iter(COLUMNS)

    def __len__(self) -> int:
        return len(COLUMNS)


SCHEMAS: Mapping[str, Any] = _Schemas()
"""Name -> schema of every table of evaluation."""


def to_table(rows: Sequence[tuple[Any, ...]], of: Any) -> Any:
    """Return the ``pyarrow.Table`` of ``rows`` with the schema ``of``; NaN becomes null."""
    import pyarrow as pa

    values = list(zip(*rows, strict=True)) if rows else [()] * len(of)
    arrays = [pa.array(column, type=field.type, from_pandas=True) for column, field in zip(values, of, strict=True)]
    return pa.Table.from_arrays(arrays, schema=of)
