"""Any database with an ODBC driver, through arrow-odbc: rows arrive as Arrow."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from conceptbridge.core.errors import StudyError
from conceptbridge.core.sql import identifier, literal
from conceptbridge.sites.databases.database import Column, Database, Session

if TYPE_CHECKING:
    import pyarrow as pa

#: rows are sent in parts of at most this size
_BYTES = 64 * 2**20
#: SQLSTATE classes whose messages name tables, columns and users, and no values
_SPEAKING = ("08", "0A", "28", "3D", "3F", "42", "IM", "HYT")


class Odbc(Database):
    """A CDM in a schema of a database that has INFORMATION_SCHEMA and takes names in double quotes.

    How a database is asked for one state of all tables is nowhere standard, so ``odbc`` does not promise one.
    """

    name = "odbc"
    title = "ODBC"
    #: the statements after which all queries of the transaction see one state of the database
    one_state: ClassVar[Sequence[str]] = ()
    #: a query for the server's version
    version: ClassVar[str | None] = None

    @contextmanager
    def connect(self, service: str) -> Iterator[Session]:
        """Connect by the data source ``service`` of ~/.odbc.ini, which has user and password, too."""
        try:
            import arrow_odbc
        except ImportError as error:
            raise StudyError(
                f"ODBC is read by a package that cannot be imported ({error}): pip install 'conceptbridge[odbc]'"
            ) from None
        place = f"{self.title} data source {service}"
        with _told(place):
            connection = arrow_odbc.connect(f"DSN={service}", login_timeout_sec=30, autocommit=False)
            for statement in self.one_state:
                connection.execute(statement)
            session = _Session(connection, place, bool(self.one_state))
            if self.version:
                session.version = str(session.rows(self.version)[0][0])
        try:
            yield session
        finally:
            with _told(place):
                connection.rollback()


class SQLServer(Odbc):
    """SQL Server: the database has to allow snapshot isolation, with which no writer waits for a reader."""

    name = "sqlserver"
    title = "SQL Server"
    one_state = ("SET TRANSACTION ISOLATION LEVEL SNAPSHOT",)
    version = "SELECT CAST(SERVERPROPERTY('ProductVersion') AS VARCHAR(50))"


class _Session(Session):
    def __init__(self, connection: Any, place: str, one_state: bool) -> None:
        self.connection, self.place, self.one_state, self.version = connection, place, one_state, "not asked"

    def columns(self, schema: str) -> dict[str, dict[str, str]]:
        """Return table or view -> column -> type."""
        query = (
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS "
            f"WHERE TABLE_SCHEMA = {literal(schema)} ORDER BY TABLE_NAME, ORDINAL_POSITION"
        )
        found: dict[str, dict[str, str]] = {}
        with _told(self.place):
            for table, column, kind in self.rows(query):
                found.setdefault(table, {})[column] = kind
        return found

    def read(self, schema: str, table: str, columns: Sequence[Column]) -> "pa.RecordBatchReader":
        """Return the rows in the order in which the server sends them."""
        import pyarrow as pa

        selected = ", ".join(f"{identifier(c.stored_name)} AS {identifier(c.name)}" for c in columns)
        kinds = {c.name: c.kind for c in columns}

        def exact(found: pa.Schema) -> pa.Schema:
            return pa.schema([pa.field(f.name, _type(f.type, kinds[f.name])) for f in found])

        place = f"{self.place}: {schema}.{table}"
        with _told(place):
            query = f"SELECT {selected} FROM {identifier(schema)}.{identifier(table)}"
            rows = self._batches(query, exact)
            wanted = rows.schema

        def batches() -> Iterator[Any]:
            with _told(place):
                yield from rows

        return pa.RecordBatchReader.from_batches(wanted, batches())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a small result."""
        return [row for batch in self._batches(query) for row in zip(*batch.to_pydict().values(), strict=True)]

    def _batches(self, query: str, map_schema: Any = None) -> Any:
        from arrow_odbc import TextEncoding

        # what a driver sends as 8-bit text depends on the locale
        text = TextEncoding.UTF16
        return self.connection.read_arrow_batches(
            query,
            max_bytes_per_batch=_BYTES,
            fetch_concurrently=False,
            map_schema=map_schema,
            payload_text_encoding=text,
        )


def _type(found: "pa.DataType", kind: str) -> "pa.DataType":
    """The type in which a column is fetched: without loss, and decimal numbers that are ids as text."""
    import pyarrow as pa

    if pa.types.is_decimal(found):
        return pa.float64() if kind == "DOUBLE" else pa.string()
    if pa.types.is_floating(found):  # a driver may call 64 bits 32
        return pa.float64()
    return found if pa.types.is_integer(found) or pa.types.is_temporal(found) else pa.string()


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Turn an error of the driver into one line that quotes neither a value of a row nor a secret."""
    try:
        yield
    except StudyError:
        raise
    except Exception as error:  # the driver's own, or Arrow's while rows arrive
        if not type(error).__module__.startswith(("arrow_odbc", "pyarrow")) and not isinstance(error, OSError):
            raise
        said = re.search(r"State: (\w{5}), Native error: -?\d+, Message: (.*)", str(error), re.DOTALL)
        state, text = said.groups() if said else ("", str(error))
        text = re.sub(r"^(\[[^]]*\]\s*)+", "", text.strip()) or "the connection was lost"
        text = text.splitlines()[0].rstrip(";")
        if not state.startswith(_SPEAKING):
            text = re.sub(r"(\"|').*\1", r"\1...\1", text)
        raise StudyError(f"{place}: {text}") from None
