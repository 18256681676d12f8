"""Read a target's tokens as tokens of a source, by their names and by what they keep company with."""
