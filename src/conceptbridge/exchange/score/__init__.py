"""A list of patients, scored with another site's model."""
