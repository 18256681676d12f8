"""Requests to a service that speaks OpenAI's ``/v1/embeddings``."""

import logging
import os
import random
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.vectors import Matrix, UnusableVectorsError

logger = logging.getLogger(__name__)

#: bytes per token, on the low side: English clinical terms have four to five
BYTES_PER_TOKEN = 3.5
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 529)
#: the longest that a server may ask to wait, seconds
LONGEST_WAIT = 600


@dataclass(frozen=True)
class Estimate:
    """What embedding some texts takes: tokens and dollars are estimates, dollars None where the price is not known."""

    texts: int
    tokens: int
    requests: int
    dollars: float | None

    def __str__(self) -> str:
        cost = "price not known" if self.dollars is None else f"about {self.dollars:.4f} USD"
        return f"{self.texts} texts, about {self.tokens} tokens, {self.requests} requests, {cost}"


class _Passing(Exception):
    """A fault that may pass; ``after``: seconds that the server asks to wait."""

    def __init__(self, what: str, after: float | None = None) -> None:
        super().__init__(what)
        self.after = after


class _TooLarge(Exception):
    """The server takes smaller requests only."""


class Remote:
    """A service elsewhere, or a server on this machine. All that it answered is yielded before anything is raised.

    The key is read from the environment variable that the entry names, sent in a header, and told to nobody else.
    Raises StudyError when that variable is not set.
    """

    attempts = 7
    first_wait = 1.0

    def __init__(self, spec: Mapping[str, Any]) -> None:
        address = urlsplit(spec["url"])
        path = address.path.rstrip("/")
        # the query stays behind the path: Azure's `?api-version=`
        self.url: str = address._replace(path=path.removesuffix("/embeddings") + "/embeddings").geturl()
        azure = (address.hostname or "").endswith(".azure.com")
        self.key_header: str = spec.get("key_header", "api-key" if azure else "Authorization")
        self.spec = spec
        self.prompt: str = spec.get("prompt", "")
        self.timeout: float = spec.get("timeout", 120)
        self.tokens_used = 0
        self._stop = threading.Event()
        variable = spec.get("key_env")
        self._key = os.environ.get(variable, "").strip() if variable else ""
        if variable and not self._key:
            raise StudyError(
                f"{spec['model']} at {self.url} needs a key: set the environment variable {variable} (it is written "
                "nowhere else)"
            )
        if not (self._key.isascii() and self._key.isprintable()):
            raise StudyError(f"the key in the environment variable {variable} has characters that no key has")

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[list[str], Matrix]]:
        """Yield the texts of each answered request with their vectors, as the answers come in.

        Raises StudyError, in one line, once a request has failed for good; those under way are yielded before.
        """
        logger.info("%s: %s", self.spec["model"], estimate(self.spec, texts))
        waiting = deque(_batches(self.spec, texts))
        concurrency = self.spec.get("concurrency", 4)
        self._stop.clear()
        failure: StudyError | None = None
        unusable: dict[str, bool] = {}  # whether its vector is all zeros
        under_way: dict[Future[Matrix], list[str]] = {}
        with ThreadPoolExecutor(concurrency) as pool:
            try:
                while True:
                    while failure is None and waiting and len(under_way) < concurrency:
                        batch = waiting.popleft()
                        under_way[pool.submit(self._answered, batch)] = batch
                    if not under_way:
                        break
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        batch = under_way.pop(future)
                        try:
                            vectors = future.result()
                            finite = np.asarray(np.isfinite(vectors).all(axis=1))
                            usable = np.asarray(finite & vectors.any(axis=1))
                            unusable |= {batch[i]: bool(finite[i]) for i in np.flatnonzero(~usable)}
                            if usable.any():
                                yield [batch[i] for i in np.flatnonzero(usable)], vectors[usable]
                        except _TooLarge as error:
                            if len(batch) == 1:
                                failure = failure or StudyError(f"{self.url}: {error}, even for a single text")
                            half = len(batch) // 2
                            waiting.extendleft((batch[half:], batch[:half]))
                        except StudyError as error:
                            failure = failure or error
                            self._stop.set()  # ends the pauses of the others, not their requests
            finally:
                self._stop.set()
        logger.info("%s: the server counted %d tokens", self.spec["model"], self.tokens_used)
        if failure is not None:
            raise failure
        if unusable:
            zeros = sum(unusable.values())
            found = [f"NaN or infinity for {len(unusable) - zeros}"] * (zeros < len(unusable))
            found += [f"zeros only for {zeros}"] * (zeros > 0)
            raise UnusableVectorsError(
                f"{self.url}: the model {self.spec['model']} answered {' and '.join(found)} of {len(texts)} texts; the "
                "other vectors are kept. Run again; if it stays, look at the server's log, or take another model",
                list(unusable),
            )

    def _answered(self, texts: list[str]) -> Matrix:
        for attempt in range(1, self.attempts + 1):
            try:
                return self._ask(texts)
            except _Passing as fault:
                backoff = self.first_wait * 2 ** (attempt - 1) * random.uniform(1, 1.25)
                pause = backoff if fault.after is None else fault.after
                if attempt == self.attempts or pause > LONGEST_WAIT or self._stop.is_set():
                    asked = f"; it asks to wait {pause:.0f} s" if pause > LONGEST_WAIT else ""
                    raise StudyError(
                        f"{self.url}: {fault} ({attempt} attempts{asked}); what was answered is kept, run again later"
                    ) from fault
                logger.info("%s: %s; next attempt in %.1f s", self.url, fault, pause)
                self._stop.wait(pause)
        raise AssertionError("the last attempt returns or raises")

    def _ask(self, texts: list[str]) -> Matrix:
        asked: dict[str, Any] = {"model": self.spec["model"], "input": [self.prompt + text for text in texts]}
        asked["encoding_format"] = "float"
        if "dimensions" in self.spec:
            asked["dimensions"] = self.spec["dimensions"]
        try:
            answer = requests.post(
                self.url, json=asked, headers=self._headers(), timeout=(10, self.timeout), allow_redirects=False
            )
        except requests.exceptions.InvalidURL as error:
            raise StudyError(f"{self.url}: no valid address") from error
        except requests.exceptions.Timeout as error:
            raise _Passing(f"no answer within {self.timeout:.0f} s") from error
        except requests.exceptions.RequestException as error:
            raise _Passing(f"the connection failed ({type(error).__name__})") from error
        if answer.status_code != 200:
            self._refused(answer)
        try:
            body = answer.json()
            # a server that gives no index answers in order
            rows = {item.get("index", at): item["embedding"] for at, item in enumerate(body["data"])}
            with np.errstate(over="ignore"):  # too large a number is infinity, and told as such
                vectors = np.array([rows[at] for at in range(len(texts))], np.float32)
            if len(body["data"]) != len(texts) or vectors.ndim != 2:
                raise ValueError
            used = int((body.get("usage") or {}).get("total_tokens") or 0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _Passing(f"the answer is no embeddings of {len(texts)} texts") from error
        width = self.spec["width"]
        if vectors.shape[1] != width:
            raise StudyError(f"{self.url}: vectors of width {vectors.shape[1]}; the catalogue says {width}")
        self.tokens_used += used
        if self.spec.get("normalize"):
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            np.divide(vectors, norms, out=vectors, where=np.isfinite(norms) & (norms > 0))
        return vectors

    def _refused(self, answer: requests.Response) -> None:
        """Raise what a status other than 200 means. The server's words are not repeated: they may quote key or text."""
        status = answer.status_code
        try:
            code = str(answer.json()["error"].get("code") or answer.json()["error"].get("type") or "")
        except (ValueError, KeyError, TypeError, AttributeError):
            code = ""
        # a code is a short word such as insufficient_quota
        told = f" {code}" if code.replace("_", "").isalnum() and len(code) < 60 and code != self._key else ""
        what = f"status {status}{told}"
        if status == 413:
            raise _TooLarge(what)
        if status in RETRIED and code != "insufficient_quota":
            raise _Passing(what, _retry_after(answer.headers.get("Retry-After")))
        hint = f"; check the key in {self.spec.get('key_env', 'key_env')}" if status in (401, 403) else ""
        raise StudyError(f"{self.url}: {what} for the model {self.spec['model']}{hint}")

    def _headers(self) -> dict[str, str]:
        if not self._key:
            return {}
        return {self.key_header: f"Bearer {self._key}" if self.key_header == "Authorization" else self._key}


def estimate(spec: Mapping[str, Any], texts: Sequence[str]) -> Estimate:
    """What embedding ``texts`` takes; no call is made, and no key is needed."""
    tokens = sum(_tokens(spec, text) for text in texts)
    price = spec.get("price")
    return Estimate(len(texts), tokens, len(_batches(spec, texts)), None if price is None else tokens * price / 1e6)


def _batches(spec: Mapping[str, Any], texts: Sequence[str]) -> list[list[str]]:
    """Texts of requests within the entry's ``request_tokens`` and ``request_texts``."""
    most_tokens, most_texts = spec.get("request_tokens", 20_000), spec.get("request_texts", 512)
    batches: list[list[str]] = []
    room = 0
    for text in texts:
        tokens = _tokens(spec, text)
        if tokens > room or len(batches[-1]) == most_texts:
            batches.append([])
            room = max(most_tokens, tokens)
        batches[-1].append(text)
        room -= tokens
    return batches


def _tokens(spec: Mapping[str, Any], text: str) -> int:
    # in bytes: a letter of a script that is not Latin is about a token
    return 1 + int(len((spec.get("prompt", "") + text).encode()) / BYTES_PER_TOKEN)


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
