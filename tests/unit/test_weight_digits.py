"""A saved model has few digits, and predicts within a ten-thousandth what it predicted with all of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from conceptbridge.learn import training
from conceptbridge.learn.registry import learner as find
from conceptbridge.learn.weight_digits import BITS, rounded
from made_arms import train_local
from test_arms import CNN, CONCEPTS, LOGISTIC, TRANSFORMER, budget, embedding, site, write_site


@pytest.mark.parametrize(("learner", "settings"), [("logistic", LOGISTIC), ("cnn", CNN), ("transformer", TRANSFORMER)])
@pytest.mark.parametrize("backend", ["onehot", "sentence-transformers"])
def test_weights_have_few_digits_and_predictions_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learner: str, settings: dict[str, Any], backend: str
) -> None:
    here = site(write_site(tmp_path / "riverside", CONCEPTS, seed=1), "riverside", backend != "onehot")
    train_local(here, learner, embedding(backend), budget(settings), tmp_path / "arm")
    monkeypatch.setattr(training, "round_weights", lambda learner, model, *_: model)
    train_local(here, learner, embedding(backend), budget(settings), tmp_path / "full")
    few, full = (
        pq.read_table(tmp_path / name / "predictions.parquet")["probability"].to_numpy() for name in ("arm", "full")
    )
    assert 0 < np.abs(few - full).max() <= 1e-4
    for name in find(learner).saves.arrays:
        arrays = load_file(tmp_path / "arm/models/riverside" / name)
        assert all((rounded(array, BITS[-2]) == array).all() for array in arrays.values())


def test_a_number_is_rounded_to_binary_digits() -> None:
    values = np.array([1.0, -0.7, 3e-5, 0.0, 1000.4], np.float32)
    np.testing.assert_allclose(rounded(values, 8), values, rtol=2**-8)
    assert rounded(values, 8).dtype == np.float32
    assert rounded(np.array([5.3]), 3).tolist() == [5.0]
