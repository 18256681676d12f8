"""Sites: any OMOP CDM extract becomes typed Parquet tables."""
