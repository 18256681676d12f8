"""Files for other sites."""
