"""A transformer over a row's events, each with its day and its value: the size of GRASP's (2026), and no windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from conceptbridge.learn.learner import COUNT, Array, Engine, EngineLearner, Saves, Setting
from conceptbridge.learn.learners.network_settings import DESCENT, FAIR, PAPER, ROUNDS, TUNED, WEIGHTS

if TYPE_CHECKING:
    from conceptbridge.learn.input_space import Space
    from conceptbridge.learn.networks.event_engine import EventNetwork
    from conceptbridge.learn.search import Run


_VECTOR, _OF_BLOCK = Array(("seeds", "width")), Array(("seeds", "blocks", "width"))


class Transformer(EngineLearner["EventNetwork"]):
    """``tune-head`` freezes all but the last linear layer."""

    name = "transformer"
    sees = "events"
    settings = {
        "width": Setting("width of an event between the layers, a multiple of `heads`", COUNT, searchable=False),
        "blocks": Setting("blocks of self-attention and a feed-forward layer", COUNT, searchable=False),
        "heads": Setting("attention weights of an event per block", COUNT, searchable=False),
        "tokens": Setting(
            "events that are seen of a row, its last ones, in training and prediction", COUNT, searchable=False
        ),
        **{name: setting for name, setting in DESCENT.items() if name != "momentum"},
    }
    tuning = {"tune-head": TUNED, "tune-all": TUNED, "federated": ROUNDS}
    defaults = {
        "fair": {
            "width": 64,
            "blocks": 4,
            "heads": 8,
            "tokens": 512,
            "dropout": 0.1,
            "batch": 64,
            "weight_decay": 0.01,
            "learning_rate": 0.0003,  # by validation loss on seed 71 of the simulator: .276, and .281 with 0.001
            **FAIR,
            "checks_per_pass": 2,
            "patience": 3,
            "tune-head": {"learning_rate": [0.003, 0.03]},
            "tune-all": {"learning_rate": 0.0003},
            "federated": {"rounds": 250, "steps": 10, "learning_rate": 0.0003, "proximal": 0.0},
        },
        "paper": {**PAPER, "tune-head": {"learning_rate": 0.01}, "tune-all": {"learning_rate": 0.0003}},
    }
    takes_passes = True
    cap = "max_passes"
    federation = WEIGHTS
    saves = Saves(
        arrays={
            "weights.safetensors": {
                "projection": Array(("seeds", "inputs", "width")),
                "days": Array(("seeds", "day_code", "width")),
                "class": _VECTOR,
                "value": _VECTOR,
                "value_gain": _VECTOR,
                "has_value": _VECTOR,
                "attention_norm": _OF_BLOCK,
                "attention_norm_bias": _OF_BLOCK,
                "queries_keys_values": Array(("seeds", "blocks", "width", 3, "heads", "size")),
                "queries_keys_values_bias": Array(("seeds", "blocks", 3, "heads", "size")),
                "gathered": Array(("seeds", "blocks", "width", "width")),
                "gathered_bias": _OF_BLOCK,
                "wide_norm": _OF_BLOCK,
                "wide_norm_bias": _OF_BLOCK,
                "wide": Array(("seeds", "blocks", "width", "hidden")),
                "wide_bias": Array(("seeds", "blocks", "hidden")),
                "narrow": Array(("seeds", "blocks", "hidden", "width")),
                "narrow_bias": _OF_BLOCK,
                "last_norm": _VECTOR,
                "last_norm_bias": _VECTOR,
                "head": Array(("seeds", "width", 2)),
                "head_bias": Array(("seeds", 2)),
            }
        },
        fields={"tokens": {"type": "integer", "minimum": 1}},
    )

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> str | None:
        width, heads = settings["width"], settings["heads"]
        return f"a width of {width} cannot be shared by {heads} heads; use a multiple" if width % heads else None

    @classmethod
    def check_sizes(cls, sizes: Mapping[str, int]) -> str | None:
        if sizes["heads"] * sizes["size"] != sizes["width"]:
            return f"{sizes['heads']} heads of {sizes['size']} do not make the width of {sizes['width']}"
        return None

    @staticmethod
    def engine() -> Engine[EventNetwork]:
        from conceptbridge.learn.networks import event_engine

        return event_engine

    def begin(self, space: Space, runs: Sequence[Run]) -> EventNetwork:
        from conceptbridge.learn.networks import event_engine

        return event_engine.begin(space.width, runs)
