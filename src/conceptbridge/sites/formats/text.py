"""Delimited text: CSV, TSV and the like, packed or not, with a header or in the order of a CDM version."""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import literal
from conceptbridge.sites.cdm import ALL_TABLES
from conceptbridge.sites.formats.format import MORE_FIELDS, Format, Source, StoredTable
from conceptbridge.sites.layout import read_layout

if TYPE_CHECKING:
    import duckdb

#: of a file in which more rows do not fit their header, nothing is read
MAX_REJECTED = 1_000_000

_REJECTIONS = {
    "TOO MANY COLUMNS": MORE_FIELDS,
    "MISSING COLUMNS": "it has fewer fields than the header",
    "UNQUOTED VALUE": "a quote in it is neither closed nor doubled",
}
# DuckDB lets surplus fields pass that are NULL: here no field is, typed.py knows the spellings
_NO_NULL = "\x01"


class Text(Format):
    """Columns of text, whose types are read later; rows that do not match the header are skipped and counted."""

    name = "text"
    title = "CSV, TSV, TXT, plain or as .gz, .zst"
    suffixes = tuple(f".{kind}{packed}" for packed in ("", ".gz", ".zst") for kind in ("csv", "tsv", "txt"))

    def open(self, db: "duckdb.DuckDBPyConnection", stored: StoredTable) -> Source:
        """Open the files; all parts of a table have to have one layout."""
        headerless, version = bool(stored.reading.get("headerless")), stored.reading.get("cdm_version")
        layouts = [read_layout(file, stored.table, headerless, version) for file in stored.files]
        # what is decided holds for all parts: quotes may happen to be in one part alone
        known = [layout.quoted for layout in layouts if layout.quoted is not None]
        quoted = bool(known) and all(known)
        layouts = [replace(layout, quoted=quoted) for layout in layouts]
        layout = layouts[0]
        for part, other in zip(stored.files, layouts, strict=True):
            if other != layout:
                raise StudyError(
                    f"{part}: its header, delimiter or number of fields differs from {stored.files[0].name}; export "
                    "all parts of the table in the same way"
                )
        width = len(layout.columns) + layout.surplus
        names = ", ".join(f"'c{n}': 'VARCHAR'" for n in range(width))
        quote = "'\"'" if layout.quoted else "''"
        db.execute("DROP TABLE IF EXISTS reject_errors")
        db.execute("DROP TABLE IF EXISTS reject_scans")
        listed = ", ".join(map(literal, stored.files))
        relation = (
            f"read_csv([{listed}], auto_detect=false, columns={{{names}}}, header=false, skip={int(layout.header)}, "
            f"delim={literal(layout.delimiter)}, quote={quote}, escape={quote}, encoding='{layout.encoding}', "
            f"nullstr='{_NO_NULL}', max_line_size=16777216, strict_mode=true, "
            f"null_padding=false, ignore_errors=true, store_rejects=true, rejects_limit={MAX_REJECTED})"
        )
        columns = {
            name: (f"c{n}", "VARCHAR") for n, name in enumerate(layout.columns) if name in ALL_TABLES[stored.table]
        }
        return Source(stored.table, stored.place, relation, columns, None, layout, layout.repaired)

    def rejected(self, db: "duckdb.DuckDBPyConnection", source: Source) -> dict[str, tuple[int, int]]:
        """Reason -> number and first line of the rows that were skipped when ``source`` was read.

        Raises StudyError where the rows after such a row cannot be trusted, or the file is in another encoding.
        """
        faults = db.execute(
            """
            SELECT error_type::VARCHAR, file_id, line, any_value(csv_line) FROM reject_errors
            GROUP BY ALL ORDER BY 2, 3, 1
            """
        ).fetchall()
        counts: Counter[str] = Counter()
        first: dict[str, int] = {}
        seen = set()
        for kind, file, line, content in faults:
            if kind == "INVALID ENCODING":
                raise StudyError(f"{source.place}: line {line} is not UTF-8; export the table in UTF-8")
            if kind == "UNQUOTED VALUE" and "\n" in str(content).rstrip("\r\n"):
                raise StudyError(
                    f"{source.place}: rows run together from line {line} on: a quote opens there and is not closed, "
                    "or the file mixes line ends; export with doubled quotes inside quoted fields, and one kind of "
                    "line end"
                )
            if kind not in _REJECTIONS:
                raise StudyError(f"{source.place}: line {line} cannot be read ({kind.lower()}); export the table again")
            if (file, line) not in seen:
                seen.add((file, line))
                counts[_REJECTIONS[kind]] += 1
                first.setdefault(_REJECTIONS[kind], line)
        if sum(counts.values()) >= MAX_REJECTED:
            raise StudyError(
                f"{source.place}: a million rows do not match the header (the first is line {min(first.values())}); "
                "export the table again"
            )
        return {reason: (count, first[reason]) for reason, count in counts.items()}
