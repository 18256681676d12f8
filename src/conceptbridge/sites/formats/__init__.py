"""The file formats of an extract, one per file; ``format`` has their names and what each declares."""
