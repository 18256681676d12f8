"""Layers of BERT and its kin in fewer passes over memory, for a processor: one product for query, key and value.

A bias is added to a product in place; PyTorch's own linear writes it to a matrix first, to which the product is added.
Weights lie in memory as their products read them: inputs by outputs.
"""

from typing import Any

import torch
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention
from transformers.activations import GELUActivation


class JoinedLayer:
    """The forward pass of an encoder's ``layer``, whose weights it shares; it cannot be trained."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        own = self.layer.attention.self
        self.heads = own.num_attention_heads
        parts = (own.query, own.key, own.value)
        self.weight = torch.cat([part.weight.detach() for part in parts]).t().contiguous()
        self.bias = torch.cat([part.bias.detach() for part in parts])
        for part, weight in zip(parts, self.weight.t().chunk(3), strict=True):
            part.weight.data = weight  # the same memory: no weight is held twice
        for part in (layer.attention.output.dense, layer.intermediate.dense, layer.output.dense):
            part.weight.data = part.weight.detach().t().contiguous().t()

    def __call__(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any) -> Any:
        """Shape (texts, tokens, width), as ``hidden``."""
        texts, tokens, width = hidden.shape
        rows = hidden.reshape(-1, width)
        joined = torch.mm(rows, self.weight).add_(self.bias)
        query, key, value = joined.view(texts, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        rows = _added(self.layer.attention.output, seen.transpose(1, 2).reshape(len(rows), -1), rows)
        inner = self.layer.intermediate.dense
        wide = gelu(torch.mm(rows, inner.weight.t()).add_(inner.bias))
        return _added(self.layer.output, wide, rows).view(texts, tokens, width)


def _added(output: Any, features: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """The norm of ``before`` and the product of ``features``."""
    total = torch.mm(features, output.dense.weight.t()).add_(output.dense.bias).add_(before)
    norm = output.LayerNorm
    return layer_norm(total, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def join(model: torch.nn.Module) -> None:
    """Let every layer of ``model`` that is laid out as BERT's run joined, and leave the others."""
    for layer in model.modules():
        if _is_like_bert(layer):
            layer.forward = JoinedLayer(layer)


def _is_like_bert(layer: Any) -> bool:
    attention = getattr(getattr(layer, "attention", None), "self", None)
    linears = [getattr(attention, name, None) for name in ("query", "key", "value")]
    outputs = [getattr(layer, "output", None), getattr(getattr(layer, "attention", None), "output", None)]
    inner = getattr(layer, "intermediate", None)
    linears += [getattr(part, "dense", None) for part in (*outputs, inner)]
    return (
        not getattr(layer, "is_decoder", False)
        and isinstance(getattr(attention, "num_attention_heads", None), int)
        and all(type(one) is torch.nn.Linear and one.bias is not None for one in linears)
        and all(isinstance(getattr(part, "LayerNorm", None), torch.nn.LayerNorm) for part in outputs)
        and type(getattr(inner, "intermediate_act_fn", None)) is GELUActivation
    )
