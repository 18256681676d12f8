"""Attention over a row's set of tokens: each token's share of the row is learned, head by head (multi-head
attention pooling: Lee et al. 2019, Set Transformer, section 3.2; bounded scores as in Ilse et al. 2018, section 2.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from conceptbridge.learn.learner import COUNT, Array, Engine, EngineLearner, Saves, Setting
from conceptbridge.learn.learners.network_settings import DESCENT, FAIR, PAPER, TUNED

if TYPE_CHECKING:
    from conceptbridge.learn.networks.network import Network


_RATES = [0.003, 0.01, 0.03, 0.1]


class Attention(EngineLearner["Network"]):
    """``tune-head`` freezes all up to the pooled values."""

    name = "attention"
    settings = {
        "units": Setting("width of features and values", COUNT, searchable=False),
        "heads": Setting("shares that a token has", COUNT, searchable=False),
        **DESCENT,
    }
    tuning = {"tune-head": TUNED, "tune-all": TUNED}
    defaults = {
        "fair": {
            "units": 64,
            "heads": 4,
            "dropout": 0.3,
            "batch": 32,
            "momentum": 0.9,
            "weight_decay": 0.001,
            "learning_rate": _RATES,
            **FAIR,
            "tune-head": {"learning_rate": _RATES},
            "tune-all": {"learning_rate": _RATES},
        },
        "paper": {
            "learning_rate": 0.003,
            **PAPER,
            "tune-head": {"learning_rate": 0.01},
            "tune-all": {"learning_rate": 0.01},
        },
    }
    takes_passes = True
    cap = "max_passes"
    saves = Saves(
        arrays={
            "weights.safetensors": {
                "features": Array(("seeds", "inputs", "units")),
                "features_bias": Array(("seeds", 1, "units")),
                "scores": Array(("seeds", "units", "heads")),
                "scores_bias": Array(("seeds", 1, "heads")),
                "values": Array(("seeds", "units", "units")),
                "values_bias": Array(("seeds", 1, "units")),
                "head_hidden": Array(("seeds", "units", "units")),
                "head_hidden_bias": Array(("seeds", 1, "units")),
                "head": Array(("seeds", "units", 2)),
                "head_bias": Array(("seeds", 1, 2)),
            }
        }
    )

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> str | None:
        units, heads = settings["units"], settings["heads"]
        return f"{units} units cannot be shared by {heads} heads; use a multiple" if units % heads else None

    @classmethod
    def check_sizes(cls, sizes: Mapping[str, int]) -> str | None:
        return cls.check(sizes)

    @staticmethod
    def engine() -> Engine[Network]:
        from conceptbridge.learn.networks import attention

        return attention.ENGINE
