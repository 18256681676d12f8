"""Carry clinical prediction models between hospitals through the meaning of their concepts."""
