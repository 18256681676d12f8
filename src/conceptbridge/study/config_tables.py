"""The tables of ``config/README.md``, made from the declarations of the keys; its other text is written by hand.

A table stands between ``<!-- TABLE -->`` and ``<!-- end -->``, where TABLE is one of ``first keys``; ``keys: NAME
...``, the keys of these names and below; ``keys of PREFIX: NAME ...``; ``learner: NAME``; and ``catalogue``.

    python -m conceptbridge.study.config_tables config/README.md      # write its tables anew
"""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from conceptbridge.core.atomic_files import write_text
from conceptbridge.core.errors import StudyError
from conceptbridge.sites.converters.converter import CONVERTERS
from conceptbridge.study.config import config_schema
from conceptbridge.study.declared_keys import Key, catalogue_rows, declared_keys, learner_rows
from conceptbridge.study.learners import find_learner

_TABLE = re.compile(
    r"(<!-- (first keys|keys|learner|catalogue)(?: of (\S+))?(?:: (.*?))? -->\n).*?(<!-- end -->)", re.S
)


def with_tables(text: str) -> str:
    """Return the text with each table made anew. Raises StudyError for a key that is in none of them, or in several."""
    schema = config_schema()
    for name in CONVERTERS.keys() - CONVERTERS.own.keys():  # of another package, as it may be installed here
        del schema["properties"]["sites"]["additionalProperties"]["properties"][name]
    keys = declared_keys(schema)
    told: list[str] = []

    def table(found: re.Match[str]) -> str:
        start, kind, prefix, names, end = found.groups()
        if kind == "keys":
            wanted = [f"{prefix}.{name}" if prefix else name for name in names.split()]
            here = [key for name in wanted for key in keys if not key.section and _below(key.path, name)]
            told.extend(key.path for key in here)
            return start + _keys_table(here, prefix) + end
        if kind == "learner":
            head = (f"key of `learners.{names}`", "meaning", "values", "default", "with `preset: paper`")
            return start + _table(head, _joined(learner_rows(find_learner(names)))) + end
        if kind == "catalogue":
            return start + _table(("key", "meaning", "values", "backends", "changes vectors"), catalogue_rows()) + end
        first = [(key.path, key.about, key.default) for key in keys if key.first]
        return start + _table(("key", "meaning", "default"), first) + end

    result = _TABLE.sub(table, text)
    for key in keys:
        if not key.section and key.path != "learners" and told.count(key.path) != 1:
            raise StudyError(f"{key.path}: this key is in {told.count(key.path)} tables; put it into one")
    return result


def _below(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def _keys_table(keys: Sequence[Key], prefix: str | None) -> str:
    rows = [
        (
            key.path.removeprefix(f"{prefix}."),
            key.about,
            key.values,
            key.default,
            f"{key.reruns}; new vectors" if key.vectors else key.reruns,
        )
        for key in keys
    ]
    return _table(
        (f"key of `{prefix}`" if prefix else "key", "meaning", "values", "default", "runs again"), _joined(rows)
    )


def _joined(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Join rows that differ in the key alone."""
    result: dict[tuple[str, ...], list[str]] = {}
    for key, *rest in rows:
        result.setdefault(tuple(rest), []).append(key)
    return [("` `".join(keys), *rest) for rest, keys in result.items()]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column has keys."""
    cells = [(f"`{key}`", *(cell.replace("|", "\\|") for cell in rest)) for key, *rest in rows]
    lines = [" | ".join(head), "|".join(["---"] * len(head)), *(" | ".join(row) for row in cells)]
    return "".join(f"|{line}|\n" if line.startswith("---") else f"| {line} |\n" for line in lines)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    write_text(with_tables(page.read_text(encoding="utf-8")), page)
