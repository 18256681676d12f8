"""The paper's network: a convolution over a row's tokens, ReLU, the maximum over the row, dropout and one linear
layer to two logits (arXiv 2409.13893). Of vectors in windows, the maximum over each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from conceptbridge.learn.learner import COUNT, Array, Engine, EngineLearner, Saves, Setting
from conceptbridge.learn.learners.network_settings import DESCENT, FAIR, PAPER, ROUNDS, TUNED, WEIGHTS

if TYPE_CHECKING:
    from conceptbridge.learn.input_space import Space
    from conceptbridge.learn.networks.network import Network
    from conceptbridge.learn.search import Run


_RATES = [0.001, 0.003, 0.01, 0.03]
_HEAD_RATES = [0.003, 0.01, 0.03, 0.1]  # of one linear layer


class CNN(EngineLearner["Network"]):
    """``tune-head`` freezes the convolution."""

    name = "cnn"
    sees = "windows"
    settings = {"filters": Setting("filters of the convolution", COUNT, searchable=False), **DESCENT}
    tuning = {"tune-head": TUNED, "tune-all": TUNED, "federated": ROUNDS}
    defaults = {
        "fair": {
            "filters": 100,
            "dropout": 0.5,
            "batch": 32,
            "momentum": 0.9,
            "weight_decay": 0.001,
            "learning_rate": _RATES,
            **FAIR,
            "tune-head": {"learning_rate": _HEAD_RATES},
            "tune-all": {"learning_rate": _RATES},
            "federated": {"rounds": 250, "steps": [4, 10], "learning_rate": [0.01, 0.03], "proximal": 0.0},
        },
        "paper": {
            "learning_rate": 0.001,
            **PAPER,
            "tune-head": {"learning_rate": 0.01},
            "tune-all": {"learning_rate": 0.01},
            "federated": {"rounds": 250, "steps": 4, "learning_rate": 0.01, "proximal": 0.0},
        },
    }
    takes_passes = True
    cap = "max_passes"
    federation = WEIGHTS
    saves = Saves(
        arrays={
            "weights.safetensors": {
                "filters-1": Array(("seeds", "inputs", "filters")),
                "filter_bias-1": Array(("seeds", 1, "filters")),
                "head": Array(("seeds", "maxima", 2)),
                "head_bias": Array(("seeds", 1, 2)),
            }
        }
    )

    @staticmethod
    def engine() -> Engine[Network]:
        from conceptbridge.learn.networks import cnn

        return cnn.ENGINE

    def begin(self, space: Space, runs: Sequence[Run]) -> Network:
        from conceptbridge.learn.networks import cnn

        return cnn.ENGINE.begin(space.width_in_window, space.in_windows, runs)

    def inputs(self, width: int, onehot: bool, description: Mapping[str, Any]) -> int:
        from conceptbridge.learn.places import Windows, width_in_window

        space = description["space"]
        windows = Windows.read(space.get("windows"))
        if space["slots"] is None or windows is None or windows.plain:
            return width
        return width_in_window(width, space["slots"], windows)

    @classmethod
    def check_sizes(cls, sizes: Mapping[str, int]) -> str | None:
        maxima = sizes["filters"] * sizes["windows"]
        return None if sizes["maxima"] == maxima else f"head: is of {sizes['maxima']} maxima, not {maxima}"
