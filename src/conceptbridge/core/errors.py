"""The one exception that users are meant to read."""


class StudyError(Exception):
    """A mistake in the study's config or input. The message says what was found, where, and what to do."""
