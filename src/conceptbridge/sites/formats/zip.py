"""A zip archive of files that hold one table each."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from conceptbridge.core.errors import StudyError
from conceptbridge.sites.formats.format import Format, Place, Source, StoredTable, format_of

if TYPE_CHECKING:
    import duckdb


class Zip(Format):
    """Known by its content alone, whatever its name. It is an extract by itself; inside a folder it is passed over."""

    name = "zip"
    title = "zip"
    holds = "files"

    def recognises(self, file: Path) -> bool:
        """Whether the file ends as a zip archive does."""
        return zipfile.is_zipfile(file)

    def members(self, file: Path) -> Iterable[tuple[str, str]]:
        """The names in the archive, folders included."""
        with zipfile.ZipFile(file) as archive:
            return [(name, name) for name in archive.namelist()]

    def open(self, db: "duckdb.DuckDBPyConnection", stored: StoredTable) -> Source:
        """Unpack the member and open it as what its name says."""
        unpacked = _unpack(stored.place, stored.folder)
        return _format(stored.place).open(db, stored._replace(files=[unpacked]))

    def rejected(self, db: "duckdb.DuckDBPyConnection", source: Source) -> dict[str, tuple[int, int]]:
        """The rows that the member's own format skipped."""
        return _format(source.place).rejected(db, source)


def _format(place: Place) -> Format:
    known = format_of(place.member)
    assert known is not None, "only a name of a table is a place"
    return known[0]


def _unpack(place: Place, folder: Path) -> Path:
    target = folder / Path(place.member).name
    try:
        with zipfile.ZipFile(place.file) as archive, archive.open(place.member) as packed, target.open("wb") as out:
            while block := packed.read(1 << 24):
                out.write(block)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise StudyError(f"{place}: cannot be unpacked ({error}); make the zip again, without a password") from error
    return target
