"""What every script of the workflow shares: a log on stderr, and one message when the user has to act."""

import argparse
import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import active_children

from conceptbridge.errors import StudyError


def run(parser: argparse.ArgumentParser, call: Callable[[argparse.Namespace], None]) -> None:
    """Parse the command line and call ``call``; a StudyError ends the command with its message and status 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    arguments = parser.parse_args()
    if os.environ.get("CONCEPTBRIDGE_RUN") == str(os.getppid()):
        threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    try:
        call(arguments)
    except StudyError as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        # whichever library meets it: each wraps it in an exception of its own
        for fault in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            if os.strerror(fault) in str(error):
                sys.exit(
                    f"error: {os.strerror(fault)}: make room, or name another folder as `results` or "
                    "`embedding_cache`, and start the run again; what is whole is kept"
                )
        raise


def _end_with(snakemake: int) -> None:
    """End as soon as Snakemake has been killed: the next run may be making the same files from other settings."""
    while os.getppid() == snakemake:
        time.sleep(0.5)
    for child in active_children():
        child.kill()
    os._exit(1)
