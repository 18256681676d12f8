"""The strategies, one file each; they are found by name (``study.strategies``)."""
