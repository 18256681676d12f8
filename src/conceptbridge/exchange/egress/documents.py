"""Check a JSON document or a text that leaves: its keys are declared, its values and lines are no secrets."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conceptbridge.core.errors import StudyError
from conceptbridge.disclosure.suppress import is_small
from conceptbridge.exchange.egress.allowlist import CARD, COUNTS, DOCUMENTS, HOSPITAL_TEXTS, PROSE, ROW_LEVEL, SETTINGS
from conceptbridge.exchange.egress.released_file import FEW, ReleasedFile, reject
from conceptbridge.exchange.egress.site_secrets import SiteSecrets
from conceptbridge.exchange.egress.weights import model_fields

#: keys whose texts are tokens' keys, and keys whose numbers are concepts
_TOKEN_KEYS = ("key", "names")
_CONCEPTS = ("concepts", "exclude", "visits", "condition", "concept_id", "names")

_PACKED = re.compile(r"data:[^,\"'\s]*,([A-Za-z0-9+/=]*)")


def check_json(path: Path, file: ReleasedFile, secrets: SiteSecrets, learner: str | None) -> None:
    """Check a JSON document against its declaration, a model's against that of ``learner``. Raises StudyError."""
    if path.stem not in DOCUMENTS:
        raise StudyError(f"{file.file}: no JSON document of this name may leave; known: {', '.join(DOCUMENTS)}")
    file.about, keys, free = DOCUMENTS[path.stem]
    if path.stem == "model":
        keys |= model_fields(learner)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise StudyError(f"{file.file}: cannot be read as JSON, so it is not sent") from error
    for at, key in _keys(value, free):
        if key not in keys:
            kind = "names persons, visits, rows or dates" if ROW_LEVEL.search(key) else "is not declared"
            raise StudyError(f"{file.file}: the key {at} {kind}; leave it out")
    check_values(file.file, value, "", secrets)
    _check_counts(file, value, secrets.min_cell_count)
    names = value.get("space", {}).get("names") if isinstance(value, dict) else None
    if isinstance(names, list):
        file.note_texts((str(name), str(name)) for name in names)
    tokens = value.get("tokens") if isinstance(value, dict) else None
    if isinstance(tokens, list):
        file.rows = len(tokens)
        file.note_texts((str(token["text"]), token["key"]) for token in tokens)


def check_values(file: str, value: Any, at: str, secrets: SiteSecrets) -> None:
    """Check every key and every value; no list of numbers may be as long as a cohort. Raises StudyError."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            where = f"{at}.{key}" if at else str(key)
            reject(file, f"a key below {at or 'the top'}", secrets.finding(str(key), program=True), "leave it out")
            check_values(file, item, where, secrets)
    elif isinstance(value, list):
        numbers = [item for item in value if _is_number(item)]
        if len(numbers) == len(value) and len(value) in secrets.cohort_sizes:
            reject(file, at, "as many numbers as a cohort has rows", "values of single rows stay at the site")
        for item in value:
            check_values(file, item, at, secrets)
    elif isinstance(value, str):
        in_key, program = _last(at) in _TOKEN_KEYS, _last(at) not in HOSPITAL_TEXTS
        finding = secrets.finding_in_key(value) if in_key else secrets.finding(value, program)
        reject(file, at, finding, "leave it out")
    elif _is_number(value) and _last(at) not in SETTINGS:
        number = np.array([value], dtype=np.int64 if isinstance(value, int) and abs(value) < 2**63 else np.float64)
        if _last(at) not in _CONCEPTS and secrets.holds_id(number):
            reject(file, at, "a person or visit id", "leave it out")


def check_prose(path: Path, file: ReleasedFile, secrets: SiteSecrets) -> None:
    """Check a text that people read, line by line, with what is packed into it. Raises StudyError.

    A model card holds what the program says, and what the manifest and the metrics do.
    """
    program = path.name == CARD
    file.about = PROSE[path.suffix]
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise StudyError(f"{file.file}: is not UTF-8 text, so it is not sent") from error
    for number, line in enumerate(text.splitlines(), 1):
        reject(file.file, f"line {number}", secrets.finding(line, program), "write it without")
        for packed in _PACKED.findall(line):
            try:
                content = base64.b64decode(packed, validate=True).decode("utf-8")
            except ValueError as error:  # an image in pixels can hold anything
                raise StudyError(f"{file.file}: line {number} holds data that cannot be checked") from error
            reject(file.file, f"the data packed into line {number}", secrets.finding(content), "write it without")


def _keys(value: Any, free: frozenset[str], at: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key at every depth, with its path; below a free key, those of its members."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = f"{at}.{key}" if at else str(key)
            yield here, str(key)
            if key in free and isinstance(item, dict):
                for name, member in item.items():
                    yield from _keys(member, free, f"{here}.{name}")
            else:
                yield from _keys(item, free, here)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item, free, at)


def _check_counts(file: ReleasedFile, value: Any, min_cell_count: int) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if key in COUNTS and _is_number(item):
            if is_small(item, min_cell_count):
                raise StudyError(f"{file.file}: {key} is one of the {FEW} ({min_cell_count}); blank it")
            file.note_count(int(item))
        _check_counts(file, item, min_cell_count)
    if isinstance(value, dict):
        for rows, events in (("rows", "events"), ("train_rows", "train_events")):
            n, k = value.get(rows), value.get(events)
            if isinstance(n, int) and isinstance(k, int) and is_small(n - k, min_cell_count):
                raise StudyError(
                    f"{file.file}: {rows} minus {events} is one of the {FEW} ({min_cell_count}); blank {events}"
                )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _last(at: str) -> str:
    return at.rpartition(".")[2]
