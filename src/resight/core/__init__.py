"""Errors, names, settings, seeds, files and devices: the layer that every other one imports."""
