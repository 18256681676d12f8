"""A site's vocabulary of concept tokens, and their texts."""
