"""Files of other sites."""
