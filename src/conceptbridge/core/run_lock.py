"""Lock a results folder for one run at a time, and remove the half-written files of a killed run.

The OS releases our lock when a run is killed. Snakemake's own lock stays, so the profiles disable it.
"""

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

#: the locked file: it names the run that holds the lock, and is emptied when the run succeeds
LOCK = ".running"
#: hidden files that are not half-written; Snakemake puts the second into folders that are outputs
KEPT = (LOCK, ".snakemake_timestamp")


def acquire(results: Path) -> TextIO:
    """Lock the folder until this process ends, however it ends. The caller keeps the returned file open.

    Removes the half-written files of an earlier run that did not succeed. Raises StudyError if another run holds the
    lock, or the folder cannot be written.
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
                f"config: results: another run ({file.read().strip()}) is writing {results}; wait for it, or stop it"
            ) from None
        logger.warning("%s is on a file system without locks: do not start another run there", results)
    file.seek(0)
    if file.read():
        _sweep(results)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def release(file: TextIO) -> None:
    """Record that the run succeeded and left nothing half written."""
    file.truncate(0)


def _sweep(results: Path) -> None:
    for folder, folders, files in os.walk(results):
        for name in [name for name in (*folders, *files) if name.startswith(".") and name not in KEPT]:
            path = Path(folder, name)
            with suppress(OSError):  # a file that stays does no harm
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        folders[:] = [name for name in folders if not name.startswith(".")]
