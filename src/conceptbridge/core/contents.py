"""What is in the files that a study is given: a digest of each, which is kept as long as the file is not touched.

Snakemake looks into an input that is newer than what was made from it. One that was replaced by an older one (a copy
that keeps times, a link to another folder) it takes for the same.
"""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from conceptbridge.core.atomic_files import write_text

FILE = ".contents.json"


class Contents:
    """Digests of files, kept in the folder of results: file -> what the system says of it, and its digest."""

    def __init__(self, folder: Path) -> None:
        self._file, self._new = folder / FILE, False
        self._known: dict[str, list[object]] = {}
        with suppress(OSError, ValueError, TypeError):  # then they are computed again
            self._known.update(json.loads(self._file.read_text(encoding="utf-8")))

    def digest(self, files: Iterable[str]) -> str:
        """Return a digest of what is in the files, whatever they are called and where they lie; "" for none."""
        found = [self._of(Path(file)) for file in files]
        return hashlib.sha256(" ".join(found).encode()).hexdigest()[:16] if found else ""

    def save(self) -> None:
        """Keep the digests, if there is a folder of results that can be written."""
        if self._new and self._file.parent.is_dir():
            try:
                write_text(json.dumps(self._known, indent=0), self._file)
            except OSError:
                return  # the next plan reads the files again
            self._new = False

    def _of(self, file: Path) -> str:
        try:
            stat = file.stat()
            about = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
            known = self._known.get(str(file.absolute()), [])
            if known[:-1] == about:
                return str(known[-1])
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError:
            return "missing"  # the job that needs it says so
        self._known[str(file.absolute())] = [*about, digest]
        self._new = True
        return digest
