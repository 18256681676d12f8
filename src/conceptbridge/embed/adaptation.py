"""Adapt an encoder to a vocabulary: names of one meaning come together, and "Not X" parts from X.

The result is a model of sentence-transformers in a folder, which a study takes as one's own encoder.
"""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PrinterCallback, TrainerCallback

from conceptbridge.core.atomic_files import atomic_folder, write_json, write_text
from conceptbridge.core.errors import StudyError
from conceptbridge.core.text import nearest
from conceptbridge.embed.adaptation_pairs import KINDS, Pairs, comparable, make_pairs, negated, sample
from conceptbridge.embed.compute import encode_all, load_encoder
from conceptbridge.embed.model_files import model_folder
from conceptbridge.embed.vectors import Matrix
from conceptbridge.sites.terms import read_terms
from conceptbridge.study.backends import is_folder
from conceptbridge.study.config import package_data
from conceptbridge.study.embeddings import Embedding, find_embedding
from conceptbridge.study.model_card import read_card
from conceptbridge.study.own_encoder import missing_pin, own_entry, told_entry

logger = logging.getLogger(__name__)

#: what is in the folder beside the model
RECORD = "adaptation.json"
#: packages of the extra `adapt`, without which the trainer does not work
EXTRA = ("accelerate", "datasets")
#: fewer pairs teach nothing
LEAST_PAIRS = 20
#: fewer steps leave "Not X" at X
LEAST_STEPS = 100
#: texts of a measure, and names among which a partner is looked for
MEASURED, CANDIDATES = 1_000, 5_000
#: what training reads of a text: a batch is as long as its longest text, and some synonyms go on for hundreds of tokens
TOKENS = 32
_POOLING = {"mean": "mean", "cls": "cls", "max": "max", "last-token": "lasttoken"}


class Training(NamedTuple):
    """How an encoder is trained. The learning rate is the trainer's own; none of it is searched.

    Without ``epochs``, the pairs are gone over once, or as often as ``LEAST_STEPS`` take.
    """

    seed: int = 1
    max_pairs: int = 20_000
    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float = 5e-5

    def passes(self, pairs: int) -> int:
        """How often this many pairs are gone over."""
        return self.epochs or max(1, -(-LEAST_STEPS * self.batch_size // pairs))


class _Progress(TrainerCallback):  # type: ignore[misc]  # of a package whose types are not read
    """Ten lines in the log say how far the training is."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % max(1, state.max_steps // 10) == 0:
            logger.info("step %d of %d", state.global_step, state.max_steps)


def adapt_encoder(
    base: str,
    vocabulary: Path,
    out: Path,
    sites: Sequence[Path] = (),
    training: Training | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Adapt ``base``, an embedding of the catalogue or a model's folder, to ``vocabulary``; write the folder ``out``.

    ``vocabulary`` is an Athena download or an extract; with ``sites``, their vocabulary.parquet, only the concepts that
    they use count. Returns what is in ``out/adaptation.json``: the base, the pairs' digest and numbers, the held-out
    terms, and measures on them before and after. The same input, seed and number of threads give the same bytes on the
    same kind of processor.

    Raises StudyError if the base is no language model, the trainer's packages are missing, ``out`` exists, or the
    vocabulary has too few pairs.
    """
    training = training or Training()
    if missing := [package for package in EXTRA if find_spec(package) is None]:
        raise StudyError(
            f"training needs {' and '.join(missing)}, which this environment lacks: pip install 'conceptbridge[adapt]'"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StudyError(f"{out}: this folder already exists; give another name, or remove it")
    embedding = _base(base)
    terms = read_terms(vocabulary, training.max_pairs, training.seed, sites, threads)
    if terms.skipped:
        logger.warning("%s: %d rows cannot be read and are left out", vocabulary, terms.skipped)
    pairs = make_pairs(terms, training.max_pairs, training.seed)
    if len(pairs.training) < LEAST_PAIRS:
        raise StudyError(
            f"{vocabulary}: gives {len(pairs.training)} pairs of names to learn from, and {LEAST_PAIRS} are needed; "
            "give a vocabulary of more concepts"
        )
    logger.info("%d concepts, %d pairs: %s", len(terms.concepts), len(pairs.training), pairs.used)
    before = _measure(embedding.spec, pairs, training.seed, threads)
    with atomic_folder(out) as folder:
        _train(embedding.spec, pairs, training, threads, folder)
        write_text(_readme(embedding, pairs), folder / "README.md")
        entry = own_entry("adapted", str(folder))
        after = _measure(entry, pairs, training.seed, threads)
        record = {
            "base": {"name": embedding.name, "fingerprint": embedding.fingerprint, **told_entry(embedding.spec)},
            "weights_sha256": entry["weights_sha256"],
            "training": training._asdict() | {"epochs": training.passes(len(pairs.training)), "threads": threads},
            "packages": {name: version(name) for name in ("torch", "transformers", "sentence-transformers", *EXTRA)},
            "pairs": {"sha256": pairs.digest, "used": pairs.used, "found": pairs.found},
            "measures": {"before": before, "after": after},
            "held_out_terms": pairs.held_out_terms,
        }
        write_json(record, folder / RECORD)
    return record


def _base(base: str) -> Embedding:
    """The embedding of that name, or of the model in that folder."""
    catalogue = package_data("catalogue")
    if base in catalogue:
        catalogue[base] |= missing_pin(base, catalogue[base])
        name = base
    elif is_folder(base) or Path(base).is_dir():
        name = Path(base).resolve().name
        catalogue[name] = own_entry(name, base)
    else:
        raise StudyError(
            f"{base!r} is neither an embedding of the catalogue{nearest(base, catalogue)} nor a model's folder"
        )
    embedding = find_embedding(name, catalogue, "base")
    if embedding.spec["backend"] not in ("transformers", "sentence-transformers") or "layer" in embedding.spec:
        raise StudyError(
            f"{name} cannot be trained: take an encoder that runs on this machine and is read at its last layer, such "
            "as minilm"
        )
    return embedding


def _train(spec: Mapping[str, Any], pairs: Pairs, training: Training, threads: int, folder: Path) -> None:
    """Train the model of an entry on the pairs, and save it."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = _model(spec)
        longest, model.max_seq_length = model.max_seq_length, min(model.max_seq_length or TOKENS, TOKENS)
        texts = {name: [getattr(pair, name) for pair in pairs.training] for name in ("text", "partner", "opposite")}
        with TemporaryDirectory(prefix="conceptbridge-") as work:
            told = SentenceTransformerTrainingArguments(
                output_dir=work,
                num_train_epochs=training.passes(len(pairs.training)),
                per_device_train_batch_size=training.batch_size,
                learning_rate=training.learning_rate,
                warmup_steps=0.1,
                seed=training.seed,
                data_seed=training.seed,
                batch_sampler="no_duplicates",  # a text's partner is never another's opposite
                prompts=spec.get("prompt"),
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            )
            loss = MultipleNegativesRankingLoss(model)
            trainer = SentenceTransformerTrainer(model, told, train_dataset=Dataset.from_dict(texts), loss=loss)
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(_Progress)
            trainer.train()
        model.max_seq_length = longest
        model.save_pretrained(str(folder), create_model_card=False)
        for file in folder.rglob("*.safetensors"):  # the library writes them for their owner alone
            file.chmod((folder / "config.json").stat().st_mode)
    finally:
        torch.set_num_threads(before)


def _model(spec: Mapping[str, Any]) -> Any:
    """The model of an entry, pooled as the entry says; float32."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    files = model_folder(spec)
    weights = {"dtype": torch.float32, "use_safetensors": any(files.glob("*.safetensors"))}
    prompt = spec.get("prompt")
    prompts: dict[str, Any] = {"prompts": {"text": prompt}, "default_prompt_name": "text"} if prompt else {}
    if "pooling" not in spec:
        return SentenceTransformer(str(files), trust_remote_code=False, model_kwargs=weights, **prompts)
    encoder = Transformer(
        str(files), model_kwargs=weights, max_seq_length=spec["max_length"], do_lower_case=read_card(files).lower_case
    )
    modules = [encoder, Pooling(encoder.get_embedding_dimension(), _POOLING[spec["pooling"]])]
    return SentenceTransformer(modules=[*modules, *([Normalize()] if spec["normalize"] else [])], **prompts)


def _measure(spec: Mapping[str, Any], pairs: Pairs, seed: int, threads: int) -> dict[str, Any]:
    """Measure an encoder on held-out terms.

    - ``polarity``: the mean cosine of a name and "Not" with it, that of two different names, and how far the first two
      are apart as a share of how far two names are.
    - each kind of pair: among how many names the right partner of a text is looked for; the share of texts for which
      it comes first, and its mean reciprocal rank. None without such a pair.
    """
    names = sample(pairs.names, MEASURED, seed)
    asked = {kind: _asked(pairs.held_out.get(kind, []), seed) for kind in KINDS if kind != "name"}
    right = {partner for of_kind in asked.values() for partners in of_kind.values() for partner in partners}
    candidates = sorted(right | set(sample(pairs.candidates, CANDIDATES, seed)))
    queries = {text for of_kind in asked.values() for text in of_kind}
    texts = sorted({*names, *map(negated, names), *candidates, *queries})
    unit = _unit(encode_all(load_encoder(spec, threads), texts))
    index = {text: row for row, text in enumerate(texts)}
    measures: dict[str, Any] = {"polarity": _polarity(unit, [(index[name], index[negated(name)]) for name in names])}
    of_candidates = unit[[index[text] for text in candidates]]
    column = {text: n for n, text in enumerate(candidates)}
    said = [comparable(text) for text in candidates]
    for kind, partners in asked.items():
        ranks = []
        for text, wanted in partners.items():
            cosines = of_candidates @ unit[index[text]]
            best = max(cosines[column[partner]] for partner in wanted)
            same = comparable(text)
            better = np.flatnonzero(cosines > best)
            ranks.append(1 + sum(said[n] != same for n in better))
        measures[kind] = {
            "texts": len(ranks),
            "candidates": len(candidates),
            "recall_at_1": float(np.mean(np.array(ranks) == 1)) if ranks else None,
            "reciprocal_rank": float(np.mean(1 / np.array(ranks))) if ranks else None,
        }
    return measures


def _asked(pairs: Sequence[tuple[str, str]], seed: int) -> dict[str, set[str]]:
    """Text -> its right partners, for the texts that are measured."""
    partners: dict[str, set[str]] = {}
    for text, partner in pairs:
        partners.setdefault(text, set()).add(partner)
    return {text: partners[text] for text in sample(list(partners), MEASURED, seed)}


def _polarity(unit: Matrix, opposites: Sequence[tuple[int, int]]) -> dict[str, Any]:
    if len(opposites) < 2:
        return {"names": len(opposites), "cosine": None, "mean_cosine": None, "polarity": None}
    rows = np.array(opposites)
    cosine = float((unit[rows[:, 0]] * unit[rows[:, 1]]).sum(axis=1).mean())
    together = unit[rows[:, 0]].sum(axis=0, dtype=np.float64)
    mean = float(together @ together - len(rows)) / (len(rows) * (len(rows) - 1))
    polarity = (1 - cosine) / (1 - mean) if mean < 1 else None
    return {"names": len(rows), "cosine": cosine, "mean_cosine": mean, "polarity": polarity}


def _unit(vectors: Matrix) -> Matrix:
    norms: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0), np.float32)


def _readme(embedding: Embedding, pairs: Pairs) -> str:
    """The model's card: its licence is that of its base, which a study's entry of it then has."""
    licence = embedding.spec.get("licence", "not stated")
    return (
        f"---\nlicense: {licence}\n---\n\n{embedding.name} adapted to a vocabulary by `conceptbridge adapt-encoder`, "
        f"on {len(pairs.training)} pairs of SHA-256 {pairs.digest}; {RECORD} says more.\n"
    )
