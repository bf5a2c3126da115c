"""Accuracy for equal CPU seconds compared with peers that start from the same weights."""
