"""What every script of the workflow shares: its threads, a log on stderr, one message when the user has to act."""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable

# before anything heavy is imported: Snakemake tells BLAS and OpenMP (and so torch and Arrow) how many threads a job has
# been granted, but not the tokenizers of transformers
if THREADS := os.environ.get("OMP_NUM_THREADS"):
    os.environ["RAYON_NUM_THREADS"] = THREADS
BEGAN, SPENT = time.monotonic(), sum(os.times()[:4])

from conceptbridge.errors import StudyError  # noqa: E402

logger = logging.getLogger(__name__)


def run(parser: argparse.ArgumentParser, call: Callable[[argparse.Namespace], None]) -> None:
    """Parse the command line and call ``call``; a StudyError ends the command with its message and status 1.

    The log ends with the seconds that the command took and those of its processors, for all its processes together.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    arguments = parser.parse_args()
    try:
        call(arguments)
    except StudyError as error:
        sys.exit(f"error: {error}")
    seconds, cpu_seconds = time.monotonic() - BEGAN, sum(os.times()[:4]) - SPENT
    logger.info("%.2f s, %.2f CPU s on %s threads", seconds, cpu_seconds, THREADS or "any number of")
