"""Tasks: who is predicted, what is known of them, and what came of it."""
