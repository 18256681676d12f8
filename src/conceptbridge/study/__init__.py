"""The study: its config, its embeddings."""
