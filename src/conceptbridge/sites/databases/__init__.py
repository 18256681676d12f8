"""Kinds of databases that a CDM is copied from, one per file; ``database`` has their names and what each declares."""
