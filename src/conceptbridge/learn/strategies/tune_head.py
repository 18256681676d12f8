"""Tune-head: the last part of the source's model goes on training at the target, the rest is frozen."""

from conceptbridge.learn.strategies.tuning import Tuning


class TuneHead(Tuning):
    """The last part of the source's model goes on training at the target, the rest is frozen."""

    name = "tune-head"
    settings_section = "tune-head"
    head_only = True
    label = "{source}'s {model}, head tuned here"
    sentence = "the source's model, its last part tuned on the target's training rows"
