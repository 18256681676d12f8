"""The one exception that users are meant to read."""

from collections.abc import Iterator
from contextlib import contextmanager


class StudyError(Exception):
    """A mistake in the study's config or input. The message says what was found, where, and what to do."""


@contextmanager
def named_by(key: str) -> Iterator[None]:
    """Add to the message of a StudyError which key of the config names the file that it is about."""
    try:
        yield
    except StudyError as error:
        raise StudyError(f"{error} (config: {key})") from error
