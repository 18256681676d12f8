"""One run at a time in a folder of results, and none of what a killed one left half written."""

import errno
import fcntl
import logging
import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from conceptbridge.core.errors import StudyError

logger = logging.getLogger(__name__)

#: the file that a run holds: whose it is, until the run has ended well
LOCK = ".running"
#: hidden files that are no half-written ones: Snakemake has the second in folders that are outputs
KEPT = (LOCK, ".snakemake_timestamp")


def acquire(results: Path) -> TextIO:
    """Hold the folder for this process: until it ends, however it ends, no other can. The file is to be kept open.

    What a run that was killed, or whose jobs were, left half written is removed. Raises StudyError where another run
    holds the folder, or it cannot be written.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        file = (results / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise StudyError(f"config: results: the folder {results} cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise StudyError(
                f"config: results: another run ({file.read().strip()}) is making {results}; wait for it, or end it"
            ) from None
        logger.warning("%s is on a file system without locks: start no other run there", results)
    file.seek(0)
    if file.read():
        _sweep(results)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def release(file: TextIO) -> None:
    """Note that nothing half written can be there."""
    file.truncate(0)


def _sweep(results: Path) -> None:
    for folder, folders, files in os.walk(results):
        for name in [name for name in (*folders, *files) if name.startswith(".") and name not in KEPT]:
            path = Path(folder, name)
            with suppress(OSError):  # it is in nobody's way
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        folders[:] = [name for name in folders if not name.startswith(".")]
