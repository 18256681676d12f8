"""A service elsewhere: its vectors are kept, its faults survived or told in one line, and no text is paid for twice."""

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.cache import VectorCache
from conceptbridge.embed.compute import compute_texts, dry_run, encode_all, fill
from conceptbridge.embed.remote import Remote, estimate
from conceptbridge.study.embeddings import Embedding, find_embedding
from embedding_service import WIDTH, Service, same, service
from tiny_model import write_vocabulary

TEXTS = [f"finding number {i}" for i in range(60)]
KEY = "sk-a-secret-of-a-test"


def entry(running: Service, **more: Any) -> dict[str, Any]:
    return {"backend": "openai", "model": "m", "url": running.url, "width": WIDTH, "request_texts": 10, **more}


def embedding(running: Service, **more: Any) -> Embedding:
    return find_embedding("far", {"far": entry(running, **more)}, "test")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Remote, "first_wait", 0.01)


def test_vectors_come_back_to_their_texts() -> None:
    with service() as running:
        assert same(encode_all(Remote(entry(running)), TEXTS), TEXTS)
        assert len(running.requests) == 6
        assert {len(asked["input"]) for asked in running.requests} == {10}


def test_a_prompt_and_dimensions_are_sent_and_vectors_scaled() -> None:
    with service() as running:
        found = encode_all(Remote(entry(running, prompt="query: ", dimensions=8, normalize=True)), TEXTS[:3])
        assert running.requests[0]["input"][0] == "query: finding number 0"
        assert running.requests[0]["dimensions"] == 8
        assert (found**2).sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-6)


@pytest.mark.parametrize("fault", ["429", "429 0", "500", "503", "garbage", "too few", "half", "hang"])
def test_a_passing_fault_is_survived_and_nothing_is_paid_for_twice(tmp_path: Path, fault: str) -> None:
    with service(fault, "", fault) as running:
        far = embedding(running, timeout=3 if fault == "hang" else 60)
        assert fill(far, TEXTS, tmp_path)["computed"] == 60
        assert set(running.paid.values()) == {1}
    cache = VectorCache(tmp_path, far.fingerprint)
    places = cache.find(TEXTS)
    assert same(cache.read([places[text] for text in TEXTS]), TEXTS)


ZEROS, NAN, NULLS = [0.0] * WIDTH, [float("nan"), *[1.0] * (WIDTH - 1)], [None] * WIDTH


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ([ZEROS], "zeros only for 1"),
        ([NAN], "NaN or infinity for 1"),
        ([NULLS, ZEROS, [1e39] * WIDTH], "NaN or infinity for 2 and zeros only for 1"),
    ],
)
def test_zeros_and_nan_are_told_as_such_and_the_good_vectors_kept(
    tmp_path: Path, odd: list[Any], message: str, normalize: bool
) -> None:
    with service() as running:
        running.odd = {TEXTS[17 * i]: vector for i, vector in enumerate(odd)}
        far = embedding(running, normalize=normalize)
        with pytest.raises(StudyError, match=rf"the model m answered {message} of 60 texts; the other") as caught:
            fill(far, TEXTS, tmp_path)
        assert "dtype" not in str(caught.value)
        kept = set(VectorCache(tmp_path, far.fingerprint).find(TEXTS))
        assert kept == set(TEXTS) - set(running.odd)
        asked = running.odd
        running.odd = {}
        assert fill(far, TEXTS, tmp_path)["computed"] == len(asked)


def test_texts_without_a_usable_vector_are_named_unless_a_hospital_wrote_them(tmp_path: Path) -> None:
    site = write_vocabulary(tmp_path / "site.parquet", ["cough", "rare", "as told"], concept_id=[1, 2, 2_000_000_001])
    with service() as running:
        running.odd = {"rare": ZEROS, "as told": ZEROS}
        with pytest.raises(StudyError, match=r"^far: .*zeros only for 2 of 3 texts; .* \(such as 'rare'\)$"):
            compute_texts(embedding(running), [site], [], tmp_path, tmp_path / "cache", True)


def test_retry_after_is_honoured() -> None:
    with service("429 1") as running:
        encode_all(Remote(entry(running)), TEXTS[:5])
        assert running.times[1] - running.times[0] >= 1


def test_a_wait_that_is_too_long_is_told_instead() -> None:
    with service("429 86400") as running, pytest.raises(StudyError, match=r"asks to wait 86400 s"):
        start = time.monotonic()
        encode_all(Remote(entry(running)), TEXTS[:5])
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("500", r"status 500 of_a_test \(7 attempts\); what was answered is kept, run again later"),
        ("garbage", r"the answer is no embeddings of 10 texts \(7 attempts\)"),
        ("half", r"the connection failed \(ChunkedEncodingError\) \(7 attempts\)"),
        ("quota", r"status 429 insufficient_quota for the model m$"),
        ("401", r"status 401 of_a_test for the model m; check the key"),
        ("404", r"status 404 of_a_test for the model m$"),
    ],
)
def test_a_fault_that_stays_is_one_line_and_what_was_paid_for_is_kept(tmp_path: Path, fault: str, message: str) -> None:
    with service("", "", *[fault] * 60) as running:
        far = embedding(running, concurrency=2)
        with pytest.raises(StudyError, match=message) as caught:
            fill(far, TEXTS, tmp_path)
        assert "\n" not in str(caught.value)
        answered = set(running.paid)
        assert len(answered) == 20
        assert set(VectorCache(tmp_path, far.fingerprint).find(TEXTS)) == answered
        running.faults.clear()
        assert fill(far, TEXTS, tmp_path) == {"texts": 60, "cached": 20, "computed": 40}
        assert running.paid == dict.fromkeys(TEXTS, 1)


def test_a_server_that_takes_less_gets_less() -> None:
    with service(largest=4) as running:
        assert same(encode_all(Remote(entry(running)), TEXTS), TEXTS)
        assert set(running.paid.values()) == {1}


def test_no_server_is_one_line() -> None:
    with service() as running:
        url = running.url
    with pytest.raises(StudyError, match=r"the connection failed \(ConnectionError\) \(7 attempts\)"):
        encode_all(Remote({"model": "m", "url": url, "width": WIDTH}), TEXTS)


def test_another_width_than_the_catalogue_says_is_refused() -> None:
    with service() as running, pytest.raises(StudyError, match=r"vectors of width 8; the catalogue says 9"):
        encode_all(Remote(entry(running, width=9)), TEXTS)


def test_the_key_comes_from_the_environment_and_goes_into_the_header_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with service("401") as running:
        far = embedding(running, key_env="TEST_KEY")
        with pytest.raises(StudyError, match="set the environment variable TEST_KEY"):
            Remote(far.spec)
        monkeypatch.setenv("TEST_KEY", KEY)
        with pytest.raises(StudyError) as caught:
            fill(far, TEXTS, tmp_path)
        fill(far, TEXTS, tmp_path)
        assert {headers["Authorization"] for headers in running.headers} == {f"Bearer {KEY}"}
    assert KEY not in caplog.text + str(caught.value) + str(running.requests)
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("end", ["", "/", "/embeddings"])
def test_azure_has_its_deployment_version_and_header(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setenv("TEST_KEY", f"{KEY}\n")  # as a file's content has it
    with service() as running:
        here = running.url.removesuffix("/v1")
        url = f"{here}/openai/deployments/small{end}?api-version=2024-10-21"
        far = Remote(entry(running, url=url, key_env="TEST_KEY", key_header="api-key"))
        assert same(encode_all(far, TEXTS[:3]), TEXTS[:3])
        assert running.paths == ["/openai/deployments/small/embeddings?api-version=2024-10-21"]
        assert running.headers[0]["api-key"] == KEY
        assert "Authorization" not in running.headers[0]
    at_azure = entry(running, url="https://r.openai.azure.com/openai/v1", key_env="TEST_KEY")
    assert Remote(at_azure).key_header == "api-key"


def test_a_key_that_is_none_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-\u2026secret")
    with service() as running, pytest.raises(StudyError, match="TEST_KEY has characters that no key has"):
        Remote(entry(running, key_env="TEST_KEY"))


def test_the_cost_is_estimated_without_key_or_call() -> None:
    spec = {"model": "m", "url": "http://127.0.0.1:9", "width": 8, "key_env": "NOT_SET", "price": 0.02}
    expected = estimate(spec, ["x" * 35] * 1000)
    assert (expected.texts, expected.tokens, expected.requests) == (1000, 11_000, 2)
    assert expected.dollars == pytest.approx(11_000 * 0.02 / 1e6)
    assert "about 0.0002 USD" in str(expected)


def test_a_dry_run_tells_what_is_missing_and_calls_nobody(tmp_path: Path) -> None:
    site = write_vocabulary(tmp_path / "site.parquet", TEXTS)
    with service() as running:
        far = embedding(running, price=1.0)
        fill(far, TEXTS[:20], tmp_path)
        asked = len(running.requests)
        told = dry_run(far, [site], [], tmp_path, False)
        assert (told["texts"], told["cached"]) == (60, 20)
        assert told["missing"]["texts"] == 40
        assert told["missing"]["requests"] == 4
        assert told["missing"]["dollars"] == pytest.approx(told["missing"]["tokens"] / 1e6)
        assert len(running.requests) == asked


def test_requests_keep_to_their_tokens() -> None:
    with service() as running:
        long = [f"{'word ' * 100}{i}" for i in range(10)]
        encode_all(Remote(entry(running, request_tokens=300)), long)
        assert [len(asked["input"]) for asked in running.requests] == [2] * 5
