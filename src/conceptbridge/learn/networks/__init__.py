"""The networks, compiled."""
