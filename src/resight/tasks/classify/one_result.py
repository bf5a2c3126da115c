"""Test figures of one class per picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resight.metrics.accuracy import confused, confusion, macro_averages, topk_wrong, wilson_interval
from resight.metrics.calibration import expected_calibration_error, reliability
from resight.metrics.risk_coverage import risk_coverage
from resight.tasks.classify.result import TestResult

MATRIX = 1000
"""Most classes of a confusion matrix, which grows by their square; "confused" has the same in few numbers."""


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class; None where nothing was counted.

    Attributes:
        n: its pictures.
        error: those that are named otherwise, in percent.
        interval: the 95 % Wilson interval.
        precision: share of right answers where it is named.
        recall: share of its pictures that are named.
    """

    n: int
    error: float | None
    interval: tuple[float, float] | None
    precision: float | None
    recall: float | None

    @classmethod
    def of(cls, n: int, predicted: int, right: int) -> "ClassFigures":
        """Return the figures of a class with n pictures, named so often, so often rightly."""
        return cls(
            n,
            error=100 * (1 - right / n) if n else None,
            interval=wilson_interval(n - right, n) if n else None,
            precision=right / predicted if predicted else None,
            recall=right / n if n else None,
        )


@dataclass(frozen=True)
class Macro:
    """Means over the classes, see `macro_averages`."""

    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Accepted:
    """The risk-coverage curve: its area in percent, and (share accepted, error in %, least p)."""

    area: float
    curve: list[tuple[float, float | None, float]]


@dataclass(frozen=True)
class FiguresOfOne:
    """The figures of a test of one class per picture.

    Attributes:
        multi_label: False.
        top5_error: in percent; None for five classes or fewer.
        per_class: by name.
        macro: means over the classes.
        confusion: counts, a row for each true class; None for more than `MATRIX` classes.
        confused: (true class, class named, how often), wrong answers only, the most frequent first.
        ece: expected calibration error.
        reliability: its table.
        risk_coverage: of the answers that are accepted.
    """

    multi_label: bool
    top5_error: float | None
    per_class: dict[str, ClassFigures]
    macro: Macro
    confusion: list[list[int]] | None
    confused: Sequence[Sequence[int]]
    ece: float
    reliability: list[list[float]]
    risk_coverage: Accepted


class OneClassResult(TestResult):
    """What a test of one class per picture gave; its labels are class numbers, (N,)."""

    def wrong(self) -> Tensor:
        """Return which pictures are not named right, (N,)."""
        return topk_wrong(self.probabilities, self.labels, 1)

    def truth(self) -> Tensor:
        """Return each picture's class, (N,); -1 without one."""
        return self.labels

    def confidence(self) -> Tensor:
        """Return the probability of each answer, (N,)."""
        return self.probabilities.max(1).values

    @staticmethod
    def measure(figures: dict[str, Any]) -> str:
        """Return what the error is called."""
        del figures
        return "test error"

    def _more(self) -> FiguresOfOne:
        """Return the figures of one class per picture."""
        said, classes = self.probabilities.argmax(1), len(self.classes)
        wrong5 = topk_wrong(self.probabilities, self.labels, 5)
        table = reliability(self.probabilities, self.labels)
        counts = [
            torch.bincount(numbers, minlength=classes).tolist()
            for numbers in (self.labels, said, said[said == self.labels])
        ]
        per_class = {
            name: ClassFigures.of(*numbers) for name, *numbers in zip(self.classes, *counts, strict=True)
        }
        few = classes <= MATRIX
        curve = risk_coverage(self.confidence(), self.wrong())
        return FiguresOfOne(
            multi_label=False,
            # Among five classes or fewer the fifth guess is always right: no figure.
            top5_error=100 * float(wrong5.double().mean()) if classes > 5 else None,
            per_class=per_class,
            macro=Macro(*macro_averages([(row.precision, row.recall) for row in per_class.values()])),
            confusion=confusion(said, self.labels, classes).tolist() if few else None,
            confused=confused(said, self.labels),
            ece=expected_calibration_error(table),
            reliability=table.tolist(),
            risk_coverage=Accepted(curve.area, [(p.coverage, p.error, p.threshold) for p in curve.points()]),
        )
