"""Which matrix products suit this processor, and products by oneDNN with weights in its own layout.

PyTorch gives float32 products on x86 to MKL, which leaves a part of AVX512 unused on an AMD processor
(docs/embeddings.md, Speed). PyTorch's packages for x86 have oneDNN, too, whose kernels depend on what a processor can
do and not on who made it. The operators below are those that torch.compile puts into a model.

The choice follows from the kind of processor alone, not from a clock: the same kind gives the same bits.
"""

import platform
from pathlib import Path

import torch
from transformers.activations import GELUActivation

CPU_INFO = Path("/proc/cpuinfo")


def is_faster_here() -> bool:
    """Whether float32 products go to MKL on a processor by AMD with AVX512; with AVX2 alone MKL is the faster one."""
    mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    avx512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return "AuthenticAMD" in _processor() and avx512 and mkl and onednn


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (x86 and ARM name it so); else its products are very slow."""
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(_processor().split())


def _processor() -> str:
    return CPU_INFO.read_text() if CPU_INFO.exists() else platform.processor()


class PackedLinear(torch.nn.Module):
    """An ``nn.Linear`` in float32 with packed weights, for batches of about ``rows`` rows; it cannot be trained.

    ``activation`` is done to each block of the result while it is in the cache: ``none`` or ``gelu`` (the exact one).
    """

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: torch.nn.Linear, rows: int) -> None:
        super().__init__()
        packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous(), rows)
        self.register_buffer("weight", packed, persistent=False)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach(), persistent=False)
        self.activation = "none"

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (..., outputs), from ``features`` of shape (..., inputs)."""
        algorithm = "none" if self.activation == "gelu" else ""  # none: by erf, as in GELU's definition, not by tanh
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            features, self.weight, self.bias, self.activation, [], algorithm
        )
        return result


def pack(model: torch.nn.Module, rows: int) -> None:
    """Replace every ``nn.Linear`` of ``model``, and let the one before a GELU do that, too.

    A layer of BERT and its kin calls the two ``dense`` and ``intermediate_act_fn``. Subclasses of ``nn.Linear`` stay:
    what holds them may read their weights itself.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and child.weight.dtype == torch.float32:
                setattr(parent, name, PackedLinear(child, rows))
        dense, activation = getattr(parent, "dense", None), getattr(parent, "intermediate_act_fn", None)
        if isinstance(dense, PackedLinear) and type(activation) is GELUActivation:
            dense.activation = "gelu"
            parent.intermediate_act_fn = torch.nn.Identity()
