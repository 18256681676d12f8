"""Lines of a log that say how far a long computation is, one every few seconds."""

import logging
import time

#: seconds from one line to the next
APART = 5.0


class PacedLog:
    """A log that leaves out lines which come too soon after the one before."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger, self.told = logger, time.monotonic()

    def info(self, message: str, *values: object) -> None:
        """Write the line, unless the last one, or the beginning, is less than ``APART`` seconds ago."""
        if time.monotonic() - self.told >= APART:
            self.told = time.monotonic()
            self.logger.info(message, *values)
