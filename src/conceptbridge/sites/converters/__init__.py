"""Inputs that are turned into an OMOP CDM extract."""
