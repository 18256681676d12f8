"""Logistic regression with L1 and L2 penalties: on which tokens a row has (one-hot: the OHDSI baseline), or on the mean
and maximum of their vectors (a linear probe)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from conceptbridge.learn.learner import COUNT, SHARE, Array, Engine, EngineLearner, Saves, Setting

if TYPE_CHECKING:
    from conceptbridge.learn.penalised_regression import Regression


_L1_SHARE = Setting("share of the penalty that is L1; the rest is L2", SHARE, extends=False)
_ABOVE_ZERO = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
_PATH = {
    "penalty": Setting(
        "the smallest penalty tried, as a share of the largest useful one (**Length of a run**, below)", _ABOVE_ZERO
    ),
    "penalties": Setting(
        "how many penalties are tried, from the largest useful one down, evenly on the log scale; 1 is `penalty` alone",
        COUNT,
        searchable=False,
    ),
    "patience": Setting(
        "penalties without a lower validation loss after which no smaller one is tried, once half of them are",
        COUNT,
        searchable=False,
    ),
    "l1_share": _L1_SHARE,
}
#: ten a decade; and one alone
_FINE = {"penalty": 1e-5, "penalties": 51, "patience": 5}
_ONE = {"penalties": 1, "patience": 1}


class Logistic(EngineLearner["Regression"]):
    """``tune-head`` makes sparse corrections to the source's coefficients, ``tune-all`` small ones."""

    name = "logistic"
    sees = "windows"
    settings = _PATH
    tuning = {"tune-head": _PATH, "tune-all": _PATH}
    cap = "penalty"
    federation = "conceptbridge.learn.federated.sums"
    defaults = {
        "fair": {
            **_FINE,
            "l1_share": 1.0,
            "tune-head": {**_FINE, "l1_share": 1.0},
            "tune-all": {"penalty": 1e-8, "penalties": 41, "patience": 4, "l1_share": 0.0},
        },
        "paper": {
            **_ONE,
            "penalty": 0.1,
            "tune-head": {**_ONE, "penalty": 0.1, "l1_share": 1.0},
            "tune-all": {**_ONE, "penalty": 0.001, "l1_share": 0.0},
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
