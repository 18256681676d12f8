"""SQL that every room needs."""


def literal(value: object) -> str:
    """Return ``value`` as a string literal of SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return ``name`` as a quoted identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
