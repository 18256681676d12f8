"""Write values as canonical text, and suggest the word that was probably meant."""

import json
from collections.abc import Iterable
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any


def canonical(value: Any) -> str:
    """Return ``value`` as JSON with sorted keys and whole floats as integers, so that equal specs are equal text."""
    return json.dumps(_normal(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def nearest(word: str, valid: Iterable[Any]) -> str:
    """Return a hint at the valid word most like ``word``, or an empty string if none is close."""
    close = get_close_matches(word, [str(v) for v in valid], n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _normal(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _normal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, Path | date) else value
