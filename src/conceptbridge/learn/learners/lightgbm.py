"""LightGBM on a record's tokens, one-hot, or on the mean and the maximum of their vectors, and how many they are.

Settings have LightGBM's own names where they are LightGBM's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from conceptbridge.learn.learner import BELOW_ONE, COUNT, POSITIVE, Engine, EngineLearner, Saves, Setting

if TYPE_CHECKING:
    from conceptbridge.learn.forest import Forest


_TWO_OR_MORE = {"type": "integer", "minimum": 2}
_PART_OR_AUTO = {
    "title": "`auto`, or a number above 0, at most 1",
    "type": ["number", "string"],
    "exclusiveMinimum": 0,
    "maximum": 1,
    "pattern": "^auto$",
}
_PART = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
_TREES = {
    "num_leaves": Setting("leaves per tree", _TWO_OR_MORE),
    "min_data_in_leaf": Setting("training rows per leaf, at least", _TWO_OR_MORE),
    "learning_rate": Setting("shrinkage of each tree", POSITIVE),
    "num_iterations": Setting(
        "the most trees; validation loss ends a run, in most cases long before; `tune-all` may add as many again",
        COUNT,
        searchable=False,
    ),
}


class LightGBM(EngineLearner["Forest"]):
    """``tune-head`` refits the leaf values of the source's trees, ``tune-all`` adds trees."""

    name = "lightgbm"
    sees = "windows"
    cap = "num_iterations"
    not_federated = "trees cannot be averaged"
    settings = {
        "counts": Setting("whether the number of tokens is a feature", {"type": "boolean"}, searchable=False),
        **_TREES,
        "feature_fraction": Setting(
            "share of the features that a tree may use, drawn at random; `auto` is all one-hot columns, 128 of "
            "vectors' features",
            _PART_OR_AUTO,
            searchable=False,
        ),
        "bagging_fraction": Setting("share of the rows that each tree sees", _PART),
        "early_stopping_round": Setting(
            "trees without a lower validation loss after which training stops; if not below `num_iterations`, it "
            "never does",
            COUNT,
            searchable=False,
        ),
    }
    tuning = {
        "tune-head": {"refit_decay": Setting("weight of the source's leaf values", BELOW_ONE, extends=False)},
        "tune-all": _TREES,
    }
    defaults = {
        "fair": {
            "counts": True,
            "num_leaves": [4, 8, 16],
            "min_data_in_leaf": 20,
            "learning_rate": 0.05,
            "feature_fraction": "auto",
            "bagging_fraction": 0.8,
            "num_iterations": 2000,
            "early_stopping_round": 50,
            # from the source's leaf values to none of them: the range has no further step
            "tune-head": {"refit_decay": [0.0, 0.5, 0.9, 0.99]},
            "tune-all": {"num_leaves": [2, 4, 8, 16]},
        },
        "paper": {
            "num_leaves": 31,
            "learning_rate": 0.1,
            "bagging_fraction": 1.0,
            "num_iterations": 100,
            "early_stopping_round": 100,
            "tune-head": {"refit_decay": 0.9},
            "tune-all": {},
        },
    }
    saves = Saves(lightgbm_text="seed-{seed}.txt", fields={"counts": {"type": "boolean"}})

    @staticmethod
    def engine() -> Engine[Forest]:
        from conceptbridge.learn import boosted_trees

        return boosted_trees

    def inputs(self, width: int, onehot: bool, description: Mapping[str, Any]) -> int:
        """Of one-hot vectors whether a token is there, of others mean and maximum; with ``counts`` how many tokens."""
        return (width if onehot else 2 * width) + bool(description["counts"])
