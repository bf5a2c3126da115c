"""Arithmetic on heat maps."""
