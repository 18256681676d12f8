"""What every script of the workflow shares: a log on stderr, and one message when the user has to act."""

import argparse
import logging
import sys
from collections.abc import Callable

from conceptbridge.errors import StudyError


def run(parser: argparse.ArgumentParser, call: Callable[[argparse.Namespace], None]) -> None:
    """Parse the command line and call ``call``; a StudyError ends the command with its message and status 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    arguments = parser.parse_args()
    try:
        call(arguments)
    except StudyError as error:
        sys.exit(f"error: {error}")
