"""Small models with random weights, saved as the hub has them; and tokens of a vocabulary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

WORDS = ["acute", "chronic", "pain", "fever", "cough", "of", "the", "left", "right", "lung", "heart", "kidney", "not"]
TEXTS = [" ".join(WORDS[(7 * i + j) % len(WORDS)] for j in range(1 + i % 9)) + f" {i}" for i in range(60)]


def save_model(folder: Path, kind: str = "bert", padding: str = "right", seed: int = 0) -> Path:
    """A model of width 32 with two layers; ``bert`` reads both ways, ``qwen3`` forwards only."""
    torch.manual_seed(seed)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS, *map(str, range(60))])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_max_length=64,
        padding_side=padding,
        model_input_names=["input_ids", "attention_mask"],
    )
    size: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    if kind == "bert":
        model = BertModel(BertConfig(**size))
    else:
        model = Qwen3Model(Qwen3Config(**size, num_key_value_heads=2, head_dim=8))
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_vocabulary(path: Path, texts: Sequence[str], **columns: Sequence[Any]) -> Path:
    """A vocabulary with these texts; columns of it that a test cares about may be given."""
    count = len(texts)
    of_count: dict[str, Any] = {
        "key": [f"{i + 1}|present" for i in range(count)],
        "name": [None] * count,
        "text": list(texts),
        "concept_id": list(range(1, count + 1)),
        "concept_code": [f"C{i + 1}" for i in range(count)],
        "state": ["present"] * count,
        "domain": ["condition"] * count,
        "named_by": ["concept"] * count,
        "persons": [100] * count,
        "private": [False] * count,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    types = {"concept_id": pa.int64(), "persons": pa.int64(), "private": pa.bool_()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in of_count])
    pq.write_table(pa.table(of_count | columns, schema), path)
    return path
