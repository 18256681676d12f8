"""What all networks are set with that are trained by gradient descent."""

from conceptbridge.learn.learner import BELOW_ONE, COUNT, NOT_NEGATIVE, POSITIVE, Setting

_DROPOUT = Setting("share of the pooled features that is dropped in training", BELOW_ONE)
_WEIGHT_DECAY = Setting("L2 penalty of the weights", NOT_NEGATIVE)
_LEARNING_RATE = Setting("length of a step", POSITIVE)

DESCENT = {
    "dropout": _DROPOUT,
    "batch": Setting("rows per step", COUNT, searchable=False),
    "momentum": Setting("Nesterov momentum", BELOW_ONE),
    "weight_decay": _WEIGHT_DECAY,
    "learning_rate": _LEARNING_RATE,
    "check_every": Setting("steps between two looks at the validation loss", COUNT, searchable=False),
    "patience": Setting("steps without a lower validation loss after which a run ends", COUNT, searchable=False),
}
TUNED = {"dropout": _DROPOUT, "weight_decay": _WEIGHT_DECAY, "learning_rate": _LEARNING_RATE}
