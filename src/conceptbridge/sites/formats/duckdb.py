"""DuckDB: a database in one file, with tables and views of any schema."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import identifier, literal
from conceptbridge.sites.formats.format import Format, Source, StoredTable, relation_source

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class DuckDB(Format):
    """Typed columns, read in place."""

    name = "duckdb"
    title = "DuckDB"
    suffixes = (".duckdb", ".db")
    holds = "tables"

    def recognises(self, file: Path) -> bool:
        """Whether the file begins as a DuckDB database does."""
        with file.open("rb") as start:
            return start.read(12)[8:] == b"DUCK"

    def members(self, file: Path) -> Iterable[tuple[str, str]]:
        """The names of tables and views, and each with its schema."""
        import duckdb  # slow to import, and only needed for such a file

        try:
            with duckdb.connect(str(file), read_only=True) as base:
                query = "SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL"
                rows = base.execute(query).fetchall()
        except duckdb.Error as error:
            fault = str(error).splitlines()[0]
            if "version number" in fault:
                raise StudyError(
                    f"{file}: another version of DuckDB wrote this file; it cannot be read here: run EXPORT DATABASE "
                    "'FOLDER' (FORMAT parquet) with that version, and give the folder"
                ) from error
            raise StudyError(f"{file}: this DuckDB file cannot be opened: {fault}; close or copy it") from error
        return [(name, f"{schema}.{name}") for schema, name in rows]

    def open(self, db: "DuckDBPyConnection", stored: StoredTable) -> Source:
        """Attach the file; the rows of a view have no number."""
        alias = identifier(str(stored.place.file))
        db.execute(f"ATTACH IF NOT EXISTS {literal(stored.place.file)} AS {alias} (READ_ONLY)")
        schema, name = stored.place.member.split(".", 1)
        kinds = db.execute(
            "SELECT table_type FROM information_schema.tables "
            "WHERE table_catalog = ? AND table_schema = ? AND table_name = ?",
            [str(stored.place.file), schema, name],
        ).fetchall()
        relation = f"{alias}.{identifier(schema)}.{identifier(name)}"
        return relation_source(
            db, stored.table, stored.place, relation, "rowid" if kinds == [("BASE TABLE",)] else None
        )
