"""A database that keeps to the memory of its job, spills to disk, and says what to set where that is too little."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from conceptbridge.core.errors import StudyError

#: what a job has by default: what its rule asks for
MEMORY_MB = 4000
#: what a database needs at least
_LEAST_MB = 250


@contextmanager
def database(threads: int, memory_mb: int, spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a database in memory that may hold half of ``memory_mb``, and writes more to the folder ``spill``.

    The other half is for arrays, and for what DuckDB does not count. Raises StudyError, in one line, where a query
    needs more.
    """
    limit = max(memory_mb // 2, _LEAST_MB)
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": f"{limit}MB",
        "temp_directory": str(spill),
    }
    try:
        with duckdb.connect(config=config) as db:
            # the same dates on every machine
            db.execute("SET TimeZone = 'UTC'")
            yield db
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise StudyError(
            f"this job lacks memory: it was given {memory_mb} MB, of which its database may hold {limit} MB. Give its "
            f"rule more: --set-resources RULE:mem_mb={2 * memory_mb}, with the rule's name for RULE"
        ) from error
