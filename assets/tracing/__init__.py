"""A work order walked back to the bytes that caused it."""
