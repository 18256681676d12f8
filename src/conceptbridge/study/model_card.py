"""What a language model's files say of how it wants to be used. Planning reads them, so nothing heavy is imported."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: how sentence-transformers calls our poolings, in new files and in old ones
_POOLINGS = {
    "mean": ("mean", "pooling_mode_mean_tokens"),
    "cls": ("cls", "pooling_mode_cls_token"),
    "max": ("max", "pooling_mode_max_tokens"),
    "last-token": ("lasttoken", "pooling_mode_lasttoken"),
}
#: what sentence-transformers writes of an encoder that it runs as any other
_USUAL = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
#: keys of a width in config.json, the one that wins first
_WIDTHS = ("word_embed_proj_dim", "hidden_size", "d_model", "n_embd", "dim")
_POSITIONS = ("max_position_embeddings", "n_positions")
#: tokenizers without a limit say a very large number
_NO_LIMIT = 10**6


@dataclass(frozen=True)
class ModelCard:
    """What the files of a model say; None where they say nothing."""

    #: whether it is a model of sentence-transformers
    modules: bool = False
    #: whether its modules do more than one pooling and a norm, so that only they can run it
    own_modules: bool = False
    pooling: str | None = None
    normalize: bool | None = None
    max_length: int | None = None
    #: what the model wants before every text by default
    prompt: str | None = None
    lower_case: bool = False
    width: int | None = None
    licence: str | None = None
    #: prompts that the model has by name and does not use by default
    prompts: Mapping[str, str] = field(default_factory=dict)


def read_card(folder: Path) -> ModelCard:
    """Read config.json, the tokenizer's and those of sentence-transformers in ``folder``; what is not there is None."""
    config, tokenizer = _json(folder / "config.json"), _json(folder / "tokenizer_config.json")
    of_sentences = next(map(_json, sorted(folder.glob("sentence_*_config.json"))), {})
    asked = _json(folder / "config_sentence_transformers.json")
    prompts: dict[str, str] = asked.get("prompts") or {}
    prompt = prompts.get(asked.get("default_prompt_name") or "")
    # a model of sentence-transformers may be cut shorter, or be let longer, than its tokenizer says
    lengths = [of_sentences.get("max_seq_length") or tokenizer.get("model_max_length"), _positions(config)]
    limits = [int(n) for n in lengths if isinstance(n, int | float) and 0 < n < _NO_LIMIT]
    modules = _modules(folder)
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    settings = [_json(folder / str(module.get("path") or "") / "config.json") for module in modules]
    first = settings[1] if kinds[1:2] == ["Pooling"] else {}
    modes = _modes(first)
    pooling = next((ours for ours, theirs in _POOLINGS.items() if modes in ([theirs[0]], [theirs[1]])), None)
    pooled = first.get("embedding_dimension") or first.get("word_embedding_dimension")
    widths = [
        *(one.get("out_features") for one in reversed(settings[1:])),
        pooled * len(modes) if isinstance(pooled, int) and modes else None,
        *(config.get(key) for key in _WIDTHS),
    ]
    plain = kinds in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]) and pooling is not None
    left_out = bool(prompt) and first.get("include_prompt") is False
    unusual = {key: value for key, value in of_sentences.items() if key not in ("max_seq_length", "do_lower_case")}
    return ModelCard(
        modules=bool(modules),
        own_modules=bool(modules) and not (plain and not left_out and unusual in ({}, _USUAL)),
        pooling=pooling,
        normalize="Normalize" in kinds if modules else None,
        max_length=min(limits, default=None),
        prompt=prompt,
        lower_case=bool(of_sentences.get("do_lower_case")),
        width=next((n for n in widths if isinstance(n, int)), None),
        licence=_licence(folder / "README.md"),
        prompts={name: text for name, text in prompts.items() if text},
    )


def weight_files(folder: Path, pattern: str = "*.safetensors") -> list[Path]:
    """The files of weights that the model runs with: its encoder's, and those of its other modules."""
    parts = [str(module.get("path") or "") for module in _modules(folder)]
    return [path for part in ["", *filter(None, parts)] for path in sorted((folder / part).glob(pattern))]


def weights_digest(paths: Iterable[Path]) -> str:
    """SHA-256 of the content of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / "modules.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def _modes(config: Mapping[str, Any]) -> list[str]:
    """The poolings that a pooling's config joins, as new files and old ones name them."""
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else list(mode or [])
    return modes + [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]


def _positions(config: Mapping[str, Any]) -> int | None:
    count = next((config[key] for key in _POSITIONS if isinstance(config.get(key), int) and config[key] > 0), None)
    kind = str(config.get("model_type", ""))
    if count is not None and ("roberta" in kind or kind in ("camembert", "mpnet", "longformer")):
        count -= int(config.get("pad_token_id", 1)) + 1  # their positions are counted from behind the padding's
    return count


def _licence(path: Path) -> str | None:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    front = lines[1 : lines.index("---", 1)] if lines[:1] == ["---"] and "---" in lines[1:] else []
    said = (line.partition(":")[2].strip().strip("'\"") for line in front if line.startswith("license:"))
    return next(said, None) or None


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
