"""The library's own backends, one per file; ``conceptbridge.study.backends`` has their names and what each declares."""
