"""What every script of the workflow shares: its threads, a log on stderr, one message when the user has to act."""

import argparse
import errno
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import active_children
from typing import ClassVar

# before anything heavy is imported: Snakemake tells BLAS and OpenMP (and so torch and Arrow) how many threads a job has
# been granted, but not the tokenizers of transformers
if THREADS := os.environ.get("OMP_NUM_THREADS"):
    os.environ["RAYON_NUM_THREADS"] = THREADS
BEGAN, SPENT = time.monotonic(), sum(os.times()[:4])


class _Spared:
    """Keep packages from importing others that they would only offer more with, which no command uses: scikit-learn
    takes LightGBM longer than most jobs of trees last."""

    OFFERED: ClassVar = {
        "sklearn": "lightgbm",
        "pandas": "lightgbm",
        "charset_normalizer": "numpy.f2py",
        "cffi": "numba.core.typing.cffi_utils",
    }
    UNUSED: ClassVar[set[str]] = set()

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Say that a package is not there, if the command has no use for it, and while the one is imported that would
        offer more with it."""
        offering = getattr(sys.modules.get(self.OFFERED.get(fullname, "")), "__spec__", None)
        if fullname in self.UNUSED or getattr(offering, "_initializing", False):
            raise ModuleNotFoundError(fullname, name=fullname)


sys.meta_path.insert(0, _Spared())

from conceptbridge.core.errors import StudyError  # noqa: E402

logger = logging.getLogger(__name__)


def run(parser: argparse.ArgumentParser, call: Callable[[argparse.Namespace], None], pandas: bool = True) -> None:
    """Parse the command line and call ``call``; a StudyError ends the command with its message and status 1.

    Arrow imports pandas for the first array that it makes, to know whether it is a series. Without ``pandas`` it finds
    none: for commands in which nothing needs it, other packages' code included.
    The log ends with what the command took: seconds, those of its processors, for all its processes together, and the
    most memory that one of them held.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    arguments = parser.parse_args()
    if not pandas:
        _Spared.UNUSED.add("pandas")
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
    seconds, cpu_seconds = time.monotonic() - BEGAN, sum(os.times()[:4]) - SPENT
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    megabytes = most / (1e6 if sys.platform == "darwin" else 1e3)
    threads = THREADS or "any number of"
    logger.info("%.2f s, %.2f CPU s on %s threads, %.0f MB", seconds, cpu_seconds, threads, megabytes)


def _end_with(snakemake: int) -> None:
    """End as soon as Snakemake has been killed: the next run may be making the same files from other settings."""
    while os.getppid() == snakemake:
        time.sleep(0.5)
    for child in active_children():
        child.kill()
    os._exit(1)
