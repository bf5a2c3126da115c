"""What turns a classifier's logits into probabilities, and how files say it; without torch."""

from collections.abc import Mapping
from typing import Any

SOFTMAX, SIGMOID = "softmax", "sigmoid"
"""Of a picture with one class: all probabilities add up to 1. With any number of classes: each for itself."""
KEY = "multi_label"


def said_of(activation: str) -> dict[str, bool]:
    """Return what the JSON of model files, exports and pages says of an activation."""
    return {KEY: activation == SIGMOID}


def activation_in(document: Mapping[str, Any]) -> str:
    """Return the activation that `said_of` wrote; softmax in files that are older than it."""
    return SIGMOID if document.get(KEY) else SOFTMAX
