"""The built-in network: a simulator of three hospitals' OMOP CDM extracts (docs/network.md)."""
