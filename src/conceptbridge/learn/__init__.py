"""Learners, and the strategies by which a model reaches its target."""
