"""Find out whether quotes in a text file are syntax. That is decided from the whole file, not from its beginning."""

import re
from collections.abc import Collection, Iterable

_WHOLE = re.compile(rb'"(?:[^"]|"")*"[ \t]*')


def quotes_are_syntax(blocks: Iterable[bytes], delimiter: str, widths: Collection[int]) -> bool | None:
    """Say whether fields are put in quotes; None if no field begins with a quote.

    ``blocks`` is the file, ``widths`` are the numbers of fields that a row can have. Databases and Athena write quotes
    as they are: ``"A" antigen``. Spreadsheets and pandas put fields in quotes that have a delimiter, a quote or a line
    end in them. A line with the right number of fields, one of which begins with a quote and does not end with it,
    speaks for the former; a line with another number of fields for the latter.
    """
    split, literal, syntax, seen = delimiter.encode(), 0, 0, False
    inside = split + b'"'
    for text in _whole_lines(blocks):
        if not (inside in text or text.startswith(b'"') or b'\n"' in text):
            continue
        for line in text.split(b"\n"):
            if not (inside in line or line.startswith(b'"')):
                continue
            fields = line.removesuffix(b"\r").split(split)
            if len(fields) not in widths:
                syntax += 1
            elif all(_WHOLE.fullmatch(field) for field in fields if field.startswith(b'"')):
                seen = True
            else:
                literal += 1
    if literal > syntax:
        return False
    return True if syntax or literal or seen else None


def _whole_lines(blocks: Iterable[bytes]) -> Iterable[bytes]:
    rest = b""
    for block in blocks:
        text, end, tail = (rest + block).rpartition(b"\n")
        if end:
            yield text
        rest = tail if end else rest + block
    yield rest
