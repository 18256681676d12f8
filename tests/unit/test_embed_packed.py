"""Packed weights change no vector, and where they would, a model runs without them."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.activations import GELUActivation

from conceptbridge.embed import models, packed_linear
from conceptbridge.embed.compute import encode_all, load_encoder
from conceptbridge.embed.packed_linear import PackedLinear, is_faster_here, pack
from test_embed_encoders import alone, cosines
from test_embed_models import spec
from tiny_model import ARCHITECTURES, TEXTS, save_model

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


@pytest.mark.parametrize(
    ("told", "mkl", "faster"),
    [
        ("vendor_id\t: AuthenticAMD\n", True, True),
        ("vendor_id\t: GenuineIntel\n", True, False),
        ("CPU implementer\t: 0x41\n", False, False),
        ("vendor_id\t: AuthenticAMD\n", False, False),
    ],
    ids=["AMD", "Intel", "ARM", "AMD without MKL"],
)
def test_weights_are_packed_where_mkl_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, mkl: bool, faster: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(packed_linear, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert is_faster_here() is faster


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
    monkeypatch.setattr(models, "_packed", lambda *given: pytest.fail("packed"))
    assert np.isfinite(encode_all(load_encoder(spec(save_model(tmp_path), dtype="bfloat16")), TEXTS)).all()
