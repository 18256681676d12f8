"""A catalogue entry from a model's name alone: what its files say of how it wants to be used."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.study.backends import is_folder
from conceptbridge.study.model_card import ModelCard, read_card, weight_files, weights_digest

#: the files of a hub's model that say how to use it: small ones
_CARD_FILES = ("*config.json", "config_sentence_transformers.json", "modules.json", "README.md")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def own_entry(name: str, given: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the catalogue entry of the model ``given``: a folder, or its id at the hub, or keys with one as `model`.

    What ``given`` says counts; all else is read from the model's files. A hub model is pinned by the commit that this
    machine has, or the newest one; a folder by the SHA-256 of its weights.

    Raises StudyError if there is no such model, or with all keys that its files do not tell.
    """
    keys: dict[str, Any] = {"model": given} if isinstance(given, str) else dict(given)
    at = f"config: embeddings: {name}"
    if not isinstance(keys["model"], str):
        raise StudyError(f"{at}: model: {keys['model']!r} is neither a folder nor a model's id at the hub (ORG/MODEL)")
    folder, pin = _located(at, keys)
    try:
        card = read_card(folder)
    except (OSError, ValueError) as error:
        raise StudyError(f"{at}: the files in {folder} cannot be read: {error}") from error
    return _checked(at, card, pin | _read(card, "pooling" in keys) | keys | {"model": pin.get("model", keys["model"])})


def missing_pin(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what pins the model of a catalogue's entry, where it is not pinned: its makers' commit was not known.

    It is the commit that this machine has, or the newest one. Raises StudyError if the hub does not give it.
    """
    local = entry.get("backend") in ("transformers", "sentence-transformers") and isinstance(entry.get("model"), str)
    if not local or {"revision", "weights_sha256"} & entry.keys():
        return {}
    return _located(f"config: embeddings: {name}", entry)[1]


def told_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry as provenance shows it: without a folder of this machine."""
    return {key: value for key, value in entry.items() if key != "model" or not is_folder(value)}


def _read(card: ModelCard, pooled: bool) -> dict[str, Any]:
    """The keys that the files tell; with its own modules a model pools by itself, unless the study says how."""
    entry: dict[str, Any] = {
        "backend": "sentence-transformers" if card.modules else "transformers",
        "pooling": card.pooling,
        "max_length": card.max_length,
        "normalize": card.normalize or False,
        "prompt": card.prompt or None,
        "dtype": "float32",
        "width": card.width,
        "licence": card.licence or "not stated",
    }
    if card.own_modules and not pooled:
        del entry["pooling"], entry["normalize"]
    return {key: value for key, value in entry.items() if value is not None}


def _checked(at: str, card: ModelCard, entry: dict[str, Any]) -> dict[str, Any]:
    needed = ["max_length", "width"] if card.own_modules else ["pooling", "max_length", "width"]
    if missing := [key for key in needed if key not in entry]:
        example = {"pooling": "mean", "max_length": "128", "width": "768"}
        keys = ", ".join(f"{key}: {example[key]}" for key in missing)
        raise StudyError(
            f"{at}: the files of {entry['model']} do not say {' and '.join(missing)}; write what its makers say, as "
            f"`{{model: {entry['model']}, {keys}}}`"
        )
    return entry


def _located(at: str, keys: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The folder of a model's files, and what pins them."""
    model = keys["model"]
    folder = Path(model).expanduser()
    if folder.is_dir():
        place = model if is_folder(model) else f"./{model}"
        if not (folder / "config.json").is_file():
            raise StudyError(
                f"{at}: the folder {model} has no config.json, so it is no model's; give the folder with it"
            )
        if {"weights_sha256", "revision"} & keys.keys() or not any(folder.glob("*.safetensors")):
            return folder, {"model": place}
        return folder, {"model": place, "weights_sha256": weights_digest(weight_files(folder))}
    if is_folder(model) or not _HUB_ID.fullmatch(model):
        raise StudyError(f"{at}: {model!r} is neither a folder here nor a model's id at the hub (ORG/MODEL)")
    folder = _from_hub(at, model, keys.get("revision"))
    return folder, {"revision": folder.name}


def _from_hub(at: str, model: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    def find(here: bool) -> Path:
        found = snapshot_download(model, revision=revision, allow_patterns=list(_CARD_FILES), local_files_only=here)
        return Path(found)

    try:
        folder = find(here=True)
    except Exception:  # not on this machine, whatever the library says of it
        folder = Path()
    if (folder / "config.json").is_file():
        return folder
    try:
        return find(here=False)
    except Exception as error:
        raise StudyError(
            f"{at}: {model} is no folder here, and the hub does not give it ({type(error).__name__}); check the name, "
            "run `snakemake fetch_models` where there is a network, or give the model's folder"
        ) from error
