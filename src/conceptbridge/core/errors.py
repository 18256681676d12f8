"""The one exception a user is meant to read."""


class StudyError(Exception):
    """A mistake in the study's config or input: the message says what was found, where, and what to do."""
