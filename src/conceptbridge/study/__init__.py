"""The study: its config, embeddings, learners and strategies."""
