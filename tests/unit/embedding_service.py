"""An OpenAI-compatible service for tests, on loopback: right answers, and any fault that a test asks for."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from conceptbridge.embed.backends.random import RandomVectors
from conceptbridge.embed.compute import encode_all

WIDTH = 8


def vectors_of(texts: Sequence[str]) -> Any:
    """What the service answers for ``texts``."""
    return encode_all(RandomVectors(WIDTH), list(dict.fromkeys(texts)))


class Service(ThreadingHTTPServer):
    """``faults`` are used up one a request, first to last; then every answer is right. Texts answered are paid for."""

    daemon_threads = True

    def __init__(self, faults: Sequence[str] = (), largest: int = 10_000) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = list(faults)
        self.largest = largest
        #: text -> what is answered in place of its vector
        self.odd: dict[str, Any] = {}
        self.lock = threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.paid: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(asked)
            self.server.times.append(time.monotonic())
            self.server.headers.append(dict(self.headers))
            self.server.paths.append(self.path)
            fault = self.server.faults.pop(0) if self.server.faults else ""
        texts = asked["input"]
        if len(texts) > self.server.largest:
            self.answer(413, b"{}")
        elif fault.isdigit() or fault.startswith("429"):
            after = {"Retry-After": fault.split()[1]} if " " in fault else {}
            self.answer(int(fault[:3]), b'{"error": {"message": "no", "code": "of_a_test"}}', **after)
        elif fault == "quota":
            self.answer(429, b'{"error": {"message": "pay", "code": "insufficient_quota"}}')
        elif fault == "hang":
            time.sleep(12)
            self.close_connection = True
        elif fault == "garbage":
            self.answer(200, b"<html>maintenance</html>")
        elif fault == "too few":
            self.answer(200, self.body(texts[:-1]))
        elif fault == "half":
            body = self.body(texts)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            assert fault == "", fault
            with self.server.lock:
                self.server.paid.update(texts)
            self.answer(200, self.body(texts))

    def body(self, texts: list[str]) -> bytes:
        data = [
            {"object": "embedding", "index": i, "embedding": vector.tolist()}
            for i, vector in enumerate(vectors_of(texts))
        ]
        for one, text in zip(data, texts, strict=True):
            if text in self.server.odd:
                one["embedding"] = self.server.odd[text]
        data.reverse()  # the index says which is which
        return json.dumps({"data": data, "usage": {"total_tokens": len(texts)}}).encode()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""


@contextmanager
def service(*faults: str, largest: int = 10_000) -> Iterator[Service]:
    """A running service, ended with the block."""
    running = Service(faults, largest)
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()


def same(found: Any, texts: Sequence[str]) -> bool:
    """Whether ``found`` are the service's vectors of ``texts``."""
    return bool(np.allclose(found, vectors_of(texts), atol=1e-6))
