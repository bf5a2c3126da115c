"""Test figures of any number of classes per picture: multi-label."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resight.core.figures import Inline
from resight.metrics.accuracy import wilson_interval
from resight.metrics.calibration import expected_calibration_error, reliability
from resight.metrics.multi_label import (
    average_precision,
    f1,
    f1_counts,
    mean_average_precision,
    mean_average_precision_interval,
    one_wrong,
)
from resight.tasks.classify.result import TestResult
from resight.tasks.classify.row import ANSWERED


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


@dataclass(frozen=True)
class FiguresOfSeveral:
    """The figures of a multi-label test; the keys that need one class per picture are empty."""

    several: Inline[SeveralFigures]
    top5_error: None
    macro: None
    confusion: None
    confused: tuple[()]
    ece: float
    reliability: list[list[float]]
    risk_coverage: None


class AnyClassesResult(TestResult):
    """What a test of any number of classes per picture gave; its labels are 0 and 1, (N, classes)."""

    def wrong(self) -> Tensor:
        """Return which pictures are not named right, (N,), see `one_wrong`."""
        return one_wrong(self.probabilities, self.labels, ANSWERED)

    def truth(self) -> Tensor:
        """Return of each picture's classes that which was thought least likely, (N,); -1 without any."""
        least = self.probabilities.masked_fill(self.labels == 0, math.inf).argmin(1)
        return torch.where((self.labels > 0).any(1), least, -1)

    def confidence(self) -> None:
        """Return None: a picture has as many confidences as classes."""

    @staticmethod
    def measure(figures: dict[str, Any]) -> str:
        """Return what the error is called, behind the mean average precision."""
        if figures["map"] is None:
            return "one-error"
        low, high = figures["map_interval"]
        interval = f"95 % interval {low:.2f} to {high:.2f}"
        return f"mean average precision {figures['map']:.2f} % ({interval}), one-error"

    def _more(self) -> FiguresOfSeveral:
        """Return the multi-label figures; calibration counts the yes and no of every class."""
        yes = self.probabilities.flatten()
        table = reliability(torch.stack([1 - yes, yes], 1), self.labels.flatten().long())
        return FiguresOfSeveral(
            several=figures_of_several(self.probabilities, self.labels, self.classes),
            top5_error=None,
            macro=None,  # see "f1_macro"
            confusion=None,
            confused=(),
            ece=expected_calibration_error(table),
            reliability=table.tolist(),
            risk_coverage=None,  # a picture has as many confidences as classes
        )


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
