"""List and copy the objects of an object store, through Arrow's file systems."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyarrow import fs

from conceptbridge.core.atomic_files import atomic_folder
from conceptbridge.core.errors import StudyError

logger = logging.getLogger(__name__)

#: bytes copied at once
_PIECE = 16_000_000


def list_objects(address: str) -> Iterator[tuple[str, str]]:
    """Yield the name below ``address`` and the ETag of each object, in the order of names; without one, size and time.

    Raises StudyError if the store does not answer, or refuses.
    """
    with _told(address):
        store, folder = fs.FileSystem.from_uri(address)
        found = store.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))
        for info in sorted((one for one in found if one.type == fs.FileType.File), key=lambda one: str(one.path)):
            with store.open_input_file(info.path) as file:
                about = file.metadata() or {}
            tag = about.get("ETag") or f"{info.size} {info.mtime_ns}".encode()
            yield info.path[len(folder) :].strip("/"), tag.decode().strip('"')


def copy_objects(address: str, objects: Mapping[str, str], out: Path) -> None:
    """Copy the ``objects`` (name -> ETag) to the folder ``out``, all or none.

    Raises StudyError if one cannot be read, or is not the one that was listed.
    """
    with atomic_folder(out) as made, _told(address):
        store, folder = fs.FileSystem.from_uri(address)
        for name, tag in objects.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with store.open_input_file(f"{folder}/{name}") as file:
                now = (file.metadata() or {}).get("ETag")
                if now is not None and now.decode().strip('"') != tag:
                    raise StudyError(f"{address}/{name}: was replaced since the run was planned; start it again")
                with path.open("wb") as copy:
                    shutil.copyfileobj(file, copy, _PIECE)
            logger.info("%s: %d bytes", name, path.stat().st_size)


@contextmanager
def _told(address: str) -> Iterator[Any]:
    """Turn an error of the store into one line: its first sentence, which names no key."""
    try:
        yield
    except StudyError:
        raise
    except (OSError, ValueError) as error:
        text = str(error).splitlines()[0].split(" with response body")[0]
        raise StudyError(f"{address}: cannot be read ({text})") from None
