"""Federated training over Flower: the same weights as in one process, and one round once more through SecAgg+.

    pip install flwr==1.42.0
    python benchmarks/flower/run.py

Three made-up hospitals and a coordinator, each with Flower's processes and its own, on this machine: a SuperLink with
TLS, and three SuperNodes, each with a key that the SuperLink knows. They train a `cnn` in 5 rounds with the messages
that `conceptbridge lead` and `join` send over NVIDIA FLARE. Printed: whether the weights are those of one process, to
the byte; seconds of an empty question and of a round; the error of SecAgg+ against the plain average of the same
weights, and its seconds; and the memory of the processes that stay. Nothing is reported to Flower's makers.
"""

import argparse
import datetime
import ipaddress
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Listener
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/unit"))

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conceptbridge.exchange.network.hospital import Engagement, Hospital
from conceptbridge.exchange.receive.bundles import receive
from conceptbridge.learn.arm_job import ArmEmbedding, ArmJob, Budget
from conceptbridge.learn.run_arm import read_site_of
from made_arms import train_federated
from made_network import NAMES, about_of, write_hospital
from made_site import WIDTH

HERE = Path(__file__).resolve().parent
VECTORS = ArmEmbedding("made", "f" * 64, "sentence-transformers", "made-ffffffffffff", "made-ffffffffffff")
CNN = {"filters": 64, "dropout": 0.5, "batch": 16, "weight_decay": 0.001, "momentum": 0.9}
CNN |= {"steps": 4, "learning_rate": 0.05, "proximal": 0.0}
#: the most training rows of a hospital
MOST_ROWS = 300
#: no reports to Flower's makers, and no packages or updates from elsewhere
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


def answer(engagement: Path, place: str) -> None:
    """A hospital's own process: it has read its rows, and answers at a socket of this machine."""
    hospital = Hospital(Engagement.read(engagement))
    with Listener(place, "AF_UNIX") as listener:
        while True:
            with listener.accept() as asked:
                asked.send_bytes(hospital.answer(asked.recv_bytes()))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def private(key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def write_certificates(folder: Path) -> None:
    """A certificate of the network's own root for the SuperLink, and a key pair per hospital."""
    keys = {name: ec.generate_private_key(ec.SECP384R1()) for name in ("root", "server", *NAMES)}
    names = {name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("root", "server")}
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    for name in ("root", "server"):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["root"])
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "root", path_length=None), critical=True)
            .add_extension(address, critical=False)
            .sign(keys["root"], hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(private(keys["server"], serialization.PrivateFormat.PKCS8))
    for name in NAMES:
        (folder / name).write_bytes(private(keys[name], serialization.PrivateFormat.OpenSSH))
        public = keys[name].public_key()
        told = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        (folder / f"{name}.pub").write_bytes(told)


class Processes:
    """What runs until the end of the block, each with a file of what it prints."""

    def __init__(self, folder: Path, environment: dict[str, str], stack: ExitStack) -> None:
        self.folder, self.environment, self.stack = folder, environment, stack

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        output = self.stack.enter_context((self.folder / f"{name}.txt").open("wb"))
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=self.environment)
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)
        return process

    def run(self, *command: str) -> None:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def peak_mb(process: subprocess.Popen[bytes]) -> int:
    """The most memory that a process has had."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def wait_for(there: Callable[[], bool], of: subprocess.Popen[bytes], told: Path) -> None:
    while not there():
        if of.poll() is not None:
            sys.exit(f"a process has ended; it printed:\n{told.read_text()[-6000:]}")
        time.sleep(0.2)


def is_open(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def main(folder: Path, rounds: int, limit: float) -> None:
    budget = Budget(
        CNN | {"rounds": rounds}, {}, 4, 2, min_events=5, min_rows=1, min_cell_count=10, scale=True, components=4
    )
    job = ArmJob("influenza", None, NAMES, "federated", "cnn", VECTORS, budget)
    task, told, out = folder / "task.json", folder / "told.json", folder / "model.zip"
    about = about_of(job)
    asked = {"hospitals": list(NAMES), "job": json.loads(job.to_json()), "about": about, "out": str(out)}
    task.write_text(json.dumps(asked | {"told": str(told), "max_weight": MOST_ROWS}))
    write_certificates(folder)
    app = folder / "app"
    app.mkdir()
    for file in ("app.py", "pyproject.toml"):
        shutil.copy(HERE / file, app)
    port = free_port()
    home = folder / "flwr"
    home.mkdir()
    connection = f'address = "127.0.0.1:{port}"\nroot-certificates = "{folder / "root.pem"}"\n'
    (home / "config.toml").write_text(f'[superlink]\ndefault = "here"\n\n[superlink.here]\n{connection}')
    environment = os.environ | QUIET | {"FLWR_HOME": str(home)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with ExitStack() as stack:
        processes = Processes(folder, environment, stack)
        tls = ["--ssl-certfile", folder / "server.pem", "--ssl-keyfile", folder / "server.key"]
        tls += ["--ssl-ca-certfile", folder / "root.pem", "--host", "127.0.0.1", "--port", port]
        link = processes.start("superlink", "flower-superlink", *map(str, tls), "--enable-supernode-auth")
        wait_for(partial(is_open, port), link, folder / "superlink.txt")
        homes, nodes = {}, {}
        for name in NAMES:
            engagement, place = write_hospital(folder / f"at-{name}", name, job), folder / f"{name}.socket"
            engagement.write(folder / f"{name}.json")
            own = [sys.executable, __file__, "--hospital", str(folder / f"{name}.json"), str(place)]
            homes[name] = processes.start(f"hospital-{name}", *own)
        for name, process in homes.items():
            wait_for((folder / f"{name}.socket").exists, process, folder / f"hospital-{name}.txt")
            processes.run("flwr", "supernode", "register", str(folder / f"{name}.pub"), "here")
            where = f'site="{name}" socket="{folder / f"{name}.socket"}"'
            node = [
                "--superlink",
                f"127.0.0.1:{port}",
                "--root-certificates",
                folder / "root.pem",
                "--port",
                free_port(),
            ]
            node += ["--auth-supernode-private-key", folder / name, "--node-config", where]
            nodes[name] = processes.start(f"supernode-{name}", "flower-supernode", *map(str, node))
        began = time.monotonic()
        processes.run("flwr", "run", str(app), "here", "--run-config", f'task="{task}"')
        wait_for(lambda: told.is_file() or time.monotonic() - began > limit, link, folder / "superlink.txt")
        if not told.is_file():
            printed = (folder / "superlink.txt").read_text()[-6000:]
            sys.exit(f"the run has not ended after {limit:g} s; the SuperLink printed:\n{printed}")
        wall = time.monotonic() - began
        memory = max(map(peak_mb, homes.values())), max(map(peak_mb, nodes.values())), peak_mb(link)
    expected = {key: value for key, value in about.items() if key != "min_cell_count"}
    receive(out, expected, WIDTH, folder / "received")
    sites = [read_site_of(job, folder / f"at-{name}" / "results", name) for name in NAMES]
    train_federated(job, sites, folder / "here")
    same = bytes_of(folder / "received/models") == bytes_of(folder / "here/models")
    measured = json.loads(told.read_text())
    of_rounds = [seconds for when, seconds in measured["questions_s"] if when.startswith("in round")]
    print(f"weights after {rounds} rounds, over Flower and in one process: {'the same bytes' if same else 'DIFFERENT'}")
    print(f"an empty question to all: {measured['hello_s']:.1f} s; a round: {statistics.median(of_rounds):.1f} s")
    print(f"the whole run: {wall:.0f} s; a question and an answer of a round: {measured['message_bytes']} bytes")
    print(f"SecAgg+, {measured['weights']} weights: {measured['secure_sum_s']:.1f} s")
    print(f"largest error against the plain average: {measured['secure_sum_error']:.1e}")
    print(f"largest weight: {measured['largest_weight']:.2f}")
    print(f"memory, most of a hospital's own process, of a SuperNode, of the SuperLink: {memory} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=900.0, metavar="S", help="seconds after which to give up")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder for all that is written")
    parser.add_argument("--hospital", nargs=2, metavar=("ENGAGEMENT", "SOCKET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hospital:
        answer(Path(arguments.hospital[0]), arguments.hospital[1])
    elif arguments.keep:
        arguments.keep.mkdir()
        main(arguments.keep.resolve(), arguments.rounds, arguments.limit)
    else:
        with TemporaryDirectory() as temporary:
            main(Path(temporary), arguments.rounds, arguments.limit)
