"""Errors, names, settings, seeds, files, devices: known to all, knowing nobody."""
