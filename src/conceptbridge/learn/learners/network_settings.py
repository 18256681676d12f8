"""What all networks are set with that are trained by gradient descent."""

from conceptbridge.learn.learner import BELOW_ONE, COUNT, NOT_NEGATIVE, POSITIVE, Setting

_WHOLE = {"type": "integer", "minimum": 0}

_DROPOUT = Setting(
    "share of the features that is dropped in training, of the pooled ones, or of what each layer adds to an event",
    BELOW_ONE,
)
_WEIGHT_DECAY = Setting(
    "L2 penalty of the weights; of the transformer, the share of the learning rate by which a step shrinks the "
    "matrices",
    NOT_NEGATIVE,
)
_LEARNING_RATE = Setting("length of a step of the gradient descent", POSITIVE)

DESCENT = {
    "dropout": _DROPOUT,
    "batch": Setting("rows per step", COUNT, searchable=False),
    "momentum": Setting("Nesterov momentum of the gradient descent", BELOW_ONE),
    "weight_decay": _WEIGHT_DECAY,
    "learning_rate": _LEARNING_RATE,
    "min_pass_steps": Setting(
        "a pass takes each training row once, in at least this many steps, so the rows of a small site several times",
        COUNT,
        False,
    ),
    "max_pass_steps": Setting("a pass has at most this many steps; 0 is no limit", _WHOLE, False),
    "checks_per_pass": Setting("checks of the validation loss per pass", COUNT, searchable=False),
    "patience": Setting(
        "passes without a lower validation loss after which training stops; if not below `max_passes`, it never does",
        COUNT,
        searchable=False,
    ),
}
TUNED = {"dropout": _DROPOUT, "weight_decay": _WEIGHT_DECAY, "learning_rate": _LEARNING_RATE}

#: of federated training; the learning rate is that of a site's steps
ROUNDS = {
    "rounds": Setting(
        "rounds, of which the one with the lowest validation loss over all sites is kept", COUNT, searchable=False
    ),
    "steps": Setting("steps that each site takes in a round", COUNT),
    "learning_rate": _LEARNING_RATE,
    "proximal": Setting(
        "pull of a site's weights to those that its round began with (FedProx); 0 is none", NOT_NEGATIVE
    ),
}
WEIGHTS = "conceptbridge.learn.federated.weights"

#: defaults of the presets: validation loss decides how long a run trains
FAIR = {"min_pass_steps": 100, "max_pass_steps": 0, "checks_per_pass": 4, "patience": 6}
#: the paper's "epochs": 100 steps each, however many rows there are, and the whole of them
PAPER = {"min_pass_steps": 100, "max_pass_steps": 100, "checks_per_pass": 1, "patience": 50}
