"""A `python` that forks from a process which has imported what jobs import: their start is most of what they take.

The study `done` starts Python for every job, as users do, and its logs are looked at; the other studies are made with
this one. The environment is the tests' own, and what a job imports of conceptbridge it finds by itself.
"""

import atexit
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

#: imported once; threads that a library starts are not forked with it, so none is here that starts some by itself
IMPORTED = (
    "duckdb", "jsonschema", "lightgbm", "matplotlib.backends.backend_agg", "numba", "pandas", "pyarrow.compute",
    "pyarrow.dataset", "pyarrow.parquet", "requests", "scipy.linalg", "scipy.optimize", "scipy.sparse.linalg",
    "scipy.special", "snakemake.cli", "yaml",
)  # fmt: skip

#: `python FILE ...` and `python -m MODULE ...`: what it is told goes to the server with its input and output, and its
#: status comes back
CLIENT = """#!{python} -ISE
import json, os, socket, sys
if len(sys.argv) < 2 or (sys.argv[1].startswith("-") and sys.argv[1] != "-m"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    told = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(told).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(told)
    status = server.recv(1)
sys.exit(status[0] if status else 1)
"""


@cache
def python() -> str:
    """The `python` of this process; its server ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="py"))  # short: an address has at most 107 characters
    (folder / "bin").mkdir()
    for name in ("lib", "pyvenv.cfg"):
        (folder / name).symlink_to(Path(sys.prefix) / name)
    real = folder / "bin/python3"
    real.symlink_to(Path(sys.executable).resolve())
    client, address = folder / "bin/python", str(folder / "socket")
    client.write_text(CLIENT.format(python=str(real), address=address), encoding="utf-8")
    client.chmod(0o755)
    # it ends when this process does, however that ends: it holds the other end of its input
    server = subprocess.Popen([real, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.kill)
    return str(client)


def serve(address: str) -> None:
    """Fork for every client."""
    for name in IMPORTED:
        __import__(name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(100)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a job here
        print("ready", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:  # until who started it has ended
            client, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                answer(client)
            client.close()


def answer(client: socket.socket) -> None:
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
    threading.Thread(target=end_with, args=[client], daemon=True).start()
    status = 1
    try:
        status = run(arguments)
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(bytes([status & 255]))
        os._exit(status & 255)


def run(arguments: list[str]) -> int:
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
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end_with(client: socket.socket) -> None:
    """End when the client does."""
    if client.recv(1) == b"":
        os._exit(1)


if __name__ == "__main__":
    # the paths of tests are no job's
    sys.path.remove(str(Path(__file__).parent))
    serve(sys.argv[1])
