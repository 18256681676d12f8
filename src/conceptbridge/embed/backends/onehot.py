"""One-hot: a column per token of the source. It knows no text, so a token that the source never saw is missing."""

from conceptbridge.study.backends import Backend


class OneHot(Backend):
    """A control: codes without the meaning of their names."""

    name = "onehot"
    vectors = "none"
    control = True
