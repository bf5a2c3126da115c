"""Heads over the maps of a trunk that are too large for one file."""
