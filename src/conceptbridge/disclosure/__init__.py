"""What may be shown of counts."""
