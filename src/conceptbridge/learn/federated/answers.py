"""What leaves a site in federated training: answers to a few questions, each a handful of declared numbers.

An answer is checked before it leaves, wherever it goes: to a process of the same job, or over a network. It has no
other fields than these, no array of another kind than weights and sums are, and no count under ``min_cell_count``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file

from conceptbridge.core.atomic_files import write_parquet
from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import is_small

Answer = dict[str, Any]

#: question -> the fields of its answer. ``COUNTS`` are whole numbers, ``LISTS`` are of tokens and places, ``reason`` is
#: a clause; all others are arrays of floating-point numbers, or mappings of them by the names of a model's weights
ANSWERS: Mapping[str, frozenset[str]] = {
    # may it take part, and what of its training tokens the common input space needs
    "enrol": frozenset({"reason", "rows", "events", "check_rows", "keys", "places", "moments"}),
    "enter": frozenset(),
    # over a network: that it takes part, and that it has kept the model (exchange.network)
    "begin": frozenset(),
    "keep": frozenset(),
    # of the weights that it was sent: their loss here, and what they are after some steps
    "update": frozenset({"losses", "weights"}),
    # of the features' columns, and of a regression's coefficients
    "columns": frozenset({"total"}),
    "spread": frozenset({"squares"}),
    "standardise": frozenset({"scale"}),
    "sums": frozenset({"loss", "slope", "shift_slope", "curvature", "cross", "weight"}),
    "check": frozenset({"loss"}),
}
COUNTS, LISTS = frozenset({"rows", "events", "check_rows"}), frozenset({"keys", "places"})
#: the arrays of ``moments``, once per draw
MOMENTS = ("token_count", "token_sum", "token_products")
#: what an answer looks like in files: its counts, and its keys
ENROLMENT = pa.schema([(name, pa.int64()) for name in ("rows", "events", "check_rows")])
KEYS = pa.schema([("key", pa.string())])


def checked(question: str, answer: Answer, min_cell_count: int) -> Answer:
    """The answer, if it may leave the site.

    Raises StudyError when it has a field that is not declared, an array that does not hold floating-point numbers, or a
    count under ``min_cell_count``.
    """
    for name, value in answer.items():
        where = f"federated training: the answer to {question!r}: {name}"
        if name not in ANSWERS.get(question, ()):
            raise StudyError(f"{where} is not declared, so nobody knows what it tells; it does not leave the site")
        if name in COUNTS and (not isinstance(value, int) or is_small(value, min_cell_count)):
            raise StudyError(f"{where} is no count of {min_cell_count} or more; it does not leave the site")
        if name in COUNTS | LISTS | {"reason"}:
            continue
        arrays = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
        if any(np.asarray(array).dtype.kind != "f" for array in arrays):
            raise StudyError(f"{where} does not hold floating-point numbers, as sums do; it does not leave the site")
    if {"rows", "events"} <= set(answer) and is_small(answer["rows"] - answer["events"], min_cell_count):
        raise StudyError(
            f"federated training: the answer to {question!r}: its rows less its events are a count under "
            f"{min_cell_count}; it does not leave the site"
        )
    return answer


def array_names() -> frozenset[str]:
    """The names that arrays of answers have in files, beside those of a model's weights."""
    named = {name for fields in ANSWERS.values() for name in fields} - COUNTS - LISTS - {"reason", "weights", "moments"}
    return frozenset(named | set(MOMENTS) | {"places"})


def write_answer(answer: Answer, folder: Path) -> None:
    """Write an answer as files, as the check of what leaves a site reads them: ``enrolment.parquet``,
    ``federated_keys.parquet`` and ``answer.safetensors``, those of them that it has something for."""
    folder.mkdir(parents=True, exist_ok=True)
    if set(answer) >= COUNTS:
        write_parquet(
            pa.Table.from_pylist([{name: answer[name] for name in COUNTS}], ENROLMENT), folder / "enrolment.parquet"
        )
    if "keys" in answer:
        write_parquet(pa.table({"key": answer["keys"]}, KEYS), folder / "federated_keys.parquet")
    arrays: dict[str, Any] = {}
    for name, value in answer.items():
        if name == "moments":
            for at, array in enumerate(value[: len(MOMENTS)]):
                arrays[MOMENTS[at]] = array
        elif isinstance(value, Mapping):
            arrays |= value
        elif name not in COUNTS | {"keys", "reason"}:
            arrays[name] = np.asarray(value, np.float64)
    if arrays:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "answer.safetensors")


def size_of(value: Any) -> int:
    """Bytes of the numbers and texts of a question or an answer."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(size_of, value))
    return 8
