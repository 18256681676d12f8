"""Write one small file that stands for many: its bytes change when any of theirs do."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digests(paths: Iterable[Path]) -> str:
    """Return one line per file, its SHA-256 and its name: for each of ``paths``, and for all files in a folder."""
    lines = []
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as content:
                    lines.append(f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {file}\n")
    return "".join(lines)
