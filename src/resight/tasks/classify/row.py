"""What `resight predict` says besides the first classes; without torch, so exported files say the same."""

from collections.abc import Callable, Sequence
from typing import Any

from resight.models.activations import SIGMOID, SOFTMAX

ANSWERED = 0.5
"""The probability from which a class counts as answered, where a picture has any number of them."""

Labels = Callable[[Sequence[str], Sequence[float]], dict[str, Any]]
"""From the names of the classes and the probability of each to further keys of the row."""


def labels_of_one(classes: Sequence[str], probabilities: Sequence[float]) -> dict[str, Any]:
    """Return nothing: the first class is the answer."""
    del classes, probabilities
    return {}


def labels_of_any(classes: Sequence[str], probabilities: Sequence[float]) -> dict[str, Any]:
    """Return all classes that are answered."""
    pairs = zip(classes, probabilities, strict=True)
    return {"labels": [name for name, probability in pairs if probability >= ANSWERED]}


LABELS: dict[str, Labels] = {SOFTMAX: labels_of_one, SIGMOID: labels_of_any}
"""By what turns the logits into probabilities."""
