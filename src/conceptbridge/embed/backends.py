"""Backends: texts in, one float32 vector each out. Each is a function of the text and the embedding's spec alone."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from conceptbridge.errors import StudyError

logger = logging.getLogger(__name__)


class Backend(Protocol):
    """What turns texts into vectors."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of ``texts``: shape (texts, width)."""


class RandomVectors:
    """A control: a vector of independent normal numbers drawn from a hash of the text, of expected norm 1."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.width: int = spec["width"]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of ``texts``: shape (texts, width)."""
        from scipy.special import ndtri

        drawn = b"".join(hashlib.shake_256(text.encode()).digest(4 * self.width) for text in texts)
        uniform = (np.frombuffer(drawn, dtype="<u4").astype(np.float64) + 0.5) / 2**32
        return np.asarray(ndtri(uniform) / np.sqrt(self.width), np.float32).reshape(len(texts), self.width)


class SentenceTransformers:
    """An encoder of sentence-transformers, its pooling and normalisation as the catalogue says.

    Raises StudyError when the model cannot be had, or its weights are not the pinned ones.
    """

    def __init__(self, spec: Mapping[str, Any], threads: int) -> None:
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling, Transformer

        torch.set_num_threads(threads)
        folder = model_folder(spec)
        encoder = Transformer(
            str(folder),
            max_seq_length=spec["max_length"],
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
        pooling = Pooling(encoder.get_embedding_dimension(), pooling_mode=spec["pooling"])
        modules = [encoder, pooling] + ([Normalize()] if spec["normalize"] else [])
        self.model = SentenceTransformer(modules=modules)
        self.prompt: str = spec.get("prompt", "")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of ``texts``: shape (texts, width)."""
        vectors = self.model.encode([self.prompt + text for text in texts], batch_size=64, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


def load_backend(spec: Mapping[str, Any], threads: int = 1) -> Backend:
    """The backend that a catalogue entry asks for, ready to encode; controls made from a table have none."""
    if spec["backend"] == "random":
        return RandomVectors(spec)
    if spec["backend"] == "sentence-transformers":
        return SentenceTransformers(spec, threads)
    raise StudyError(f"the backend {spec['backend']!r} makes no table of vectors")


def model_folder(spec: Mapping[str, Any]) -> Path:
    """Folder of the model's files: a folder, an installed package that carries it, else the hub at the pinned revision.

    Raises StudyError when none of them has it, or the SHA-256 of model.safetensors is not the catalogue's.
    """
    name, package = spec["model"], spec.get("package")
    found = find_spec(package) if package else None
    if Path(name).is_dir():
        folder = Path(name)
    elif found is not None and found.origin is not None:
        folder = Path(found.origin).parent / "model"
    else:
        from huggingface_hub import snapshot_download

        try:
            folder = Path(
                snapshot_download(
                    name, revision=spec["revision"], allow_patterns=["*.json", "*.txt", "model.safetensors"]
                )
            )
        except Exception as error:
            hint = f"install the package {package} (pip install '.[demo]'), or " if package else ""
            raise StudyError(
                f"the model {name} cannot be loaded ({type(error).__name__}): {hint}fetch it on a machine "
                "with a network, or give a folder as `model` in config/embeddings.yaml"
            ) from error
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise StudyError(f"{folder}: there is no model.safetensors; other weight formats can run code and are not read")
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != spec["weights_sha256"]:
        raise StudyError(f"{weights}: its SHA-256 is {sha256}, not {spec['weights_sha256']} as pinned for {name}")
    logger.info("model %s: weights as pinned", name)
    return folder
