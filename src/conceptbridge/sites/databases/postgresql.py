"""PostgreSQL, through ADBC: rows arrive as Arrow, in PostgreSQL's binary copy format."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import identifier, literal
from conceptbridge.sites.databases.database import INFINITE, Column, Database, Session

if TYPE_CHECKING:
    import pyarrow as pa

_INTEGERS = {"smallint", "integer", "bigint"}
_FLOATS = {"real", "double precision"}
_DATES = {"date", "timestamp without time zone", "timestamp with time zone"}
#: a row that a policy hides, rows in another order, or another zone would make another extract, silently
_SETTINGS = {
    "row_security": "off",
    "synchronize_seqscans": "off",
    "max_parallel_workers_per_gather": "0",
    "enable_indexonlyscan": "off",
    "TimeZone": "UTC",
    "statement_timeout": "0",
    "client_encoding": "UTF8",
}
#: since version 14: a query whose client has gone ends, although it has nothing to send
_CHECK_CLIENT = (
    "SELECT set_config('client_connection_check_interval', '1000', true) "
    "WHERE current_setting('server_version_num')::int >= 140000"
)
#: SQLSTATE classes whose messages name tables, columns and users, and no values
_SPEAKING = ("08", "0A", "28", "3D", "3F", "42", "53", "57")


class PostgreSQL(Database):
    """A CDM in a schema of a PostgreSQL database."""

    name = "postgresql"
    title = "PostgreSQL"

    @contextmanager
    def connect(self, service: str) -> Iterator[Session]:
        """Connect by the service ``service`` of ~/.pg_service.conf; its password is in ~/.pgpass."""
        try:
            from adbc_driver_postgresql import dbapi
        except ImportError as error:
            raise StudyError(
                f"PostgreSQL is read by a package that cannot be imported ({error}): pip install "
                "'conceptbridge[postgresql]'"
            ) from None
        with _told(f"PostgreSQL service {service}"):
            connection = dbapi.connect(f"service={service}")
        try:
            yield _Session(connection, service)
        finally:
            with _told(f"PostgreSQL service {service}"):
                connection.rollback()
                connection.close()


class _Session(Session):
    def __init__(self, connection: Any, service: str) -> None:
        self.connection, self.service = connection, service
        self.cursor = connection.cursor()
        with _told(f"PostgreSQL service {service}"):
            self.cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for name, value in _SETTINGS.items():
                self.cursor.execute(f"SET LOCAL {name} = {literal(value)}")
            self._rows(_CHECK_CLIENT)
            ((self.version,),) = self._rows("SELECT current_setting('server_version')")

    def columns(self, schema: str) -> dict[str, dict[str, str]]:
        """Return table or view -> column -> type; a domain has the type that it restricts."""
        query = f"""
            SELECT c.relname::text, a.attname::text,
                   format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END, NULL)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            JOIN pg_type t ON t.oid = a.atttypid
            WHERE n.nspname = {literal(schema)} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            ORDER BY c.relname, a.attnum
        """
        found: dict[str, dict[str, str]] = {}
        with _told(f"PostgreSQL service {self.service}"):
            for table, column, kind in self._rows(query):
                found.setdefault(table, {})[column] = kind
        return found

    def read(self, schema: str, table: str, columns: Sequence[Column]) -> "pa.RecordBatchReader":
        """Return the rows in the order in which the table stores them."""
        import pyarrow as pa

        dates = [identifier(c.stored_name) for c in columns if c.kind == "DATE" and c.stored in _DATES]
        infinite = " OR ".join(f"NOT isfinite({date})" for date in dates)
        selected = [f"{_expression(c)} AS {identifier(c.name)}" for c in columns]
        selected += [f"coalesce({infinite}, false) AS {identifier(INFINITE)}"] if dates else []
        place = f"PostgreSQL service {self.service}: {schema}.{table}"
        with _told(place):
            self.cursor.execute(f"SELECT {', '.join(selected)} FROM {identifier(schema)}.{identifier(table)}")
            rows = self.cursor.fetch_record_batch()

        def batches() -> Iterator[Any]:
            with _told(place):
                yield from rows

        return pa.RecordBatchReader.from_batches(rows.schema, batches())

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        self.cursor.execute(query)
        return list(self.cursor.fetchall())


def _expression(column: Column) -> str:
    """Return SQL of a column in a type that Arrow has, without loss."""
    name, stored = identifier(column.stored_name), column.stored
    if stored in _DATES:
        return f"CASE WHEN isfinite({name}) THEN {name} END"
    if stored in _INTEGERS | _FLOATS | {"text"}:
        return name
    if stored == "numeric" and column.kind == "DOUBLE":
        return f"{name}::double precision"
    return f"{name}::text"  # also a decimal number that is an id: reading it later tells 12.0 from 12.6


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Turn an error of the driver into one line that quotes neither a value of a row nor a secret."""
    try:
        yield
    except StudyError:
        raise
    except Exception as error:  # the driver's own, or Arrow's while rows arrive
        if not type(error).__module__.startswith(("adbc_driver", "pyarrow")) and not isinstance(error, OSError):
            raise
        text = re.split(r"(?:ERROR|FATAL|PANIC):\s+|\[libpq\] (?:Failed to connect: )?", str(error))[-1]
        text = text.strip().splitlines()[0] if text.strip() else "the connection was lost"
        state = getattr(error, "sqlstate", None) or ""
        if "Failed to connect" not in str(error) and not state.startswith(_SPEAKING):
            text = re.sub(r'".*"', '"..."', text)
        raise StudyError(f"{place}: {text}") from None
