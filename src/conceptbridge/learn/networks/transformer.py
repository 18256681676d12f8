"""A transformer over a row's events, in PyTorch: each is what its token's vector is projected to, plus codes of its day
and its value; blocks of self-attention and a feed-forward layer, each after a layer norm (pre-norm: Xiong et al. 2020),
and two logits of what a class token has gathered (as in BERT).

The order of a row's events plays no part but through their days. Rows are padded to the longest of a few rows of like
length; what is padded is masked, so neither it nor the rows beside it change a row's numbers.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from conceptbridge.learn.networks.events import WAVELENGTHS, Events, Padded, day_code
from conceptbridge.learn.networks.network import Matrix, Weights, uniform
from conceptbridge.learn.projection import NORM
from conceptbridge.learn.rows import OneHot, Vectors

Tensor = torch.Tensor
Tensors = Mapping[str, Tensor]

#: what the tokens' vectors are multiplied by, and what tune-head trains
PROJECTION, HEAD = "projection", ("head", "head_bias")
#: what each block has
OF_BLOCKS = (
    *("attention_norm", "attention_norm_bias", "queries_keys_values", "queries_keys_values_bias"),
    *("gathered", "gathered_bias", "wide_norm", "wide_norm_bias", "wide", "wide_bias", "narrow", "narrow_bias"),
)
#: what weight decay shrinks: what has a number per input and output, unlike a bias or the gain of a norm
MATRICES = (PROJECTION, "days", "queries_keys_values", "gathered", "wide", "narrow", "head")
#: how much wider the feed-forward layer is
WIDER = 4


def draw(rng: np.random.Generator, inputs: int, settings: Mapping[str, Any]) -> Weights:
    """The first weights of one network: linear layers as PyTorch draws them, layer norms that change nothing, and
    projections and codes of about unit variance."""
    width, heads, blocks = settings["width"], settings["heads"], settings["blocks"]
    size, hidden = width // heads, WIDER * width

    def unit(rows: int, norm: float) -> Matrix:
        """Weights with which a vector of this norm gets numbers of unit variance."""
        return uniform(rng, (rows, width), norm**2 / 3)

    def linear(inputs: int, *outputs: int) -> Matrix:
        """One matrix per block."""
        drawn = uniform(rng, (blocks * inputs, math.prod(outputs)), inputs)
        return drawn.reshape(blocks, inputs, *outputs)

    return {
        PROJECTION: unit(inputs, NORM),
        "days": unit(2 * len(WAVELENGTHS), math.sqrt(len(WAVELENGTHS))),
        "class": unit(1, 1)[0],
        "value_gain": np.zeros(width, np.float32),
        "value": unit(1, 1)[0],
        "has_value": unit(1, 1)[0],
        **{f"{name}_norm": np.ones((blocks, width), np.float32) for name in ("attention", "wide")},
        **{f"{name}_norm_bias": np.zeros((blocks, width), np.float32) for name in ("attention", "wide")},
        "queries_keys_values": linear(width, 3, heads, size),
        "queries_keys_values_bias": np.zeros((blocks, 3, heads, size), np.float32),
        "gathered": linear(width, width),
        "gathered_bias": np.zeros((blocks, width), np.float32),
        "wide": linear(width, hidden),
        "wide_bias": np.zeros((blocks, hidden), np.float32),
        "narrow": linear(hidden, width),
        "narrow_bias": np.zeros((blocks, width), np.float32),
        "last_norm": np.ones(width, np.float32),
        "last_norm_bias": np.zeros(width, np.float32),
        "head": uniform(rng, (width, 2), width),
        "head_bias": np.zeros(2, np.float32),
    }


def table_of(projection: Tensor, vectors: Tensor | OneHot, listed: Tensor) -> Tensor:
    """What these tokens' vectors are projected to: (listed, width); one-hot vectors are never written out."""
    if isinstance(vectors, OneHot):
        shared = vectors.center * projection.sum(dim=0)
        return (functional.embedding(listed, projection) - shared) * vectors.scale
    return vectors[listed] @ projection


def on_device(vectors: Vectors, device: torch.device) -> Tensor | OneHot:
    """The vectors as ``table_of`` takes them."""
    return vectors if isinstance(vectors, OneHot) else torch.from_numpy(vectors).to(device)


def embed(w: Tensors, table: Tensor, place: NDArray[np.int64], events: Events, some: Padded) -> tuple[Tensor, Tensor]:
    """The class token and the events of some rows, (rows, 1 + longest, width), and where there is one, (rows, 1 +
    longest). ``place`` (tokens,): where each token is in the ``table``."""
    device, there = table.device, torch.from_numpy(some.there).to(table.device)
    token = np.where(some.there, place[events.tokens[some.at]], 0)
    x = functional.embedding(torch.from_numpy(token).to(device), table)
    values = np.where(some.there, events.values[some.at], np.nan)
    if (given := ~np.isnan(values)).any():
        has, value = (torch.from_numpy(a).to(device)[..., None] for a in (given, np.where(given, values, 0)))
        x = x + value * (x * w["value_gain"] + w["value"]) + has * w["has_value"]
    distinct, day_of = np.unique(events.days[some.at], return_inverse=True)
    days = torch.from_numpy(day_code(distinct)).to(device) @ w["days"]
    x = x + functional.embedding(torch.from_numpy(day_of.reshape(some.at.shape)).to(device), days)
    x = torch.cat([w["class"].expand(len(x), 1, -1), x], dim=1)
    return x, functional.pad(there, (1, 0), value=True)


def features(w: Tensors, x: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """What the class token has gathered in the end: (rows, width).

    ``x`` and, for ``mask``, where there is an event are from ``embed``; or the mask is what is added to the scores of
    the events, (rows, 1 + longest); None where there is nothing to be masked. The last block does for the class token
    alone what nobody sees of the others.
    """
    width = x.shape[2]
    mask = None if mask is None else mask[:, None, None, :]
    last = len(w["wide"]) - 1
    for n, b in enumerate(_blocks(w)):
        h = functional.layer_norm(x, (width,), b["attention_norm"], b["attention_norm_bias"])
        made, bias = b["queries_keys_values"], b["queries_keys_values_bias"]
        if n < last:
            q, k, v = _heads(h, made, bias)
        else:
            [q], (k, v) = _heads(h[:, :1], made[:, :1], bias[:1]), _heads(h, made[:, 1:], bias[1:])
            x = x[:, :1]
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        seen = seen.transpose(1, 2).flatten(2) @ b["gathered"] + b["gathered_bias"]
        x = x + functional.dropout(seen, dropout)
        h = functional.layer_norm(x, (width,), b["wide_norm"], b["wide_norm_bias"])
        h = functional.gelu(h @ b["wide"] + b["wide_bias"]) @ b["narrow"] + b["narrow_bias"]
        x = x + functional.dropout(h, dropout)
    return functional.layer_norm(x[:, 0], (width,), w["last_norm"], w["last_norm_bias"])


def _blocks(w: Tensors) -> Iterator[dict[str, Tensor]]:
    """The weights of each block."""
    for arrays in zip(*(w[name].unbind() for name in OF_BLOCKS), strict=True):
        yield dict(zip(OF_BLOCKS, arrays, strict=True))


def _heads(h: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Queries, keys and values, or some of them: (kinds, rows, heads, length, size)."""
    made = functional.linear(h, weights.flatten(1).T, bias.flatten())
    return made.view(*h.shape[:2], *bias.shape).permute(2, 0, 3, 1, 4)


def logits(w: Tensors, gathered: Tensor) -> Tensor:
    """Of no event and of the event: (rows, 2)."""
    return gathered @ w["head"] + w["head_bias"]
