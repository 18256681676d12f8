"""Quote values and names for SQL, and write what a query gives."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def literal(value: object) -> str:
    """Return ``value`` as a SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return ``name`` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def copy_as_parquet(db: "duckdb.DuckDBPyConnection", query: str, file: object) -> None:
    """Write ``query`` to a Parquet file whose schema depends on the columns' types alone.

    DuckDB marks a column as required where its optimizer can tell that it has no null, which differs with where the
    rows come from: the same rows would be other bytes.
    """
    db.execute("SET disabled_optimizers = 'statistics_propagation'")
    try:
        db.execute(f"COPY ({query}) TO {literal(file)} (FORMAT parquet, COMPRESSION zstd)")
    finally:
        db.execute("RESET disabled_optimizers")
