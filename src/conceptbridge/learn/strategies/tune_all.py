"""Tune-all: the whole of the source's model goes on training at the target."""

from conceptbridge.learn.strategies.tuning import Tuning


class TuneAll(Tuning):
    """The whole of the source's model goes on training at the target."""

    name = "tune-all"
    settings_section = "tune-all"
    head_only = False
    label = "{source}'s {model}, all tuned here"
    sentence = "the source's model, all of it tuned on the target's training rows"
