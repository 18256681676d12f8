"""Language models that run in this process: encoders of transformers, and models of sentence-transformers."""

import ctypes
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tokenizers import normalizers
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from conceptbridge.core.errors import StudyError
from conceptbridge.embed.model_files import model_folder
from conceptbridge.embed.packed_linear import has_bfloat16, is_faster_here, pack
from conceptbridge.embed.vectors import Matrix
from conceptbridge.embed.weights import check_weights, recorded_loading
from conceptbridge.study.model_card import read_card

logger = logging.getLogger(__name__)

#: what is yielded at once, and a killed run loses at most: so many texts, or seconds of work
PART, PART_SECONDS = 2_000, 10.0
#: tokens of a batch, padding included: more do not fit a core's cache, fewer do not fill a GPU
BATCH_TOKENS = {"cpu": 1_024, "cuda": 32_768}
#: parameters of glibc's mallopt: how much may be free at the heap's end, and how large its blocks may be
KEPT_MEMORY = {-1: 2**27, -3: 2**25}
#: the least cosine of a text's vectors in two batches
SAME_COSINE = 0.999999
#: texts that a model is tried with at load: two of one length and a shorter one
PROBES = ("acute pain of the left lung with fever", "fever with lung left the of pain acute", "cough")

Features = dict[str, torch.Tensor]


class LocalModel:
    """A model in this process. Texts of one length share a batch where there are enough of them: no padding then.

    ``forward`` makes vectors, shape (texts, width), from input_ids and attention_mask. With ``autocast`` matrix
    products are in bfloat16, layer norms and softmax in float32. On a processor ``workers`` batches are under way at
    once, a thread each, so that no thread waits for another and vectors do not depend on their number.
    """

    def __init__(
        self,
        tokenizer: Any,
        forward: Callable[[Features], torch.Tensor],
        max_length: int,
        prompt: str,
        autocast: bool,
        device: str,
        workers: int,
        known_tokens: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.forward = forward
        self.max_length = max_length
        self.prompt = prompt
        self.autocast = autocast
        self.device = device
        self.workers = workers
        #: whether texts of several lengths may share a batch
        self.padded = True
        #: tokens that the model knows, and the one that it is padded with
        self.known_tokens = known_tokens
        padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.padding = padding if padding is not None and padding < known_tokens else 0

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[list[str], Matrix]]:
        """Yield ``texts`` part by part, those of most tokens first, so that what does not fit shows at once."""
        tokens, ends = self._tokens(texts)
        if empty := int((np.diff(ends) == 0).sum()):
            logger.warning("%d texts have no token that the model knows: their vectors are zero", empty)
        batches = list(self._batches(np.diff(ends)))
        done: list[str] = []
        vectors: list[Matrix] = []
        start = time.monotonic()
        pool = ThreadPoolExecutor(self.workers)
        try:
            made = pool.map(lambda batch: self.vectors([tokens[ends[i] : ends[i + 1]] for i in batch]), batches)
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
            if ids[-1].size and int(ids[-1].max()) >= self.known_tokens:
                raise StudyError(
                    f"the tokenizer in {self.tokenizer.name_or_path} makes the token {int(ids[-1].max())}, and its "
                    f"model knows {self.known_tokens} tokens: they do not belong together; take the files of one model"
                )
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
            count = max(1, min(same, most), most // 4 if self.padded else 0)
            yield order[first : first + count]
            first += count

    def vectors(self, tokens: Sequence[NDArray[np.int32]]) -> Matrix:
        """The vectors of one batch, shape (texts, width); zero for a text without a token."""
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            made = np.asarray(self.forward(self._padded(tokens)).float().cpu().numpy(), np.float32)
        if any(len(of_text) == 0 for of_text in tokens):
            made[[len(of_text) == 0 for of_text in tokens]] = 0
        return made

    def probes(self) -> list[NDArray[np.int32]]:
        """Tokens to try the model with: two texts of one length, and a shorter one."""
        tokens, ends = self._tokens(PROBES)
        first, second, short = (tokens[ends[i] : ends[i + 1]] for i in range(len(PROBES)))
        least = min(len(first), len(second))
        return [first[:least], second[:least], short]

    def _padded(self, tokens: Sequence[NDArray[np.int32]]) -> Features:
        longest = max(1, max(map(len, tokens)))
        ids = np.full((len(tokens), longest), self.padding, np.int64)
        mask = np.zeros((len(tokens), longest), np.int64)
        for row, of_text in enumerate(tokens):
            kept = slice(longest - len(of_text), None) if self.tokenizer.padding_side == "left" else slice(len(of_text))
            ids[row, kept], mask[row, kept] = of_text, 1
        features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        return {name: tensor.to(self.device) for name, tensor in features.items()}


class Parts(NamedTuple):
    """What a loaded model consists of."""

    tokenizer: Any
    forward: Callable[[Features], torch.Tensor]
    module: torch.nn.Module
    #: the most tokens that its files let a text have
    longest: int
    prompt: str


def load(spec: Mapping[str, Any], threads: int) -> LocalModel:
    """The model of a catalogue entry, on the GPU if there is one.

    An entry without ``pooling`` is a model of sentence-transformers that runs with its own modules (pooling, dense
    layers, normalisation). Raises StudyError when the model cannot be had, its weights are not the pinned ones or do
    not fit it, or a text's vector depends on the texts beside it.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a log is no place for bars
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    _keep_freed_memory()
    folder = model_folder(spec)
    name = f"{spec['model']}: the model in {folder}"
    load = _with_pooling if "pooling" in spec else _with_own_modules
    try:
        with recorded_loading() as loaded:
            parts = load(folder, spec, device)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise StudyError(f"{name} cannot be loaded: {_line(error)}") from error
    embeddings = [one.model.get_input_embeddings() for one in loaded]
    known_tokens = min((int(getattr(one, "num_embeddings", 10**9)) for one in embeddings), default=10**9)
    longest = min([parts.longest, *(_positions(one.model) for one in loaded)])
    max_length = min(spec.get("max_length", longest), longest)
    if max_length < spec.get("max_length", 0):
        logger.warning("%s takes %d tokens, fewer than max_length: longer texts are cut there", name, max_length)
    workers = threads if device == "cpu" else 1
    model = LocalModel(parts.tokenizer, parts.forward, max_length, parts.prompt, False, device, workers, known_tokens)
    try:
        probes = model.probes()
        check_weights(name, loaded, lambda: torch.from_numpy(np.concatenate([model.vectors([one]) for one in probes])))
        model.padded = _padding_changes_nothing(model, probes, name)
    except StudyError:
        raise
    except Exception as error:  # whatever a model raises that makes no vector from a text
        raise StudyError(f"{name} makes no vectors from texts: {type(error).__name__}: {_line(error)}") from error
    if not model.padded:
        logger.info("%s: padding would change its vectors, so that only texts of one length share a batch", name)
    if spec["dtype"] == "bfloat16":
        model.autocast = device == "cuda" or has_bfloat16()
        _round_weights(parts.module, torch.bfloat16 if model.autocast else torch.float32)
    in_float32 = device == "cpu" and not model.autocast
    if in_float32 and is_faster_here() and not _packed(model, parts.module, probes):
        logger.info("%s: not with packed weights, which would change its vectors", name)
        parts = load(folder, spec, device)
        if spec["dtype"] == "bfloat16":
            _round_weights(parts.module, torch.float32)
        model.forward = parts.forward
    return model


def _keep_freed_memory() -> None:
    """Let the C library keep what a batch frees for the next one.

    By itself glibc returns large blocks to the system: each batch then gets its memory anew, page by page, for up to a
    tenth of its time.
    """
    if platform.libc_ver()[0] == "glibc":
        for parameter, size in KEPT_MEMORY.items():
            ctypes.CDLL(None).mallopt(parameter, size)


def _packed(model: LocalModel, module: torch.nn.Module, probes: Sequence[NDArray[np.int32]]) -> bool:
    """Pack the weights of ``module``. Whether ``model``, which runs it, still gives the probes their vectors."""
    before = model.vectors(probes[:2])
    try:
        pack(module, BATCH_TOKENS["cpu"])
        return _same(model.vectors(probes[:2]), before)
    except Exception:  # a model that reads its weights itself may raise anything
        return False


def _padding_changes_nothing(model: LocalModel, probes: Sequence[NDArray[np.int32]], name: str) -> bool:
    """Whether a text has the vector that it has alone also beside a longer one.

    Raises StudyError where it has another even beside one of its own length, or numbers that are not finite.
    """
    alone = np.concatenate([model.vectors([one]) for one in probes])
    if not np.isfinite(alone).all():
        raise StudyError(f"{name} makes vectors that are not finite; take another model")
    if not _same(model.vectors(probes[:2]), alone[:2]):
        raise StudyError(f"{name} gives a text a vector that depends on the texts beside it; take another model")
    return _same(model.vectors(probes), alone)


def _same(found: Matrix, expected: Matrix) -> bool:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = np.divide((found * expected).sum(axis=1), norms, out=np.ones_like(norms), where=norms > 0)
    sizes = np.isclose(np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1), rtol=1e-3, atol=1e-6)
    return bool((cosine >= SAME_COSINE).all() and sizes.all())


def _positions(model: PreTrainedModel) -> int:
    """The number of tokens that the model has positions for; a very large one where nothing limits them."""
    count = getattr(model.config, "max_position_embeddings", None)
    counts = [count] if isinstance(count, int) and count > 0 else []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding) and "position" in name and module.padding_idx is not None:
            counts.append(module.num_embeddings - module.padding_idx - 1)  # RoBERTa's begin behind the padding's
    return min(counts, default=10**9)


def _with_pooling(folder: Path, spec: Mapping[str, Any], device: str) -> Parts:
    card = read_card(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    whole = AutoModel.from_pretrained(folder, trust_remote_code=False, **_weights(folder)).eval().to(device)
    model = whole.get_encoder() if getattr(whole.config, "is_encoder_decoder", False) else whole
    pooling, layer, normalize = spec["pooling"], spec.get("layer"), spec["normalize"]

    def forward(features: Features) -> torch.Tensor:
        output = model(**features, output_hidden_states=layer is not None)
        hidden = output.last_hidden_state if layer is None else output.hidden_states[layer]
        vectors = pool(hidden.float(), features["attention_mask"], pooling)
        return torch.nn.functional.normalize(vectors) if normalize else vectors

    if card.lower_case:
        _lower_case(tokenizer)
    # tokenizers without a limit say a very large number
    return Parts(tokenizer, forward, model, tokenizer.model_max_length, spec.get("prompt", card.prompt or ""))


def _with_own_modules(folder: Path, spec: Mapping[str, Any], device: str) -> Parts:
    if not read_card(folder).modules:  # the library would make up a pooling
        raise ValueError("it has no modules.json, so that nothing says how to pool; say `pooling` in its entry")
    model = SentenceTransformer(
        str(folder), device=device, trust_remote_code=False, model_kwargs=_weights(folder)
    ).eval()
    for part in model.modules():
        if isinstance(part, PreTrainedModel) and part.config.is_encoder_decoder and hasattr(part, "decoder"):
            raise ValueError("its modules run the decoder; `pooling` in its entry makes the encoder run")
    prompt = spec.get("prompt", model.prompts.get(model.default_prompt_name or "") or "")
    normalize = spec.get("normalize", False)

    def forward(features: Features) -> torch.Tensor:
        vectors: torch.Tensor = model(features | prompted)["sentence_embedding"].float()
        return torch.nn.functional.normalize(vectors) if normalize else vectors

    if not callable(model.tokenizer):
        raise ValueError("it has no tokenizer of transformers")
    # poolings that leave the prompt out ask how long it is, without what the tokenizer puts at the end
    tokens = model.tokenizer(prompt)["input_ids"] if prompt else []
    length = len(tokens) - (tokens[-1] in model.tokenizer.all_special_ids) if tokens else 0
    prompted: dict[str, Any] = {"prompt_length": length} if prompt else {}
    longest = model.get_max_seq_length() or model.tokenizer.model_max_length
    return Parts(model.tokenizer, forward, model, longest, prompt)


def _lower_case(tokenizer: Any) -> None:
    """Make the tokenizer lower texts, as the model's files ask, where it does not by itself."""
    before = tokenizer.backend_tokenizer.normalizer
    if before is None or before.normalize_str("A") != "a":
        lower = normalizers.Lowercase()
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([lower, before] if before else [lower])


def _weights(folder: Path) -> dict[str, Any]:
    # those that model_folder has checked: it lets a folder without safetensors pass only where the study says so
    return {"dtype": torch.float32, "use_safetensors": any(folder.glob("*.safetensors"))}


def _round_weights(model: torch.nn.Module, kept_as: torch.dtype) -> None:
    """Round the weights of matrix products to bfloat16 once; autocast would do it at every batch."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(torch.bfloat16).to(kept_as)


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


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
