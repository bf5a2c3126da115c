"""Boxes from class labels alone."""
