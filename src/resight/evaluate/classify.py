"""Test figures of a classifier from its probabilities."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from resight.core.errors import Fault, PictureError
from resight.core.figures import Inline, to_json
from resight.evaluate.gathering import gather
from resight.evaluate.multi_label import ANSWERED, SeveralFigures, figures_of_several
from resight.metrics.accuracy import confused, confusion, macro_averages, topk_wrong, wilson_interval
from resight.metrics.calibration import expected_calibration_error, reliability
from resight.metrics.multi_label import one_wrong
from resight.metrics.risk_coverage import RiskCoverage, risk_coverage

MATRIX = 1000
"""Most classes of a confusion matrix, which grows by their square; "confused" has the same in few numbers."""


@dataclass(frozen=True)
class Figures:
    """The figures of every classifier; errors and intervals in percent.

    Attributes:
        n: pictures.
        wrong: of them.
        top1_error: share of wrong ones.
        top1_interval: its 95 % Wilson interval.
        classes: names.
        skipped: pictures that could not be read and do not count.
    """

    n: int
    wrong: int
    top1_error: float
    top1_interval: tuple[float, float]
    classes: Sequence[str]
    skipped: list[Fault]


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


@dataclass(frozen=True)
class TestResult:
    """What a test gave.

    Attributes:
        probabilities: (N, classes) float64, after temperature.
        labels: (N,); or (N, classes), 1 for each class of a picture that may have several.
        indices: which samples of the split they are, (N,).
        classes: names.
        faults: pictures that could not be read and do not count.
    """

    __test__ = False  # pytest: not a test class

    probabilities: Tensor
    labels: Tensor
    indices: Tensor
    classes: tuple[str, ...]
    faults: tuple[PictureError, ...]

    multi_label: ClassVar[bool] = False
    """Whether a picture may have several classes."""

    def part(self, rows: Tensor) -> "TestResult":
        """Return the result of some of its pictures, by their rows."""
        return type(self)(
            self.probabilities[rows], self.labels[rows], self.indices[rows], self.classes, self.faults
        )

    def wrong(self) -> Tensor:
        """Return which pictures are not named right, (N,)."""
        return topk_wrong(self.probabilities, self.labels, 1)

    def truth(self) -> Tensor:
        """Return each picture's class, (N,); -1 without one."""
        return self.labels

    def risk_coverage(self) -> RiskCoverage:
        """Return the curve over the probability of each answer; see `resight.metrics.risk_coverage`."""
        return risk_coverage(self.probabilities.max(1).values, self.wrong())

    def figures(self) -> dict[str, Any]:
        """Return the figures as plain JSON types: `Figures`, then those of one class or of several."""
        count, wrong = len(self.labels), self.wrong()
        shared = Figures(
            n=count,
            wrong=int(wrong.sum()),
            top1_error=100 * float(wrong.double().mean()),
            top1_interval=wilson_interval(int(wrong.sum()), count),
            classes=self.classes,
            skipped=[fault.row for fault in self.faults],
        )
        return to_json(shared) | to_json(self._more())

    def _more(self) -> FiguresOfOne | FiguresOfSeveral:
        """Return the figures that only this kind of labels has."""
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
        curve = self.risk_coverage()
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


@dataclass(frozen=True)
class SeveralResult(TestResult):
    """The result of a multi-label test."""

    multi_label: ClassVar[bool] = True

    def wrong(self) -> Tensor:
        """Return which pictures are not named right, (N,), see `one_wrong`."""
        return one_wrong(self.probabilities, self.labels, ANSWERED)

    def truth(self) -> Tensor:
        """Return of each picture's classes that which was thought least likely, (N,); -1 without any."""
        least = self.probabilities.masked_fill(self.labels == 0, math.inf).argmin(1)
        return torch.where((self.labels > 0).any(1), least, -1)

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


def result_of(
    probabilities: Tensor,
    labels: Tensor,
    indices: Tensor,
    classes: tuple[str, ...],
    faults: tuple[PictureError, ...],
) -> TestResult:
    """Return the result of a test; its kind is that of the labels. Arguments as in `TestResult`."""
    kind = SeveralResult if labels.dim() == 2 else TestResult
    return kind(probabilities, labels, indices, classes, faults)


def collect(
    answers: Iterable[tuple[int, Tensor | PictureError]],
    labels: Tensor,
    classes: tuple[str, ...],
    *,
    strict: bool,
) -> TestResult:
    """Gather the answers of `probabilities_of`, of all processes, into a result on every process.

    Args:
        answers: (index, probabilities or fault) pairs.
        labels: of the whole split.
        classes: names.
        strict: stop at the first fault.

    Raises:
        PictureError: the first fault, if strict; or if nothing could be read.
    """
    read, faults = gather(answers, strict=strict)
    chosen = torch.tensor([index for index, _ in read])
    return result_of(torch.stack([answer for _, answer in read]), labels[chosen], chosen, classes, faults)
