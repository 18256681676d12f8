"""The check of all that leaves a site."""
