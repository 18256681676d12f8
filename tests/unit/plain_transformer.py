"""The transformer as one would write it down in PyTorch: nn.TransformerEncoder over rows padded to one length."""

import numpy as np
import torch
from torch import nn

from conceptbridge.learn.networks.events import WAVELENGTHS
from conceptbridge.learn.rows import Examples

Weights = dict[str, np.ndarray]


def predict(weights: Weights, examples: Examples) -> np.ndarray:
    """Probability of the outcome, (rows,), with the weights of one member."""
    assert isinstance(examples.vectors, np.ndarray)
    w = {name: torch.from_numpy(array) for name, array in weights.items()}
    width, (blocks, _, hidden) = len(w["class"]), w["wide"].shape
    heads = w["queries_keys_values"].shape[3]
    layers = [
        nn.TransformerEncoderLayer(width, heads, hidden, 0.0, "gelu", batch_first=True, norm_first=True)
        for _ in range(blocks)
    ]
    for n, layer in enumerate(layers):
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": w["queries_keys_values"][n].reshape(width, 3 * width).T,
                "self_attn.in_proj_bias": w["queries_keys_values_bias"][n].flatten(),
                "self_attn.out_proj.weight": w["gathered"][n].T,
                "self_attn.out_proj.bias": w["gathered_bias"][n],
                "norm1.weight": w["attention_norm"][n],
                "norm1.bias": w["attention_norm_bias"][n],
                "norm2.weight": w["wide_norm"][n],
                "norm2.bias": w["wide_norm_bias"][n],
                "linear1.weight": w["wide"][n].T,
                "linear1.bias": w["wide_bias"][n],
                "linear2.weight": w["narrow"][n].T,
                "linear2.bias": w["narrow_bias"][n],
            }
        )
    longest = max(examples.lengths, default=0)
    x = torch.zeros(len(examples), 1 + longest, width)
    padding = torch.ones(len(examples), 1 + longest, dtype=torch.bool)
    for i, (first, end) in enumerate(zip(examples.offsets[:-1], examples.offsets[1:], strict=True)):
        x[i, 0], padding[i, : 1 + end - first] = w["class"], False
        for place, at in enumerate(range(first, end), 1):
            event = torch.from_numpy(examples.vectors[examples.tokens[at]]) @ w["projection"]
            if examples.values is not None and not np.isnan(z := float(examples.values[at])):
                event = event + z * (event * w["value_gain"] + w["value"]) + w["has_value"]
            before = 0 if examples.days is None else -int(examples.days[at])
            angle = torch.from_numpy(2 * np.pi * np.log1p(before) / WAVELENGTHS).float()
            x[i, place] = event + torch.cat([angle.sin(), angle.cos()]) @ w["days"]
    with torch.no_grad():
        for layer in layers:
            x = layer(x, src_key_padding_mask=padding)
        x = nn.functional.layer_norm(x[:, 0], (width,), w["last_norm"], w["last_norm_bias"])
        return torch.softmax((x @ w["head"] + w["head_bias"]).double(), 1)[:, 1].numpy()
