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
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    OPTConfig,
    OPTModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

WORDS = ["acute", "chronic", "pain", "fever", "cough", "of", "the", "left", "right", "lung", "heart", "kidney", "not"]
TEXTS = [" ".join(WORDS[(7 * i + j) % len(WORDS)] for j in range(1 + i % 9)) + f" {i}" for i in range(60)]


SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
#: class of the model and its config, what the config has besides SIZE or calls otherwise
ARCHITECTURES: dict[str, tuple[type[Any], type[Any], dict[str, Any]]] = {
    "bert": (BertModel, BertConfig, {}),
    "roberta": (RobertaModel, RobertaConfig, {"pad_token_id": 0}),
    "mpnet": (MPNetModel, MPNetConfig, {"pad_token_id": 0}),
    "distilbert": (
        DistilBertModel,
        DistilBertConfig,
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "hidden_size": None},
    ),
    "modernbert": (
        ModernBertModel,
        ModernBertConfig,
        {"pad_token_id": 0, "global_attn_every_n_layers": 2, "local_attention": 8},
    ),
    "gpt2": (GPT2Model, GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "opt": (OPTModel, OPTConfig, {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.3}),
    "qwen2": (Qwen2Model, Qwen2Config, {"num_key_value_heads": 2}),
    "qwen3": (Qwen3Model, Qwen3Config, {"num_key_value_heads": 2, "head_dim": 8}),
    "t5": (T5Model, T5Config, {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
    "bart": (
        BartModel,
        BartConfig,
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "init_std": 0.3,
        },
    ),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig, {"pad_token_id": 0}),
}


def save_model(
    folder: Path, kind: str = "bert", padding: str = "right", seed: int = 0, special: bool = True, **asked: Any
) -> Path:
    """A model of width 32 with two layers, and its tokenizer (``asked``: of its settings), saved in ``folder``.

    ``special``: the tokenizer puts a token before and one behind each text, and has one for padding.
    """
    torch.manual_seed(seed)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS, *map(str, range(60))])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    ends = {"eos_token": "[SEP]"}
    if special:
        words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
        ends = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    settings = {"model_max_length": 64, "padding_side": padding} | ends | asked
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", model_input_names=["input_ids", "attention_mask"], **settings
    )
    make, config, more = ARCHITECTURES[kind]
    values = SIZE | {"vocab_size": len(vocabulary)} | more
    model = make(config(**{key: value for key, value in values.items() if value is not None}))
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
