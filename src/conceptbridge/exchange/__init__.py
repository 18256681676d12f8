"""What hospitals that share no disk send each other: models (bundles) and aggregate results, as checked packages."""
