"""A `python` whose processes are forked from one that has imported what jobs import: to start is most of a short job.

``start`` begins the process that they are forked from and makes a folder with the `python`. It ends with the process
that started it; a `python` that finds nobody to fork from is the usual one.
"""

import atexit
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

#: what most jobs import. Threads that a package starts by itself are not forked, so none is here that does so
IMPORTED = (
    "duckdb", "jsonschema", "lightgbm", "numba", "pandas", "pyarrow.compute", "pyarrow.parquet", "scipy.linalg",
    "scipy.optimize", "scipy.sparse.linalg", "scipy.special", "threadpoolctl", "yaml",
)  # fmt: skip

#: the variable that names the folder (workflow/rules/plan.smk)
VARIABLE = "CONCEPTBRIDGE_PYTHON"

#: What it is told, `FILE ...` or `-m MODULE ...`, goes to the server with its input and output; its status comes back.
#: It ends with the run that started it, and whatever was forked for it ends with it. It begins as a shell's script,
#: because a first line cannot name a path with a space.
_CLIENT = """#!/bin/sh
''':'
exec {quoted} -ISE "$0" "$@"
'''
import json, os, select, signal, socket, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
usual = [{python!r}, *sys.argv[1:]]
if len(sys.argv) < 2 or (sys.argv[1].startswith("-") and sys.argv[1] != "-m"):
    os.execv(usual[0], usual)
server = socket.socket(socket.AF_UNIX)
try:
    server.connect({address!r})
except OSError:
    os.execv(usual[0], usual)
parent = os.getppid() if os.environ.get("CONCEPTBRIDGE_RUN") == str(os.getppid()) else None
told = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(told).to_bytes(8, "big")], [0, 1, 2])
server.sendall(told)
while not select.select([server], [], [], 0.5)[0]:
    if parent not in (None, os.getppid()):
        sys.exit(1)
status = server.recv(1)
sys.exit(status[0] if status else 128 + signal.SIGKILL)
"""


def start(more: Sequence[str] = ()) -> Path:
    """Begin to serve, with ``more`` modules imported, and return the folder of a `python` that is forked.

    Raises OSError where the folder for temporary files has too long a name: an address has at most 107 characters.
    """
    folder = Path(tempfile.mkdtemp(prefix="py"))
    client, address = folder / "python", str(folder / "socket")
    code = _CLIENT.format(quoted=shlex.quote(sys.executable), python=sys.executable, address=address)
    client.write_text(code, encoding="utf-8")
    client.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(100)  # who comes before all is imported waits
        # it ends when this process does, however that ends: this one holds the other end of its input. BLAS and OpenMP
        # have one thread until a job says how many
        server = subprocess.Popen(
            [sys.executable, "-P", __file__, str(listening.fileno()), *more],
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    atexit.register(_end, server, folder)
    return folder


def _end(server: subprocess.Popen[bytes], folder: Path) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)


def serve(listening: socket.socket, more: Sequence[str]) -> None:
    """Fork for every client, until the input is closed."""
    for name in (*IMPORTED, *more):
        __import__(name)
    with listening:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a job here
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            client, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(client)
            client.close()


def _answer(client: socket.socket) -> None:
    """Be the process that the client asked for, and end with its status."""
    length, files, _, _ = socket.recv_fds(client, 8, 3)
    told = b""
    while len(told) < int.from_bytes(length, "big"):
        told += client.recv(1 << 20)
    arguments, folder, environment = json.loads(told)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _set_threads()
    threading.Thread(target=_end_with, args=[client], daemon=True).start()
    status = 1
    try:
        status = _run(arguments)
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(bytes([status & 255]))
        os._exit(status & 255)


def _set_threads() -> None:
    """Give the libraries that are loaded the threads that they would have read at their start."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))


def _run(arguments: list[str]) -> int:
    """Run a file or a module as Python does, and return its status."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    module = arguments[0] == "-m"
    sys.argv = arguments[module:]
    sys.path[:0] = [str(Path.cwd() if module else Path(sys.argv[0]).resolve().parent), *paths]
    try:
        if module:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end_with(client: socket.socket) -> None:
    """End when the client does."""
    from multiprocessing import active_children

    if client.recv(1) == b"":
        for child in active_children():
            child.kill()
        os._exit(1)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
