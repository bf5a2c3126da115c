"""Data sets: checks, packing, and pictures of their augmentation."""
