"""Test figures of multi-label answers."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class LabelFigures:
    """The yes and no to one class, of multi-label answers.

    Attributes:
        n: pictures that have it.
        error: wrong answers, in percent.
        interval: their 95 % Wilson interval.
        precision: right answers among those of yes, in [0, 1]; None without any.
        recall: right answers among pictures that have it; None without any.
        f1: of both.
        average_precision: in percent.
    """

    n: int
    error: float
    interval: tuple[float, float]
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


@dataclass(frozen=True)
class SeveralFigures:
    """What takes the place of a single class's figures.

    Attributes:
        map: mean average precision in percent, see `mean_average_precision`.
        map_interval: its 95 % interval.
        f1_micro: over all answers, in [0, 1].
        f1_macro: mean over the classes.
        subset_error: pictures with any class answered wrongly, in percent.
        per_class: by name.
    """

    multi_label: bool
    map: float | None
    map_interval: tuple[float, float] | None
    f1_micro: float | None
    f1_macro: float | None
    subset_error: float
    per_class: dict[str, LabelFigures]


def figures_of_several(probabilities: Tensor, labels: Tensor, classes: tuple[str, ...]) -> SeveralFigures:
    """Return the figures of multi-label answers.

    Args:
        probabilities: of each class by itself, (N, classes) float64.
        labels: (N, classes), 1 where a picture has a class.
        classes: names.
    """
    answered, count = probabilities >= ANSWERED, len(labels)
    numbers = torch.stack(f1_counts(answered, labels), 1)
    precisions = average_precision(probabilities, labels).tolist()
    per_class = {}
    for name, (right, said, true), area in zip(classes, numbers.tolist(), precisions, strict=True):
        wrong = said + true - 2 * right
        per_class[name] = LabelFigures(
            n=true,
            error=100 * wrong / count,
            interval=wilson_interval(wrong, count),
            precision=right / said if said else None,
            recall=right / true if true else None,
            f1=f1(right, said, true),
            average_precision=100 * area if true else None,
        )
    of_classes = [row.f1 for row in per_class.values() if row.f1 is not None]
    return SeveralFigures(
        multi_label=True,
        map=mean_average_precision(probabilities, labels),
        map_interval=mean_average_precision_interval(probabilities, labels),
        f1_micro=f1(*numbers.sum(0).tolist()),
        f1_macro=sum(of_classes) / len(of_classes) if of_classes else None,
        subset_error=100 * float((answered != (labels > 0)).any(1).double().mean()),
        per_class=per_class,
    )
