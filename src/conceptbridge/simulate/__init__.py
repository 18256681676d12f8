"""The built-in network: a simulator of five hospitals' OMOP CDM extracts (docs/network.md)."""

from conceptbridge.simulate.network import write_extract

__all__ = ["write_extract"]
