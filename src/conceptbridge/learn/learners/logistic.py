"""Logistic regression with L1 and L2 penalties: on which tokens a row has (one-hot: the OHDSI baseline), or on the mean
and maximum of their vectors (a linear probe)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from conceptbridge.learn.learner import POSITIVE, SHARE, Array, Engine, EngineLearner, Saves, Setting

if TYPE_CHECKING:
    from conceptbridge.learn.penalised_regression import Regression


_PENALTIES = [0.001, 0.003, 0.01, 0.03]
_L1_SHARE = Setting("share of the penalty that is L1; the rest is L2", SHARE)
_TUNED = {"penalty": Setting("of the corrections to the source's coefficients", POSITIVE), "l1_share": _L1_SHARE}


class Logistic(EngineLearner["Regression"]):
    """``tune-head`` makes sparse corrections to the source's coefficients, ``tune-all`` small ones."""

    name = "logistic"
    settings = {"penalty": Setting("of the mean cross-entropy", POSITIVE), "l1_share": _L1_SHARE}
    tuning = {"tune-head": _TUNED, "tune-all": _TUNED}
    defaults = {
        "fair": {
            "penalty": _PENALTIES,
            "l1_share": 1.0,
            "tune-head": {"penalty": _PENALTIES, "l1_share": 1.0},
            "tune-all": {"penalty": [0.001, 0.01, 0.1, 1.0], "l1_share": 0.0},
        },
        "paper": {
            "penalty": 0.003,
            "tune-head": {"penalty": 0.003, "l1_share": 1.0},
            "tune-all": {"penalty": 0.01, "l1_share": 0.0},
        },
    }
    saves = Saves(
        arrays={
            "coefficients.safetensors": {
                "coefficients": Array(("seeds", "inputs"), "F64"),
                "intercepts": Array(("seeds",), "F64"),
            }
        }
    )

    @staticmethod
    def engine() -> Engine[Regression]:
        from conceptbridge.learn import penalised_regression

        return penalised_regression

    def inputs(self, width: int, onehot: bool, description: Mapping[str, Any]) -> int:
        """Of one-hot vectors whether a token is there; of others mean and maximum."""
        return width if onehot else 2 * width
