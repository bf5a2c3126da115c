"""Test figures where a picture may have several classes."""

from typing import Any

import torch
from torch import Tensor

from resight.metrics.accuracy import wilson_interval
from resight.metrics.multi_label import (
    average_precision,
    f1,
    f1_counts,
    mean_average_precision,
    mean_average_precision_interval,
)

ANSWERED = 0.5
"""The probability from which a class counts as answered."""


def figures_of_several(probabilities: Tensor, labels: Tensor, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return what takes the place of a single class's figures, as plain JSON types.

    Args:
        probabilities: of each class by itself, (N, classes) float64.
        labels: (N, classes), 1 where a picture has a class.
        classes: names.

    Returns:
        "map" and "map_interval" in percent (see `mean_average_precision`), "f1_micro" and "f1_macro" in
        [0, 1], "subset_error" in percent (pictures with any class answered wrongly) and "per_class": of each
        class the pictures that have it, how often its yes or no is wrong, in percent with the interval,
        "precision", "recall" and "f1" of its answers, and its "average_precision" in percent.
    """
    answered, count = probabilities >= ANSWERED, len(labels)
    numbers = torch.stack(f1_counts(answered, labels), 1)
    precisions = average_precision(probabilities, labels).tolist()
    per_class = {}
    for name, (right, said, true), area in zip(classes, numbers.tolist(), precisions, strict=True):
        wrong = said + true - 2 * right
        per_class[name] = {
            "n": true,
            "error": 100 * wrong / count,
            "interval": list(wilson_interval(wrong, count)),
            "precision": right / said if said else None,
            "recall": right / true if true else None,
            "f1": f1(right, said, true),
            "average_precision": 100 * area if true else None,
        }
    of_classes = [row["f1"] for row in per_class.values() if row["f1"] is not None]
    interval = mean_average_precision_interval(probabilities, labels)
    return {
        "multi_label": True,
        "map": mean_average_precision(probabilities, labels),
        "map_interval": list(interval) if interval else None,
        "f1_micro": f1(*numbers.sum(0).tolist()),
        "f1_macro": sum(of_classes) / len(of_classes) if of_classes else None,
        "subset_error": 100 * float((answered != (labels > 0)).any(1).double().mean()),
        "per_class": per_class,
    }
