"""Embeddings: texts become vectors, each computed once."""
