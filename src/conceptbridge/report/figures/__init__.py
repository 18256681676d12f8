"""Figures: ``registry`` lists them, ``draw`` draws them, the other modules hold one family of figures each."""
