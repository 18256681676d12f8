"""Packed weights change no vector, and where they would, a model runs without them."""

import logging
import platform
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.activations import GELUActivation

from conceptbridge.embed import models, packed_linear
from conceptbridge.embed.compute import encode_all, load_encoder
from conceptbridge.embed.packed_linear import PackedLinear, has_bfloat16, is_faster_here, pack
from test_embed_encoders import alone, cosines
from test_embed_models import spec
from tiny_model import ARCHITECTURES, TEXTS, save_model

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


AMD = "vendor_id\t: AuthenticAMD\n"


@pytest.mark.parametrize(
    ("told", "capability", "mkl", "faster"),
    [
        (AMD, "AVX512", True, True),
        (AMD, "AVX2", True, False),
        ("vendor_id\t: GenuineIntel\n", "AVX512", True, False),
        ("CPU implementer\t: 0x41\n", "DEFAULT", False, False),
        (AMD, "AVX512", False, False),
    ],
    ids=["AMD with AVX512", "AMD with AVX2", "Intel", "ARM", "AMD without MKL"],
)
def test_weights_are_packed_where_mkl_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, capability: str, mkl: bool, faster: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(packed_linear, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert is_faster_here() is faster


@pytest.mark.parametrize(
    ("told", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 clzero\n", True),
        ("flags\t\t: fpu avx512f amx_bf16\n", True),
        ("Features\t: fp asimd i8mm bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512bw\n", False),
    ],
    ids=["AVX512", "AMX", "ARM", "none"],
)
def test_what_a_processor_says_of_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, has: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(packed_linear, "CPU_INFO", tmp_path / "cpuinfo")
    assert has_bfloat16() is has


def test_without_bfloat16_products_are_float32s_of_rounded_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_model(tmp_path)
    made: dict[bool, Any] = {}
    for native in (True, False):
        monkeypatch.setattr(models, "has_bfloat16", lambda native=native: native)
        encoder = load_encoder(spec(folder, dtype="bfloat16"))
        assert isinstance(encoder, models.LocalModel) and encoder.autocast is native
        made[native] = encode_all(encoder, TEXTS)
    assert cosines(made[True], made[False]).min() >= 0.9999
    assert cosines(made[False], alone(folder, TEXTS, "mean")).min() < 1 - 1e-7


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's memory")
def test_a_batch_gets_the_memory_that_the_one_before_it_freed(tmp_path: Path) -> None:
    load_encoder(spec(save_model(tmp_path)))

    def pages() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(5 * 2**20) for _ in range(4)]
        del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert min(pages() for _ in range(8)) < 2_000  # of 20,480


@needs_onednn
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_packed_model_gives_the_same_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    packed: list[bool] = []
    original = models._packed
    monkeypatch.setattr(models, "is_faster_here", lambda: True)
    monkeypatch.setattr(models, "_packed", lambda *given: packed.append(original(*given)) or packed[-1])
    folder = save_model(tmp_path, kind)
    assert (
        cosines(encode_all(load_encoder(spec(folder), threads=2), TEXTS), alone(folder, TEXTS, "mean")).min()
        >= 0.999999
    )
    assert packed == [True]


@needs_onednn
def test_every_linear_is_packed_and_does_the_gelu_behind_it() -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.intermediate_act_fn = torch.nn.Linear(16, 24), GELUActivation()
            self.out = torch.nn.Linear(24, 8, bias=False)

        def forward(self, features: torch.Tensor) -> Any:
            return self.out(self.intermediate_act_fn(self.dense(features)))

    layer, features = Layer().eval(), 3 * torch.randn(2, 5, 16)
    with torch.no_grad():
        expected = layer(features)
        pack(layer, 10)
        assert isinstance(layer.dense, PackedLinear) and layer.dense.activation == "gelu"
        assert isinstance(layer.out, PackedLinear) and layer.out.activation == "none"
        torch.testing.assert_close(layer(features), expected, rtol=1e-5, atol=1e-6)


@needs_onednn
@pytest.mark.parametrize("fault", ["raises", "other vectors"])
def test_a_model_that_packed_weights_would_change_runs_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    def broken(self: PackedLinear, features: torch.Tensor) -> torch.Tensor:
        if fault == "raises":
            raise RuntimeError("no such layout")
        return features.new_ones(*features.shape[:-1], len(self.weight))

    monkeypatch.setattr(models, "is_faster_here", lambda: True)
    monkeypatch.setattr(PackedLinear, "forward", broken)
    folder = save_model(tmp_path)
    with caplog.at_level(logging.INFO):
        vectors = encode_all(load_encoder(spec(folder)), TEXTS)
    assert cosines(vectors, alone(folder, TEXTS, "mean")).min() >= 0.999999
    assert "not with packed weights, which would change its vectors" in caplog.text


@needs_onednn
def test_bfloat16_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "is_faster_here", lambda: True)
    monkeypatch.setattr(models, "has_bfloat16", lambda: True)
    monkeypatch.setattr(models, "_packed", lambda *given: pytest.fail("packed"))
    assert np.isfinite(encode_all(load_encoder(spec(save_model(tmp_path), dtype="bfloat16")), TEXTS)).all()
