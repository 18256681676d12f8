"""One's own encoder in one line: what its files say is read from them, and what they do not say is asked for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.compute import encode_all, load_encoder
from conceptbridge.study.config import read_study
from conceptbridge.study.model_card import read_card, weight_files, weights_digest
from conceptbridge.study.study import Study
from test_embed_encoders import sentences
from test_embed_models import close
from tiny_model import ARCHITECTURES, TEXTS, save_model

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
Hub = Callable[[Path], None]


def study(*embeddings: Any) -> Study:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    return read_study(config | {"embeddings": ["onehot", *embeddings]})


def test_a_folder_is_enough_for_a_model_of_sentence_transformers(tmp_path: Path) -> None:
    prompts = {"document": "not the ", "query": "of "}
    modules = [Pooling(32, "lasttoken"), Normalize()]
    folder = sentences(tmp_path, *modules, prompts=prompts, default_prompt_name="document")
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n")
    read = study({"mine": str(folder)})
    entry = {
        "backend": "sentence-transformers",
        "weights_sha256": weights_digest(weight_files(folder)),
        "pooling": "last-token",
        "max_length": 64,
        "normalize": True,
        "prompt": "not the ",
        "dtype": "float32",
        "width": 32,
        "licence": "apache-2.0",
    }
    assert read.embeddings["mine"].spec == entry | {"model": str(folder)}
    # the study's provenance has what was read, and no path of this machine
    assert read.told["embeddings"] == ["onehot", {"mine": entry}]
    assert close(
        encode_all(load_encoder(read.embeddings["mine"].spec), TEXTS), SentenceTransformer(str(folder)).encode(TEXTS)
    )


MODULES: dict[str, list[Any]] = {
    "a dense layer": [Pooling(32, "mean"), Dense(32, 16), Normalize()],
    "two poolings": [Pooling(32, ("mean", "cls"))],
    "a weighted mean": [Pooling(32, "weightedmean")],
    "a prompt left out": [Pooling(32, "mean", include_prompt=False)],
}


@pytest.mark.parametrize("what", MODULES)
def test_modules_that_are_more_than_a_pooling_run_by_themselves(tmp_path: Path, what: str) -> None:
    folder = sentences(tmp_path, *MODULES[what], prompts={"x": "not the left "}, default_prompt_name="x")
    mine = study({"mine": str(folder)}).embeddings["mine"].spec
    assert "pooling" not in mine
    vectors = encode_all(load_encoder(mine), TEXTS)
    assert vectors.shape[1] == mine["width"]
    assert close(vectors, SentenceTransformer(str(folder)).encode(TEXTS))


def test_an_old_pooling_file_is_understood(tmp_path: Path) -> None:
    folder = sentences(tmp_path)
    old = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling/config.json").write_text(json.dumps(old))
    assert read_card(folder).pooling == "cls"
    (folder / "1_Pooling/config.json").write_text(json.dumps(old | {"pooling_mode_mean_tokens": True}))
    assert read_card(folder).pooling is None


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_width_and_length_are_those_that_the_model_has(tmp_path: Path, kind: str) -> None:
    folder = save_model(tmp_path, kind, model_max_length=10**30)
    more = {"max_length": 64} if kind == "t5" else {}  # its positions have no end
    mine = study({"mine": {"model": str(folder), "pooling": "mean", **more}}).embeddings["mine"].spec
    encoder: Any = load_encoder(mine)
    assert encoder.max_length <= mine["max_length"]
    assert encoder.max_length == mine["max_length"] or kind == "mpnet"  # padding token 0 is said, and 1 is built in
    assert encode_all(encoder, TEXTS[:2]).shape == (2, mine["width"])


def test_all_that_the_files_do_not_say_is_asked_for_at_once(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "t5", model_max_length=10**30)
    config = json.loads((folder / "config.json").read_text())
    lengths = ("n_positions", "max_position_embeddings")
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if key not in lengths}))
    with pytest.raises(
        StudyError, match=r"^config: embeddings: mine: the files of .* do not say pooling and max_length"
    ):
        study({"mine": str(folder)})
    given = {"model": str(folder), "pooling": "mean", "max_length": 40}
    mine = study({"mine": given}).embeddings["mine"].spec
    assert (mine["pooling"], mine["max_length"], mine["width"]) == ("mean", 40, 32)


def test_all_missing_keys_of_an_entry_are_told_at_once() -> None:
    entry = {"backend": "transformers", "model": "a/b", "dtype": "float32"}
    with pytest.raises(
        StudyError,
        match=r"^config: embeddings: mine: the keys 'pooling', 'max_length', 'normalize', 'width' are missing; `mine",
    ):
        study({"mine": entry})
    entry = {"backend": "sentence-transformers", "model": "a/b", "dtype": "float32", "width": 3, "pooling": "cls"}
    with pytest.raises(StudyError, match=r"mine: the keys 'max_length', 'normalize' are missing"):
        study({"mine": entry})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("minilm", "mine: 'minilm' is neither a folder here nor a model's id at the hub"),
        ("/not/here", "mine: '/not/here' is neither a folder here nor"),
        ("https://x.org/a/b", "neither a folder here nor"),
        ("some/encoder", r"some/encoder is no folder here, and the hub does not give it \(\w+\); check the name"),
        ({"model": 3}, "mine: model: 3 is neither a folder nor"),
        ({"model": "some/encoder", "poolin": "mean"}, "some/encoder is no folder here"),
    ],
)
def test_what_is_no_model_is_told(given: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StudyError, match=message):
        study({"mine": given})


def test_a_name_of_the_catalogue_is_not_another_model(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"sapbert is in the catalogue; give your model './x' another name, or change"):
        study({"sapbert": "./x"})


def test_a_folder_that_holds_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"has no config\.json, so it is no model's"):
        study({"mine": str(tmp_path)})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(StudyError, match="cannot be read"):
        study({"mine": str(tmp_path)})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Puts a folder into the hub's local store as some/encoder, as a download leaves it; no network is needed then."""
    store = tmp_path / "hub" / "models--some--encoder"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(store.parent))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(folder: Path) -> None:
        shutil.copytree(folder, store / "snapshots" / COMMIT)
        (store / "refs").mkdir()
        (store / "refs/main").write_text(COMMIT)

    return put


def test_a_hub_model_is_pinned_by_its_commit(tmp_path: Path, hub: Hub) -> None:
    hub(sentences(tmp_path))
    for given in ("some/encoder", {"model": "some/encoder"}, {"model": "some/encoder", "revision": COMMIT}):
        mine = study({"mine": given})
        assert mine.embeddings["mine"].spec["revision"] == COMMIT
        assert mine.told["embeddings"][1]["mine"]["revision"] == COMMIT
        assert mine.told["embeddings"][1]["mine"]["model"] == "some/encoder"
    vectors = encode_all(load_encoder(mine.embeddings["mine"].spec), TEXTS)
    assert close(vectors, SentenceTransformer(str(tmp_path / "model")).encode(TEXTS))


def test_an_entry_of_the_catalogue_whose_commit_is_not_known_takes_that_of_this_machine(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        StudyError, match=r"medembed-base: abhinand/MedEmbed-base-v0\.1 is no folder here, and the hub does"
    ):
        study("medembed-base")
    hub(sentences(tmp_path))
    (tmp_path / "hub/models--some--encoder").rename(tmp_path / "hub/models--abhinand--MedEmbed-base-v0.1")
    read = study("medembed-base")
    assert read.embeddings["medembed-base"].spec["revision"] == COMMIT
    assert read.told["embeddings"] == ["onehot", {"medembed-base": {"revision": COMMIT}}]
    # a folder of its files, without a network
    folder = str(tmp_path / "model")
    assert len(study({"medembed-base": {"model": folder}}).embeddings["medembed-base"].spec["weights_sha256"]) == 64


def test_what_the_study_says_of_its_encoder_counts(tmp_path: Path) -> None:
    folder = sentences(tmp_path)
    plain = study({"mine": str(folder)}).embeddings["mine"]
    for key, value in {
        "pooling": "cls",
        "max_length": 16,
        "normalize": True,
        "prompt": "of ",
        "dtype": "bfloat16",
    }.items():
        changed = study({"mine": {"model": str(folder), key: value}}).embeddings["mine"]
        assert changed.spec == plain.spec | {key: value}
        assert changed.id != plain.id
    assert study({"mine": str(folder)}).embeddings["mine"].id == plain.id
    moved = shutil.move(folder, tmp_path / "moved")
    assert study({"mine": str(moved)}).embeddings["mine"].id == plain.id


def test_a_folder_below_this_one_needs_no_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sentences(tmp_path)
    monkeypatch.chdir(tmp_path)
    mine = study({"mine": "model"}).embeddings["mine"]
    assert mine.spec["model"] == "./model"
    assert mine.id == study({"mine": str(folder)}).embeddings["mine"].id
    assert np.isfinite(encode_all(load_encoder(mine.spec), TEXTS)).all()
