"""The tables that evaluation of one task at one target makes."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

_ARM = [
    ("embedding", pa.string()),
    ("learner", pa.string()),
    ("strategy", pa.string()),
    ("source", pa.string()),
]
_PLACE = [("task", pa.string()), *_ARM, ("target", pa.string())]
_CELL = [*_PLACE, ("split", pa.string()), ("metric", pa.string())]
_CUT = [("threshold", pa.float64()), ("alert_rate", pa.float64())]
_LIMITS = [("lower", pa.float64()), ("upper", pa.float64())]
_COUNTS = [("rows", pa.int64()), ("events", pa.int64())]
_REASON = ("reason", pa.string())

SCHEMAS = {
    "metrics": pa.schema(
        [
            *_CELL,
            *_CUT,
            ("estimate", pa.float64()),
            *_LIMITS,
            ("method", pa.string()),
            ("seed_sd", pa.float64()),
            ("seeds", pa.int32()),
            *_COUNTS,
            _REASON,
        ]
    ),
    "seeds": pa.schema([*_CELL, *_CUT, ("seed", pa.int32()), ("estimate", pa.float64())]),
    "comparisons": pa.schema(
        [
            ("task", pa.string()),
            ("target", pa.string()),
            ("question", pa.string()),
            ("metric", pa.string()),
            *_ARM,
            *((f"ref_{name}", kind) for name, kind in _ARM),
            ("difference", pa.float64()),
            *_LIMITS,
            ("error", pa.float64()),
            ("p", pa.float64()),
            ("method", pa.string()),
            *_COUNTS,
            _REASON,
        ]
    ),
    "effects": pa.schema(
        [
            ("task", pa.string()),
            *_ARM[:3],
            ("target", pa.string()),
            ("sources", pa.int32()),
            ("auroc", pa.float64()),
            ("auroc_variance", pa.float64()),
            ("difference", pa.float64()),
            ("difference_variance", pa.float64()),
        ]
    ),
    "subgroups": pa.schema(
        [
            *_PLACE,
            ("dimension", pa.string()),
            ("group", pa.string()),
            ("metric", pa.string()),
            ("estimate", pa.float64()),
            *_LIMITS,
            ("seed_sd", pa.float64()),
            *_COUNTS,
            _REASON,
        ]
    ),
    "unseen": pa.schema(
        [
            *((name, pa.string()) for name in ("task", "source", "target")),
            *((name, pa.float64()) for name in ("events", "events_by_text", "median_of_rows")),
        ]
    ),
    "curves": pa.schema(
        [
            *_PLACE,
            ("size", pa.int64()),
            ("depth", pa.float64()),
            ("split", pa.string()),
            ("estimate", pa.float64()),
            *_LIMITS,
            ("sd", pa.float64()),
            ("repeats", pa.int32()),
        ]
    ),
    "breakeven": pa.schema(
        [
            *_PLACE,
            ("local_embedding", pa.string()),
            ("local_learner", pa.string()),
            ("events", pa.float64()),
            *_LIMITS,
            ("smallest", pa.int64()),
            ("largest", pa.int64()),
            ("reached", pa.string()),
        ]
    ),
    "points": pa.schema(
        [
            *_PLACE,
            ("role", pa.string()),
            ("bin", pa.int32()),
            ("wide_bin", pa.int32()),
            *(
                (name, pa.float64())
                for name in (
                    "cut",
                    "share",
                    "predicted",
                    "observed",
                    "sensitivity",
                    "specificity",
                    "ppv",
                    "net_benefit",
                    "net_benefit_all",
                )
            ),
        ]
    ),
    "spent": pa.schema(
        [
            *_PLACE,
            ("train_rows", pa.int64()),
            ("train_events", pa.int64()),
            ("trials", pa.int64()),
            ("steps", pa.int64()),
            ("kept", pa.string()),
            ("chosen", pa.string()),
            _REASON,
        ]
    ),
    "site": pa.schema(
        [
            ("task", pa.string()),
            ("site", pa.string()),
            ("split", pa.string()),
            ("persons", pa.int64()),
            *_COUNTS,
            ("first_year", pa.int32()),
            ("last_year", pa.int32()),
            ("events_a_row", pa.float64()),
            *((name, pa.float64()) for name in ("without_events", "sex_unknown", "race_unknown")),
        ]
    ),
}
"""Name -> schema; each is a file of that name. ``arms.evaluate`` says what is in them."""


def to_table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Make a table of rows; NaN becomes null."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [
        pa.array(column, type=field.type, from_pandas=True) for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
