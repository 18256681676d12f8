"""The words that the program says itself: a hospital's rare value that consists of them is no secret where they stand.

Somebody's race can be "other", which is also the name of a group, of a key of the config and of a line of the page. In
a place that only the program writes, such a text tells nothing of the hospital.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import conceptbridge

#: the rooms that write what leaves
_ROOMS = ("disclosure", "evaluate", "exchange", "learn", "sites", "study", "tasks", "translate", "vocabulary")
_WORD = re.compile(r"\w+")
#: lines of a YAML file that tell something to its readers alone
_FOR_READERS = re.compile(r"^\s*(#.*|(description|title|x-[a-z]+):.*)$", re.MULTILINE)


def words(text: str) -> list[str]:
    """Return the words of a text in order, case-folded; an underscore is part of a word."""
    return _WORD.findall(text.casefold())


@cache
def program_words() -> frozenset[str]:
    """Return every word of the texts in the code of the rooms that write what leaves, of their schemas and presets.

    These are the names of columns, keys, metrics, states, groups and reasons; docstrings and comments are left out.
    """
    found: set[str] = set()
    root = Path(conceptbridge.__file__).parent
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            for text in _constants(ast.parse(path.read_text(encoding="utf-8"))):
                found.update(words(text))
        for path in sorted((root / room).rglob("*.yaml")):
            found.update(
                words(re.sub(r"(?m)^\s*(#.*|(description|title|x-[a-z]+):.*)$", "", path.read_text(encoding="utf-8")))
            )
    return frozenset(found)


def _constants(tree: ast.AST) -> Iterator[str]:
    for node in _children(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id  # a field, which can be a column
        if isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        yield from _constants(node)


def _children(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes below one, without what a schema tells its readers: no file that leaves repeats that."""
    pairs = zip(tree.keys, tree.values, strict=True) if isinstance(tree, ast.Dict) else ()
    told = [value for key, value in pairs if isinstance(key, ast.Constant) and key.value in ("description", "title")]
    return (node for node in ast.iter_child_nodes(tree) if node not in told)
