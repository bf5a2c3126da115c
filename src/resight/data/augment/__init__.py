"""Augmentation: every operation by name, each draw a function of (seed, epoch, sample, operation)."""
