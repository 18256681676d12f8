"""The kinds of databases by name, and what each of them declares and does.

A kind is one subclass of ``Database`` in a module of its own: in this package, or in another one that names it as an
entry point of the group ``conceptbridge.databases``. Planning a run imports these modules, so they import nothing heavy
at their top, and connect to nothing.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from conceptbridge.core.registry import Registry

if TYPE_CHECKING:
    import pyarrow as pa

#: a column of what ``Session.read`` returns: whether a date of the row is infinite, and was therefore left empty
INFINITE = "conceptbridge_infinite"


class Column(NamedTuple):
    """A column as the database has it (``name``, its ``stored`` type), and its ``name`` and DuckDB type in the CDM."""

    stored_name: str
    stored: str
    name: str
    kind: str


class Session:
    """A connection in one transaction that only reads."""

    #: the server's version, for the record
    version: str
    #: whether every query sees the same state of the database
    one_state: bool = True

    def columns(self, schema: str) -> dict[str, dict[str, str]]:
        """Return table or view -> column -> type of a schema, names as they are stored; nothing if there is none."""
        raise NotImplementedError

    def read(self, schema: str, table: str, columns: Sequence[Column]) -> "pa.RecordBatchReader":
        """Return the rows of a table, in an order that is the same as long as the table is not written to, if the
        kind can ask for one.

        The columns have their CDM names. Whole numbers keep all digits (as text where they are stored as decimal
        numbers), dates are dates or timestamps. An infinite date is null, and ``INFINITE`` true, if the kind knows any.
        """
        raise NotImplementedError


class Database:
    """One kind of database. A subclass sets the attributes and writes ``connect``."""

    name: ClassVar[str]
    #: what it is, in messages
    title: ClassVar[str]

    def connect(self, service: str) -> AbstractContextManager[Session]:
        """Connect as ``service`` says: a name that the machine's own files explain, with address, user and password.

        Raises StudyError, in one line and without a secret, when that fails; so do the session's methods.
        """
        raise NotImplementedError


DATABASES = Registry(
    "kind of database",
    "conceptbridge.databases",
    {
        "postgresql": "conceptbridge.sites.databases.postgresql:PostgreSQL",
        "sqlserver": "conceptbridge.sites.databases.odbc:SQLServer",
        "odbc": "conceptbridge.sites.databases.odbc:Odbc",
    },
)


def find_database(name: str) -> Database:
    """The kind of that name. Raises StudyError when there is none, or it cannot be imported."""
    return DATABASES.find(name, Database)()
