"""Encoders of any make: random weights are refused, batches change nothing, and what the model asks for is done."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from transformers import AutoModel, AutoTokenizer

from conceptbridge.core.errors import StudyError
from conceptbridge.embed import models
from conceptbridge.embed.compute import encode_all, load_encoder
from test_embed_models import close, spec
from tiny_model import ARCHITECTURES, TEXTS, save_model

Tensors = dict[str, torch.Tensor]


def cosines(found: Any, expected: Any) -> Any:
    return (found * expected).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)


def alone(folder: Path, texts: list[str], pooling: str) -> Any:
    """The vectors by transformers alone, one text at a time; of an encoder and decoder, the encoder's."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    vectors = []
    for text in texts:
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        vectors.append({"cls": states[0], "mean": states.mean(0), "last-token": states[-1]}[pooling].numpy())
    return np.stack(vectors)


@pytest.mark.parametrize("special", [True, False], ids=["special tokens", "no padding token"])
@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_text_has_the_vector_that_it_has_alone(tmp_path: Path, kind: str, padding: str, special: bool) -> None:
    folder = save_model(tmp_path, kind, padding, special=special)
    for pooling in ("mean", "last-token"):
        encoder = load_encoder(spec(folder, pooling=pooling))
        expected = alone(folder, TEXTS, pooling)
        assert cosines(encode_all(encoder, TEXTS), expected).min() >= 0.999999
        one_by_one = np.concatenate([encode_all(encoder, [text]) for text in TEXTS])
        assert cosines(one_by_one, expected).min() >= 0.999999


def test_where_padding_changes_a_vector_none_is_padded(tmp_path: Path) -> None:
    """GPT-2 counts the positions of padding on the left."""
    batches: list[np.ndarray] = []
    for kind, padded in (("gpt2", False), ("qwen2", True)):
        encoder = load_encoder(spec(save_model(tmp_path / kind, kind, "left")))
        assert isinstance(encoder, models.LocalModel)
        assert encoder.padded is padded
        batches = [np.asarray(batch) for batch in encoder._batches(np.array([3, 5, 3, 4, 5]))]
        assert len(batches) == (1 if padded else 3)


class OfTheBatch(torch.nn.Module):
    """A layer whose output depends on the other texts of a batch."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden - hidden.mean(dim=0, keepdim=True) / 2


def test_a_vector_that_depends_on_the_texts_beside_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_model(tmp_path)
    monkeypatch.setattr(models, "pool", lambda hidden, mask, pooling: OfTheBatch()(hidden.mean(dim=1)))
    with pytest.raises(StudyError, match="a vector that depends on the texts beside it; take another model"):
        load_encoder(spec(folder))


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda weights: {name: tensor for name, tensor in weights.items() if part not in name}


CHANGES: dict[str, tuple[str, Callable[[Tensors], Tensors], str]] = {
    "whole": ("bert", lambda weights: weights, ""),
    "no pooler": ("bert", without("pooler"), ""),
    "a head that is not used": ("bert", lambda weights: weights | {"cls.predictions.bias": torch.ones(4)}, ""),
    "another prefix": ("bert", lambda weights: {"q." + key: value for key, value in weights.items()}, "lack 39 of"),
    "a layer missing": ("bert", without("layer.1."), r"lack 16 of .*layer\.1\."),
    "one bias missing": ("bert", without("layer.1.output.dense.bias"), r"lack 1 of .*\(encoder.layer.1.output.dense.b"),
    "a norm missing": ("bert", without("embeddings.LayerNorm"), "lack 2 of"),
    "no words": ("roberta", without("word_embeddings"), r"lack 1 of .*word_embeddings\.weight"),
    "no positions": ("gpt2", without("wpe"), r"lack 1 of .*\(wpe\.weight\)"),
    "no last norm": ("qwen2", lambda weights: {k: v for k, v in weights.items() if k != "norm.weight"}, "lack 1 of"),
    "no decoder": ("t5", without("decoder"), ""),
    "no encoder": ("t5", without("encoder.block.1"), "lack 8 of"),
    "more layers than its config says": (
        "bert",
        lambda weights: weights | {k.replace("layer.1.", "layer.2."): v.clone() for k, v in weights.items()},
        r"config.json leaves out \(encoder\.layer\.2\.",
    ),
    "an adapter beside it": (
        "bert",
        lambda weights: weights | {"encoder.layer.0.attention.self.query.lora_A.weight": torch.ones(2, 32)},
        "with adapters merged in",
    ),
    "another width": (
        "bert",
        lambda weights: {k: v[..., :16].contiguous() if v.ndim else v for k, v in weights.items()},
        "cannot be loaded",
    ),
}


@pytest.mark.parametrize("how", ["pooled", "own modules"])
@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_do_not_fit_are_refused_and_harmless_ones_pass(tmp_path: Path, change: str, how: str) -> None:
    kind, changed, refused = CHANGES[change]
    folder = save_model(tmp_path, kind)
    entry = spec(folder)
    if how == "own modules":
        shutil.copytree(folder, tmp_path / "plain")
        SentenceTransformer(modules=[Transformer(str(tmp_path / "plain")), Pooling(32, "mean")]).save(str(folder))
        entry = {"backend": "sentence-transformers", "model": str(folder), "dtype": "float32", "width": 32}
        if kind == "t5" and change == "no decoder":
            pytest.skip("the library saves the encoder alone")
    before = None if refused else encode_all(load_encoder(entry), TEXTS)
    save_file(changed(load_file(folder / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})
    if refused:
        with pytest.raises(StudyError, match=refused) as told:
            load_encoder(entry)
        assert "\n" not in str(told.value)
    else:
        assert np.array_equal(encode_all(load_encoder(entry), TEXTS), before)


def test_what_a_layer_below_does_not_need_may_be_missing(tmp_path: Path) -> None:
    folder = save_model(tmp_path)
    before = encode_all(load_encoder(spec(folder, layer=1)), TEXTS)
    weights = without("layer.1.")(load_file(folder / "model.safetensors"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert np.array_equal(encode_all(load_encoder(spec(folder, layer=1)), TEXTS), before)


def sentences(folder: Path, *modules: Any, encoder: dict[str, Any] | None = None, **asked: Any) -> Path:
    """A model of sentence-transformers in ``folder``; ``encoder``: of its tokenizer, ``asked``: of the model."""
    base = save_model(folder / "base", **(encoder or {}))
    torch.manual_seed(1)
    model = SentenceTransformer(modules=[Transformer(str(base)), *(modules or [Pooling(32, "mean")])], **asked)
    model.save(str(folder / "model"))
    return folder / "model"


def own(folder: Path, **more: Any) -> dict[str, Any]:
    return {"backend": "sentence-transformers", "model": str(folder), "dtype": "float32", "width": 32, **more}


ASKED: dict[str, dict[str, Any]] = {
    "default prompt": {"prompts": {"document": "not the ", "query": "of "}, "default_prompt_name": "document"},
    "prompts, none by default": {"prompts": {"document": "not the ", "query": "of "}},
    "an empty prompt by default": {"prompts": {"document": ""}, "default_prompt_name": "document"},
}


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("asked", ASKED)
def test_a_model_gets_the_prompt_that_it_asks_for_by_default(tmp_path: Path, asked: str, pooled: bool) -> None:
    folder = sentences(tmp_path, **ASKED[asked])
    theirs = SentenceTransformer(str(folder))
    entry = own(folder, **({"pooling": "mean", "max_length": 64, "normalize": False} if pooled else {}))
    assert close(encode_all(load_encoder(entry), TEXTS), theirs.encode(TEXTS))
    # the entry's word counts, an empty one too
    for prompt in ("acute ", ""):
        assert close(encode_all(load_encoder(entry | {"prompt": prompt}), TEXTS), theirs.encode(TEXTS, prompt=prompt))


@pytest.mark.parametrize("special", [True, False])
def test_a_prompt_that_pooling_leaves_out_is_measured_with_or_without_special_tokens(
    tmp_path: Path, special: bool
) -> None:
    pooling = Pooling(32, "mean", include_prompt=False)
    more = {} if special else {"pad_token": "[PAD]"}
    folder = sentences(
        tmp_path,
        pooling,
        encoder={"special": special, **more},
        prompts={"document": "not the left "},
        default_prompt_name="document",
    )
    assert close(encode_all(load_encoder(own(folder)), TEXTS), SentenceTransformer(str(folder)).encode(TEXTS))


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_are_cut_at_the_side_and_length_that_the_model_says(tmp_path: Path, side: str, pooled: bool) -> None:
    folder = sentences(tmp_path, encoder={"truncation_side": side, "model_max_length": 8})
    theirs = SentenceTransformer(str(folder))
    entry = own(folder, **({"pooling": "mean", "max_length": 64, "normalize": False} if pooled else {}))
    assert close(encode_all(load_encoder(entry), TEXTS), theirs.encode(TEXTS))


@pytest.mark.parametrize("pooled", [False, True])
def test_texts_are_lowered_where_the_model_says_so(tmp_path: Path, pooled: bool) -> None:
    folder = sentences(tmp_path)
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": True}))
    entry = own(folder, **({"pooling": "mean", "max_length": 64, "normalize": False} if pooled else {}))
    upper = [text.upper() for text in TEXTS]
    assert close(encode_all(load_encoder(entry), upper), encode_all(load_encoder(entry), TEXTS))
    assert close(encode_all(load_encoder(entry), upper), SentenceTransformer(str(folder)).encode(upper))


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "mpnet", "bert", "gpt2", "opt", "distilbert"])
def test_a_text_longer_than_the_positions_is_cut_where_they_end(tmp_path: Path, kind: str) -> None:
    """RoBERTa counts positions from behind the padding's, token 0 here: of 64 it has 63 to give; MPNet's is token 1."""
    folder = save_model(tmp_path, kind, model_max_length=10**30)
    texts = [" ".join(["cough fever lung"] * 40), "cough"]
    encoder = load_encoder(spec(folder, max_length=512))
    assert isinstance(encoder, models.LocalModel)
    assert encoder.max_length == {"roberta": 63, "xlm-roberta": 63, "mpnet": 62}.get(kind, 64)
    assert np.isfinite(encode_all(encoder, texts)).all()


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_with_a_decoder_runs_its_encoder_or_is_refused(tmp_path: Path, kind: str) -> None:
    folder = sentences(tmp_path, encoder={"kind": kind})
    if kind == "t5":
        assert close(encode_all(load_encoder(own(folder)), TEXTS), alone(tmp_path / "base", TEXTS, "mean"))
    else:
        with pytest.raises(StudyError, match="its modules run the decoder; `pooling` in its entry makes the encoder"):
            load_encoder(own(folder))


def test_a_folder_without_modules_has_no_pooling_made_up(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"it has no modules.json.*say `pooling`"):
        load_encoder(own(save_model(tmp_path)))


def test_a_model_that_reads_no_text_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
        raise KeyError("pixels")

    monkeypatch.setattr(models, "pool", broken)
    with pytest.raises(StudyError, match="makes no vectors from texts: KeyError: 'pixels'"):
        load_encoder(spec(save_model(tmp_path)))


def test_a_text_without_a_token_is_zero_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = load_encoder(spec(save_model(tmp_path, special=False)))
    vectors = encode_all(encoder, ["cough", " ", "acute pain"])
    assert vectors.any(axis=1).tolist() == [True, False, True]
    assert "1 texts have no token that the model knows" in caplog.text


def test_weights_of_every_module_are_pinned(tmp_path: Path) -> None:
    from conceptbridge.study.model_card import weight_files, weights_digest

    folder = sentences(tmp_path, Pooling(32, "mean"), Dense(32, 16), Normalize())
    pinned = own(folder, width=16, weights_sha256=weights_digest(weight_files(folder)))
    load_encoder(pinned)
    dense = folder / "2_Dense" / "model.safetensors"
    save_file({key: tensor * 2 for key, tensor in load_file(dense).items()}, dense, metadata={"format": "pt"})
    with pytest.raises(StudyError, match="its SHA-256 is"):
        load_encoder(pinned)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["pneumonia"])
    tokenizer.save_pretrained(folder)
    encoder = load_encoder(spec(folder))
    with pytest.raises(StudyError, match=r"makes the token 77, and its model knows 77 tokens: they do not belong"):
        encode_all(encoder, ["cough", "pneumonia"])
