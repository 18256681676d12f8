"""The cache: every text computed once, whoever asks; nothing lost by a kill, two runs at once, or a broken disk."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.backends.random import RandomVectors
from conceptbridge.embed.cache import VectorCache
from conceptbridge.embed.compute import compute_texts, dry_run, encode_all, fill
from conceptbridge.embed.quality import Site, measure
from conceptbridge.embed.tables import write_site_table
from conceptbridge.embed.vectors import read_vectors
from conceptbridge.study.embeddings import Embedding, find_embedding
from embedding_service import WIDTH, same, service
from tiny_model import write_vocabulary

TEXTS = sorted(f"finding {i}" for i in range(50))
CATALOGUE = {
    "real": {"backend": "transformers", "model": ".", "weights_sha256": "0" * 64, "width": WIDTH},
    "random": {"backend": "random", "parent": "real"},
}
RANDOM = find_embedding("random", CATALOGUE, "test")
SCRIPT = Path(__file__).parents[2] / "workflow/scripts/compute_texts.py"


def vectors_in(cache: VectorCache, texts: list[str]) -> object:
    places = cache.find(texts)
    return cache.read([places[text] for text in texts])


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), unique=True, min_size=1, max_size=30), st.integers(1, 5))
def test_what_is_added_is_found_whatever_the_text(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], n: int
) -> None:
    cache = VectorCache(tmp_path_factory.mktemp("cache"), "f")
    vectors = np.random.default_rng(0).normal(size=(len(texts), 4)).astype(np.float32)
    for first in range(0, len(texts), n):
        cache.add(texts[first : first + n], vectors[first : first + n])
    assert np.array_equal(vectors_in(cache, texts), vectors)
    assert VectorCache(cache.folder.parent, "another").find(texts) == {}


def test_only_what_is_new_is_computed(tmp_path: Path) -> None:
    north = write_vocabulary(tmp_path / "north.parquet", TEXTS[:30])
    south = write_vocabulary(tmp_path / "south.parquet", TEXTS[20:])
    cache = tmp_path / "cache"
    assert compute_texts(RANDOM, [north], [], tmp_path, cache, False)["computed"] == 30
    assert dry_run(RANDOM, [north, south], [], cache, False) == {
        "embedding": "random",
        "texts": 50,
        "cached": 30,
        "missing": 20,
    }
    assert compute_texts(RANDOM, [north, south], [], tmp_path, cache, False) == {
        "texts": 50,
        "cached": 30,
        "computed": 20,
    }
    write_site_table(south, RANDOM, tmp_path, cache, False, tmp_path / "table.parquet")
    texts, vectors = read_vectors(tmp_path / "table.parquet")
    assert texts == TEXTS[20:]
    assert same(vectors, TEXTS[20:])


def test_a_table_is_the_same_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = write_vocabulary(tmp_path / "site.parquet", TEXTS)
    monkeypatch.setattr(RandomVectors, "part", 7)
    fill(RANDOM, TEXTS, tmp_path / "cache")
    monkeypatch.setattr("conceptbridge.embed.tables.BLOCK", 9)
    write_site_table(site, RANDOM, tmp_path, tmp_path / "cache", False, tmp_path / "table.parquet")
    texts, vectors = read_vectors(tmp_path / "table.parquet")
    assert texts == TEXTS
    assert same(vectors, TEXTS)


@pytest.mark.parametrize("harm", ["a bit turned", "cut short", "emptied"])
def test_a_corrupt_part_is_set_aside_named_and_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    monkeypatch.setattr(RandomVectors, "part", 10)
    fill(RANDOM, TEXTS, tmp_path)
    part = sorted((tmp_path / RANDOM.fingerprint).glob("*.arrow"))[1]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes({"a bit turned": bytes(content), "cut short": bytes(content[:300]), "emptied": b""}[harm])
    assert fill(RANDOM, TEXTS, tmp_path) == {"texts": 50, "cached": 40, "computed": 10}
    assert f"{part} is corrupt: set aside as .corrupt" in caplog.text
    assert part.with_suffix(".corrupt").exists()
    assert same(vectors_in(VectorCache(tmp_path, RANDOM.fingerprint), TEXTS), TEXTS)


def test_vectors_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, "f")
    with pytest.raises(StudyError, match="1 of 2 vectors are not finite; the others are kept"):
        cache.add(["a", "b"], np.array([[1, np.nan], [1, 2]], np.float32))
    assert list(cache.find(["a", "b"])) == ["b"]


def test_a_cache_that_cannot_be_written_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with (
        service() as running,
        pytest.raises(StudyError, match=r"cache of vectors .*cache cannot be written \(Not a dir"),
    ):
        fill(far(running.url), TEXTS, tmp_path / "cache")
    assert not running.requests


def test_a_full_disk_is_told_and_what_is_there_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomVectors, "part", 10)
    write, written = Path.write_bytes, []

    def full(path: Path, content: bytes) -> int:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StudyError, match=r"cannot be written \(No space left on device\).*What it has is kept"):
        fill(RANDOM, TEXTS, tmp_path)
    monkeypatch.undo()
    assert len(list(tmp_path.rglob("*.*"))) == 2
    assert fill(RANDOM, TEXTS, tmp_path)["cached"] == 20


@pytest.mark.parametrize(
    "texts", [[], ["", "\0", " ", "e\u0301", "\u00e9", "\U0001f9e0", "a\nb", "\u202eabc", "x" * 10**5]]
)
def test_a_table_of_no_text_or_of_odd_ones(tmp_path: Path, texts: list[str]) -> None:
    site = write_vocabulary(tmp_path / "site.parquet", texts)
    assert compute_texts(RANDOM, [site], [], tmp_path, tmp_path / "cache", False)["computed"] == len(texts)
    write_site_table(site, RANDOM, tmp_path, tmp_path / "cache", False, tmp_path / "table.parquet")
    found, vectors = read_vectors(tmp_path / "table.parquet")
    assert found == sorted(texts, key=str.encode)
    assert vectors.shape == (len(texts), WIDTH)
    measured = measure(RANDOM, [Site(s, site, tmp_path / "table.parquet") for s in "ab"], [], tmp_path, tmp_path)
    assert measured["texts"] == len(texts)


def test_an_emptied_cache_is_told(tmp_path: Path) -> None:
    site = write_vocabulary(tmp_path / "site.parquet", TEXTS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/table.computed.json").write_text("{}")
    with pytest.raises(StudyError, match=r"random: 50 texts are not in the cache .* start the run again"):
        write_site_table(site, RANDOM, tmp_path, tmp_path / "cache", False, tmp_path / "out/table.parquet")
    # what says that the cache has them is gone: the next run computes them
    assert not (tmp_path / "out/table.computed.json").exists()


def start(running_url: str, tmp_path: Path, name: str) -> "subprocess.Popen[bytes]":
    """A run of its own that embeds ``TEXTS`` with the service into the cache, one request at a time."""
    entry = {
        "backend": "openai",
        "model": "m",
        "url": running_url,
        "width": WIDTH,
        "request_texts": 5,
        "concurrency": 1,
    }
    files = {"vocabulary": tmp_path / "site.parquet", "cache": tmp_path / "cache", "out": tmp_path / f"{name}.json"}
    given = {"catalogue": json.dumps({"far": entry}), "embedding": "far"} | {k: str(v) for k, v in files.items()}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *(f"--{key}={value}" for key, value in given.items())],
        stderr=subprocess.PIPE,
    )


def far(url: str) -> Embedding:
    entry = {"backend": "openai", "model": "m", "url": url, "width": WIDTH}
    return find_embedding("far", {"far": entry}, "test")


def test_two_runs_at_once_lose_nothing(tmp_path: Path) -> None:
    write_vocabulary(tmp_path / "site.parquet", TEXTS)
    with service() as running:
        runs = [start(running.url, tmp_path, name) for name in ("one", "two")]
        for run in runs:
            _, told = run.communicate(timeout=60)
            assert run.returncode == 0, told
        assert set(running.paid) == set(TEXTS)
        assert max(running.paid.values()) <= 2
        cache = VectorCache(tmp_path / "cache", far(running.url).fingerprint)
    assert same(vectors_in(cache, TEXTS), TEXTS)
    assert not list((tmp_path / "cache").rglob("*.corrupt"))


def test_a_kill_loses_at_most_the_request_under_way(tmp_path: Path) -> None:
    write_vocabulary(tmp_path / "site.parquet", TEXTS)
    with service(*[""] * 6, "hang") as running:
        run = start(running.url, tmp_path, "one")
        while len(running.requests) < 7:
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=60)
        assert not (tmp_path / "one.json").exists()
        again = start(running.url, tmp_path, "two")
        _, told = again.communicate(timeout=60)
        assert again.returncode == 0, told
        assert json.loads((tmp_path / "two.json").read_text()) == {"texts": 50, "cached": 30, "computed": 20}
        assert running.paid == dict.fromkeys(TEXTS, 1)


def test_parts_can_be_read_by_others_and_temporaries_are_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fill(RANDOM, TEXTS, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.suffix for path in files] == [".arrow"]
    assert files[0].stat().st_mode & 0o444 == 0o444 & ~os.umask(os.umask(0))
    assert "50 of 50 texts" in caplog.text


def test_the_random_control_is_a_function_of_the_text() -> None:
    backend = RandomVectors(300)
    both = encode_all(backend, ["fever", "cough"])
    assert np.array_equal(encode_all(backend, ["cough"])[0], both[1])
    assert np.linalg.norm(both, axis=1) == pytest.approx([1, 1], abs=0.15)
    assert abs(both[0] @ both[1]) < 0.25
